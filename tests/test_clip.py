"""The noised CLIP's contracts: what each tower depends on, similarities, what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import config
from glide_jax.models import clip
from glide_jax.models.layers import attend
from tests import tiny

SIDE, CONTEXT = tiny.SIDE, tiny.CLIP.text.context
image_embedding = jax.jit(partial(clip.image_embedding, tiny.CLIP), static_argnames="dtype")
text_embedding = jax.jit(partial(clip.text_embedding, tiny.CLIP), static_argnames="dtype")


@pytest.fixture(scope="module")
def params():
    return tiny.random_params(3, tiny.CLIP)


@pytest.fixture(scope="module")
def inputs():
    """Two pictures at their timesteps, and the tokens and the lengths of two captions."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, SIDE, SIDE, 3)).astype(np.float32)
    tokens = rng.integers(0, 300, (2, CONTEXT)).astype(np.int32)
    return x, np.array([3, 700], np.int32), tokens, np.array([[5], [9]])


def mask(lengths):
    return np.arange(CONTEXT)[None] < np.reshape(lengths, (-1, 1))


def test_causal_attention_is_attention_to_what_came_before():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 5, 2, 4)).astype(np.float32)
    found = attend(q, k, v, causal=True)
    for i in range(5):
        alone = attend(q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1])
        np.testing.assert_allclose(found[:, i : i + 1], alone, atol=1e-6)
    assert np.abs(found - attend(q, k, v))[:, :-1].max() > 0.1


def test_a_caption_is_read_at_its_last_token_and_not_beyond(params, inputs):
    _, _, tokens, lengths = inputs
    whole = text_embedding(params, tokens, mask(lengths))
    behind = text_embedding(params, np.where(mask(lengths), tokens, 7), mask(lengths))
    np.testing.assert_array_equal(whole, behind)
    for changed in (np.where(mask(lengths - 1), tokens, 7), np.where(mask(1), 7, tokens)):
        other = text_embedding(params, changed, mask(lengths))
        assert np.abs(whole - other).max(axis=1).min() > 1e-3


def test_the_empty_caption_is_read_at_its_first_padding(params, inputs):
    tokens = inputs[2]
    empty, one = (text_embedding(params, tokens, mask([n, n])) for n in (0, 1))
    np.testing.assert_array_equal(empty, one)


def test_a_picture_is_judged_by_its_own_timestep_s_row(params, inputs):
    x, t, *_ = inputs

    def total(image):
        return image_embedding({"image": image}, x, t).sum()

    rows = jax.grad(total)(params["image"])["timestep_embedding"]
    assert list(np.flatnonzero(np.abs(rows).sum(axis=1))) == [3, 700]
    here, there = (image_embedding(params, x, s) for s in (t, t[::-1]))
    assert np.abs(here - there).max(axis=1).min() > 1e-4


def test_similarity_is_the_scaled_cosine_of_any_pairs():
    rng = np.random.default_rng(2)
    image, text = rng.standard_normal((2, 3, 8))
    params = {"logit_scale": np.log(20.0)}
    cosines = [
        [a @ b / np.sqrt((a @ a) * (b @ b)) for b in text.astype(np.float64)]
        for a in image.astype(np.float64)
    ]
    pairs = clip.similarity(params, image[:, None], 5 * text[None])
    np.testing.assert_allclose(pairs, 20 * np.array(cosines), rtol=1e-5)
    own = clip.similarity(params, image, text)
    np.testing.assert_allclose(own, np.diag(pairs), rtol=1e-5)


def test_a_fresh_clip_begins_as_published_and_learns_with_every_parameter(inputs):
    x, t, tokens, lengths = inputs
    params = jax.jit(partial(clip.init, tiny.CLIP))(jax.random.key(0))
    assert np.exp(params["logit_scale"]) == pytest.approx(1 / 0.07, rel=1e-5)
    kernel = params["image"]["patches"]["kernel"]
    assert np.std(kernel) == pytest.approx(1 / np.sqrt(32 * 8 * 8 * 3), rel=0.05)

    def contrastive(params):
        image = clip.image_embedding(tiny.CLIP, params, x, t)
        text = clip.text_embedding(tiny.CLIP, params, tokens, mask(lengths))
        logits = clip.similarity(params, image[:, None], text[None])
        return -jnp.mean(jnp.diag(jax.nn.log_softmax(logits)))

    loss, gradient = jax.jit(jax.value_and_grad(contrastive))(params)
    assert 0 < loss < 10
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_bfloat16_is_close_and_comes_back_as_float32(params, inputs):
    x, t, tokens, lengths = inputs
    for half, whole in (
        [image_embedding(params, x, t, dtype=d) for d in (jnp.bfloat16, jnp.float32)],
        [text_embedding(params, tokens, mask(lengths), dtype=d) for d in ("bfloat16", "float32")],
    ):
        assert half.dtype == whole.dtype == np.float32
        error = np.abs(half - whole).mean() / np.abs(whole).mean()
        assert 1e-4 < error < 0.05


def test_shapes_that_do_not_fit_are_named(params, inputs):
    x, t, tokens, lengths = inputs
    with pytest.raises(ValueError, match=r"x_t is \(2, 16, 32, 3\); this CLIP takes .* 32, 32, 3"):
        clip.image_embedding(tiny.CLIP, params, x[:, :16], t)
    with pytest.raises(ValueError, match=r"tokens is \(2, 9\); this CLIP takes rows \[B, 24\]"):
        clip.text_embedding(tiny.CLIP, params, tokens[:, :9], mask(lengths)[:, :9])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: config.ClipImage(patch=5), "ClipImage.image_size is 64; .* multiples of patch"),
        (lambda: config.ClipImage(heads=7), "ClipImage.width is 768; .* multiples of heads"),
        (lambda: config.ClipImage(layers=0), "ClipImage.layers is 0; allowed: 1 or more"),
        (lambda: config.Clip(embedding=0), "Clip.embedding is 0"),
        (lambda: config.Clip(timesteps=20), "Clip.timesteps is 20; allowed: 21 or more, or 0"),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
