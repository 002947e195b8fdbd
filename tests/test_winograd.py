import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.models import text2im, winograd
from glide_jax.parallel import replicate

from . import tiny

convolve = jax.jit(lambda x, kernel: winograd.convolve(x, winograd.transform_kernel(kernel)))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def direct(x, kernel):
    """The convolution in float64: the sum of nine shifted products."""
    height, width = x.shape[1:3]
    x = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = ((i, j) for i in range(3) for j in range(3))
    return sum(x[:, i : i + height, j : j + width] @ np.float64(kernel[i, j]) for i, j in taps)


@pytest.mark.parametrize("size", ((4, 4), (5, 7), (1, 2), (6, 3)))
def test_it_is_the_convolution(size):
    x, kernel = normal(2, *size, 3), normal(3, 3, 3, 5, seed=1)
    np.testing.assert_allclose(convolve(x, kernel), direct(x, kernel), atol=2e-5)


def test_errors_are_those_of_rounding():
    x, kernel = normal(1, 16, 16, 64), normal(3, 3, 64, 8, seed=1) / 24
    error = np.abs(convolve(x, kernel) - direct(x, kernel))
    assert error.max() < 5e-6 and np.sqrt(np.mean(error**2)) < 1e-6


def test_a_kernel_of_one_tap_is_its_outer_product():
    transformed = winograd.transform_kernel(jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1))
    middle = np.array([0, 0.5, -0.5, 0])  # the second column of G
    np.testing.assert_array_equal(transformed[..., 0, 0], np.outer(middle, middle))


def test_only_shapes_that_were_measured_take_it():
    assert winograd.is_faster((2, 16, 16, 192), 192)
    for shape, channels in (((2, 8, 8, 768), 768), ((2, 64, 64, 3), 192), ((2, 64, 64, 192), 6)):
        assert not winograd.is_faster(shape, channels)


@pytest.fixture(scope="module")
def prepared():
    """The smaller model on both devices, its convolutions prepared however narrow they are."""
    params = replicate(tiny.random_params(model=tiny.SMALLER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "LEAST_CHANNELS", 16)
        return text2im.prepare(tiny.SMALLER, params, jnp.float32, "cpu")


def test_wide_convolutions_are_prepared_and_narrow_ones_are_not(prepared):
    kernels = prepared["prepared"]
    shapes = {leaf.shape for leaf in jax.tree.leaves(kernels)}
    assert shapes == {(4, 4, 16, 16), (4, 4, 16, 32)}
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(kernels))
    assert "out_conv" not in kernels and "input_blocks_0_0" not in kernels
    own = prepared["unet"]["middle_block_0"]["in_conv"]["kernel"]
    expected = winograd.transform_kernel(own)
    np.testing.assert_allclose(kernels["middle_block_0"]["in_conv"]["kernel"], expected, atol=1e-6)


def test_a_prepared_network_predicts_the_same(prepared):
    x, t, _ = text2im.example_inputs(tiny.SMALLER, batch=2)
    x, tokens = normal(*x.shape), np.full((2, tiny.SMALLER.text.context), 7)
    plain = {name: prepared[name] for name in ("text_encoder", "unet")}
    cond = jax.jit(partial(text2im.encode_text, tiny.SMALLER))(plain, tokens, tokens == 7)
    denoise = jax.jit(partial(text2im.denoise, tiny.SMALLER))
    expected, found = (denoise(params, x, t + 500, cond) for params in (plain, prepared))
    scale = np.abs(expected).max()
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "backend"), ((jnp.bfloat16, "cpu"), (jnp.float32, "gpu"), (jnp.float32, "tpu"))
)
def test_nothing_is_prepared_elsewhere(dtype, backend):
    wide = dataclasses.replace(tiny.MODEL.unet, model_channels=192)
    model = dataclasses.replace(tiny.MODEL, unet=wide)
    assert text2im.prepare(model, {"unet": 1}, dtype, backend) == {"unet": 1}


def test_nothing_is_prepared_of_a_narrow_model():
    assert text2im.prepare(tiny.MODEL, {"unet": 1}, jnp.float32, "cpu") == {"unet": 1}
