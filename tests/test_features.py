"""Features: every row once on however many devices, and what each network gives."""

import jax
import numpy as np
import pytest

from glide_jax import model_folder
from glide_jax.config import Classifier
from glide_jax.evaluation import features
from glide_jax.evaluation.metrics import statistics
from glide_jax.models import classifier, clip
from tests import tiny

MODEL = Classifier(channels=(4, 8), features=5, objects=2, classes=3)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)


def sums(params, image):
    """Something that is known of each picture."""
    x = image.astype(np.float32)
    return {"features": params["scale"] * x.sum(axis=(1, 2)), "logits": x[:, 0, 0]}


@pytest.fixture(scope="module")
def network():
    assert jax.local_device_count() == 2
    return features.make_network(sums, {"scale": np.float32(2)})


@pytest.mark.parametrize("sizes", [(9,), (4, 4, 1), (1, 5, 3), (3, 0, 6)])
def test_each_row_counts_once_and_keeps_its_place(network, sizes):
    batches = np.split(IMAGES, np.cumsum(sizes)[:-1])
    found = features.features(iter(batches), network)
    np.testing.assert_array_equal(found["features"], 2.0 * IMAGES.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["logits"], IMAGES[:, 0, 0])


def test_a_last_batch_that_is_smaller_runs_the_same_program(network):
    list(features.by_batch([IMAGES[:6], IMAGES[6:]], network))
    before = network.program._cache_size()
    list(features.by_batch([IMAGES[:6], IMAGES[6:7]], network))
    assert network.program._cache_size() == before


def test_statistics_are_joined_batch_by_batch(network):
    total = None
    for part in features.by_batch([IMAGES[:4], IMAGES[4:8], IMAGES[8:]], network):
        total = statistics.joined(total, statistics.of(part["features"]))
    whole = statistics.of(2.0 * IMAGES.sum(axis=(1, 2)))
    assert total.n == 9
    np.testing.assert_allclose(total.covariance, whole.covariance, rtol=1e-10)


def test_a_classifier_gives_its_features_and_the_first_objects_logits(tmp_path):
    params = tiny.random_params(1, MODEL)
    model_folder.save_model(tmp_path, MODEL, None, params)
    assert not (tmp_path / "tokenizer.json").exists()
    found = features.features([IMAGES[:3]], features.classifier_network(tmp_path))
    x = IMAGES[:3] / np.float32(127.5) - 1
    expected, logits = classifier.apply(MODEL, params, x)
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits[:, 0], rtol=1e-4, atol=1e-4)
    assert found["features"].shape == (3, 5) and found["logits"].shape == (3, 3)
    with pytest.raises(ValueError, match="takes pictures"):
        features.features([IMAGES[:2, :16, :16]], features.classifier_network(tmp_path))
    with pytest.raises(ValueError, match="holds a classifier, which goes to --features"):
        features.clip_networks(tmp_path)


def test_a_clip_gives_embeddings_of_pictures_and_of_captions(tmp_path, tokenizer):
    params = tiny.random_params(2, tiny.CLIP) | {"logit_scale": np.float32(1)}
    model_folder.save_model(tmp_path, tiny.CLIP, tokenizer, params)
    networks = features.clip_networks(tmp_path)
    encoded = networks.tokenizer.encode(["a red circle", "two blue stars", "a cross"])
    image = IMAGES[:3, : tiny.SIDE, : tiny.SIDE]
    images = features.features([image], networks.images)["features"]
    texts = features.features([encoded], networks.texts)["features"]
    t = np.zeros(3, np.int32)
    expected = clip.image_embedding(tiny.CLIP, params, image / np.float32(127.5) - 1, t)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-5)
    expected = clip.text_embedding(tiny.CLIP, params, *encoded)
    np.testing.assert_allclose(texts, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "there are no pictures"),
        ([IMAGES[:0]], "there are no pictures"),
        ([IMAGES[:2] / 255], r"pictures are float64 \(2, 32, 32, 3\); give uint8"),
        ([IMAGES[0]], r"pictures are uint8 \(32, 32, 3\); give uint8 \[B, H, W, 3\]"),
    ],
)
def test_what_are_no_pictures_is_refused(network, batches, message):
    with pytest.raises(ValueError, match=message):
        features.features(batches, network)
