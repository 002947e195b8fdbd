"""The networks against the published models' figures, and the contracts of text2im."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from glide_jax import config, model_folder
from glide_jax.models import text2im
from glide_jax.models.unet import from_patches, input_channels, to_patches
from glide_jax.released.names import from_pytorch
from glide_jax.released.parity.networks import MODELS
from tests import tiny
from tests.parity import tensor
from tests.stand_ins import FIXTURES, compare, nhwc

UPSAMPLER = config.UNet(
    image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2, low_res_size=64
)


def published(name, manifest, model):
    """The published model's weights, drawn again, as our tree."""
    shapes = model_folder.param_shapes(model)
    return from_pytorch({k: tensor(f"{name}/{k}", s) for k, s in manifest.items()}, shapes)


@partial(jax.jit, static_argnums=0)
def encode_and_denoise(model, params, tokens, mask, x, t, pictures):
    """The text's features and the network's output."""
    text_encoder = text2im.TextEncoder(model.text, 4 * model.unet.model_channels)
    emb, features = text_encoder.apply({"params": params["text_encoder"]}, tokens, mask)
    cond = text2im.encode_text(model, params, tokens, mask)
    return emb, features, text2im.denoise(model, params, x, t, cond | pictures)


@pytest.mark.parametrize(
    "name", ["tiny-text2im", "tiny-superres", "tiny-inpaint", "tiny-superres_inpaint"]
)
def test_all_input_layouts_match_the_published_code(name):
    model = MODELS[name]
    unet = model.unet
    manifest = json.loads((FIXTURES / "manifest_tiny.json").read_text())[name]
    figures = np.load(FIXTURES / "unet_tiny.npz")
    expected = {key: figures[f"{name}/{key}"] for key in ("out", "xf_proj", "xf_out")}
    tokens, mask, t = (figures[f"{name}/{key}"] for key in ("tokens", "mask", "t"))
    pictures = {}
    if unet.inpaint:
        keep = np.zeros((3, 16, 16, 1), np.float32)
        keep[:, : 16 // 3] = 1
        image = nhwc(tensor(f"input:{name}/inpaint_image", (3, 3, 16, 16)))
        pictures |= {"inpaint_image": image, "inpaint_mask": keep}
    if unet.low_res_size:
        pictures |= {"low_res": nhwc(tensor(f"input:{name}/low_res", (3, 3, 4, 4)))}
    x = nhwc(tensor(f"input:{name}/x", (3, 3, 16, 16)))
    params = published(name, manifest, model)
    emb, features, out = encode_and_denoise(model, params, tokens, mask, x, t, pictures)
    compare(f"{name}: xf_proj", emb, expected["xf_proj"], atol=1e-5)
    compare(f"{name}: xf_out", features, np.swapaxes(expected["xf_out"], 1, 2), atol=1e-5)
    compare(f"{name}: out", out, nhwc(expected["out"]), atol=2e-5)


@pytest.mark.slow
def test_full_base_model_matches_the_published_code():
    model = config.Diffusion()
    manifest = json.loads((FIXTURES / "manifest_base.json").read_text())
    figures = np.load(FIXTURES / "unet_full_base.npz")
    params = published("base", manifest, model)
    x = nhwc(tensor("input:base/x", (2, 3, 64, 64)))
    given = (figures["tokens"], figures["mask"], x, figures["t"])
    emb, features, out = encode_and_denoise(model, params, *given, {})
    compare("base, full size: xf_proj", emb, figures["xf_proj"], atol=1e-5)
    compare(
        "base, full size: xf_out",
        np.swapaxes(features, 1, 2)[:, ::64],
        figures["xf_out"],
        atol=1e-5,
    )
    compare("base, full size: out", out[:, ::2, ::2], nhwc(figures["out"]), atol=2e-5)


@pytest.mark.parametrize(
    ("unet", "text", "parameters"),
    [
        (config.UNet(), config.TextEncoder(), 385_030_726),
        (config.UNet(inpaint=True), config.TextEncoder(), 385_037_638),
        (UPSAMPLER, config.TextEncoder(), 398_361_286),
        # The paper's own: 3.5 billion; counted by hand nowhere, so to its two digits.
        (config.UNet(model_channels=512), config.TextEncoder(width=2048, layers=24), 3.55e9),
    ],
    ids=["base", "base-inpaint", "upsampler", "paper"],
)
def test_number_of_parameters(unet, text, parameters):
    model = config.Diffusion(unet, text)
    shapes = model_folder.param_shapes(model)
    tolerance = 0.005 if isinstance(parameters, float) else 0
    assert text2im.count_parameters(shapes) == pytest.approx(parameters, rel=tolerance)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 300, (2, tiny.MODEL.text.context)).astype(np.int32)
    mask = np.arange(tiny.MODEL.text.context)[None] < np.array([[5], [9]])
    x = rng.standard_normal((2, tiny.SIDE, tiny.SIDE, 3)).astype(np.float32)
    return tokens, mask, x, np.array([3, 700], np.int32)


encode = jax.jit(partial(text2im.encode_text, tiny.MODEL))
denoise = jax.jit(partial(text2im.denoise, tiny.MODEL))


def test_tokens_behind_the_mask_do_not_matter(params, inputs):
    tokens, mask, x, t = inputs
    out = denoise(params, x, t, encode(params, tokens, mask))
    behind = denoise(params, x, t, encode(params, np.where(mask, tokens, 7), mask))
    before = denoise(params, x, t, encode(params, np.where(mask, 7, tokens), mask))
    np.testing.assert_array_equal(out, behind)
    assert np.abs(out - before).max() > 1e-3


def test_every_condition_changes_only_its_own_picture(params, inputs):
    tokens, mask, x, t = inputs
    out = denoise(params, x, t, encode(params, tokens, mask))
    empty = denoise(params, x, t, encode(params, tokens, mask & np.array([[True], [False]])))
    np.testing.assert_allclose(out[0], empty[0], atol=1e-5)
    assert np.abs(out[1] - empty[1]).max() > 1e-3


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(partial(text2im.init, tiny.MODEL))(jax.random.key(0))


def test_blocks_of_a_fresh_model_begin_as_nothing(fresh):
    """The last kernel of each is zero (arXiv 2105.05233's code), and no other is."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(fresh)
    kernels = {"/".join(k.key for k in keys[:-1]): leaf for keys, leaf in leaves if leaf.ndim > 1}
    zero = {name for name, leaf in kernels.items() if not leaf.any()}
    last = {name for name in kernels if name.startswith("unet/")}
    assert zero == {name for name in last if name.rpartition("/")[2] in ("out_conv", "out")}
    assert len(zero) > 8


def test_fresh_model_predicts_zero(inputs, fresh):
    tokens, mask, x, t = inputs
    np.testing.assert_array_equal(denoise(fresh, x, t, encode(fresh, tokens, mask)), 0)


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [("bfloat16", 1e-4, 0.05), ("float16", 1e-5, 0.005)]
)
def test_half_precision_is_close_and_comes_back_as_float32(dtype, least, most, params, inputs):
    tokens, mask, x, t = inputs
    run = jax.jit(
        lambda dtype: text2im.denoise(
            *(tiny.MODEL, params, x, t),
            text2im.encode_text(tiny.MODEL, params, tokens, mask, dtype=dtype),
            dtype=dtype,
        ),
        static_argnums=0,
    )
    half, whole = run(dtype), run("float32")
    assert half.dtype == whole.dtype == np.float32
    error = np.abs(half - whole).mean() / np.abs(whole).mean()
    assert least < error < most


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_kernels_are_cast_ahead_to_the_same_picture(dtype, params, inputs):
    tokens, mask, x, t = inputs
    dtype = np.dtype(dtype)
    ready = text2im.prepare(tiny.MODEL, params, dtype, "gpu")

    @jax.jit
    def run(params):
        cond = text2im.encode_text(tiny.MODEL, params, tokens, mask, dtype=dtype)
        return text2im.denoise(tiny.MODEL, params, x, t, cond, dtype=dtype)

    np.testing.assert_array_equal(run(ready), run(params))
    for path, leaf in jax.tree.leaves_with_path(ready):
        assert leaf.dtype == (dtype if "kernel" in str(path[-1]) else np.float32)


def test_patches_are_blocks_of_pixels_and_come_back():
    x = np.arange(2 * 6 * 4 * 3, dtype=np.float32).reshape(2, 6, 4, 3)
    patches = to_patches(x, 2)
    assert patches.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(patches[1, 2, 0], x[1, 4:6, 0:2].ravel())
    np.testing.assert_array_equal(from_patches(patches, 2), x)


def test_a_model_of_patches_gives_each_pixel_its_own(inputs):
    tokens, mask, x, t = inputs
    model = config.Diffusion(replace(tiny.MODEL.unet, patch=2), tiny.MODEL.text)
    params = tiny.random_params(model=model)
    assert params["unet"]["input_blocks_0_0"]["kernel"].shape[2] == 12
    run = jax.jit(
        lambda x: text2im.denoise(
            model, params, x, t, text2im.encode_text(model, params, tokens, mask)
        )
    )
    out = run(x)
    assert out.shape == (*x.shape[:3], 6)
    assert np.abs(out - run(np.roll(x, 1, axis=1))).max() > 1e-3
    assert np.unique(out[0].reshape(-1, 6), axis=0).shape[0] == out.shape[1] * out.shape[2]


def test_dropout_needs_a_key_and_changes_the_output(params, inputs):
    tokens, mask, x, t = inputs
    unet = config.UNet(**{**vars(tiny.MODEL.unet), "dropout": 0.5})
    model = config.Diffusion(unet, tiny.MODEL.text)
    cond = encode(params, tokens, mask)
    run = jax.jit(lambda key: text2im.denoise(model, params, x, t, cond, dropout_key=key))
    first, second = run(jax.random.key(0)), run(jax.random.key(1))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, run(jax.random.key(0)))


def test_input_channels_are_in_the_published_order():
    x, image = np.full((1, 4, 4, 3), 1.0), np.full((1, 4, 4, 3), 2.0)
    mask = np.zeros((1, 4, 4, 1))
    mask[:, :2] = 1
    low_res = np.arange(4.0).reshape(1, 2, 2, 1)
    joined = input_channels(x, 4, inpaint_image=image, inpaint_mask=mask, low_res=low_res)
    assert joined.shape == (1, 4, 4, 8)
    np.testing.assert_array_equal(joined[0, 0, 0], [1, 1, 1, 2, 2, 2, 1, 0])
    np.testing.assert_array_equal(joined[0, 3, 3], [1, 1, 1, 0, 0, 0, 0, 3])
    # Half-pixel centres: a quarter of the way from the first sample to the second.
    np.testing.assert_allclose(joined[0, 0, :, 7], [0, 0.25, 0.75, 1])


def test_weights_that_do_not_fit_are_named():
    target = {"text_encoder": {"padding_embedding": np.zeros((2, 3))}}
    with pytest.raises(ValueError, match=r"not used: \['lm_head.weight'\]"):
        from_pytorch(
            {"lm_head.weight": np.zeros((2, 3)), "padding_embedding": np.zeros((2, 3))}, target
        )
    with pytest.raises(ValueError, match=r"not filled: \['text_encoder/padding_embedding'\]"):
        from_pytorch({}, target)
    with pytest.raises(ValueError, match=r"\(3, 3\), not \(2, 3\)"):
        from_pytorch({"padding_embedding": np.zeros((3, 3))}, target)
