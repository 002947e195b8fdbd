"""The noised CLIP against the published model's figures, and the conversion of its two files."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import config
from glide_jax.diffusion.guidance import by_similarity
from glide_jax.models import clip
from glide_jax.models.text2im import count_parameters
from glide_jax.released.names import clip_from_pytorch
from tests.parity import tensor
from tests.stand_ins import FIXTURES, compare, nhwc

TINY = config.Clip(
    image=config.ClipImage(image_size=16, width=32, layers=2, heads=2),
    text=config.TextEncoder(context=12, vocab_size=64, width=32, layers=2, heads=2),
    embedding=24,
)


def state_dicts(manifest, image, text):
    """Both towers' weights, drawn again, under the published names."""
    shapes = json.loads((FIXTURES / manifest).read_text())
    return [
        {k: tensor(f"{name}/{k}", s) for k, s in shapes[name].items()} for name in (image, text)
    ]


def shapes_of(model):
    return jax.eval_shape(partial(clip.init, model), jax.random.key(0))


@partial(jax.jit, static_argnums=0)
def towers_and_gradient(model, params, x, t, tokens, mask):
    """Both embeddings, and the gradient that guides, at scale 1."""
    image = clip.image_embedding(model, params, x, t)
    text = clip.text_embedding(model, params, tokens, mask)

    def similarity(x, t):
        return clip.similarity(params, clip.image_embedding(model, params, x, t), text)

    return image, text, by_similarity(similarity, 1.0)(x, t)


def check_against_the_figures(model, dicts, name, file, every):
    """Compares at the limits of the parity page; of the gradient the file has every n-th pixel."""
    file = np.load(FIXTURES / file)
    keys = ("tokens", "lengths", "t", "logit_scale", "image_features", "text_features")
    tokens, lengths, t, logit_scale, image_features, text_features = (
        file[f"{name}/{key}"] for key in keys
    )
    side = model.image.image_size
    x = np.clip(nhwc(tensor(f"input:{name}/x", (len(t), 3, side, side))), -1, 1)
    mask = np.arange(model.text.context)[None] < lengths[:, None]
    params = clip_from_pytorch(*dicts, shapes_of(model))
    assert jnp.exp(params["logit_scale"]) == pytest.approx(logit_scale, rel=1e-6)
    image, text, gradient = towers_and_gradient(model, params, x, t, tokens, mask)
    compare(f"{name}: image features", image, image_features, atol=1e-5)
    compare(f"{name}: text features", text, text_features, atol=1e-5)
    expected = nhwc(file[f"{name}/guidance_grad"])
    assert np.abs(expected).max() > 0.01
    compare(f"{name}: guidance gradient", gradient[:, ::every, ::every], expected, atol=1e-5)


def test_tiny_clip_matches_the_published_code():
    dicts = state_dicts("manifest_tiny.json", "tiny-clip-image", "tiny-clip-text")
    check_against_the_figures(TINY, dicts, "tiny-clip", "clip_tiny.npz", every=1)


@pytest.mark.slow
def test_full_clip_matches_the_published_code():
    dicts = state_dicts("manifest_clip.json", "clip-image-enc", "clip-text-enc")
    check_against_the_figures(config.Clip(), dicts, "clip", "clip_full.npz", every=2)


def test_the_defaults_are_the_published_models_sizes():
    manifest = json.loads((FIXTURES / "manifest_clip.json").read_text())
    shapes = shapes_of(config.Clip())
    for tower, name in (("image", "clip-image-enc"), ("text", "clip-text-enc")):
        published = sum(int(np.prod(shape)) for shape in manifest[name].values())
        assert count_parameters(shapes[tower]) == published


def test_the_wrong_tower_is_named():
    image, text = state_dicts("manifest_tiny.json", "tiny-clip-image", "tiny-clip-text")
    with pytest.raises(ValueError, match=r"not used: \['blocks.input.w_voc'.*not filled: \['in_"):
        clip_from_pytorch(text, image, shapes_of(TINY))
