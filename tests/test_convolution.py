"""The networks' convolution: its values and gradients, against float64 and the compiler's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from glide_jax.models.convolution import convolve, kernel_gradient


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def seen(x, size):
    """What each tap of a kernel sees of pictures, in float64: a list by row, then column."""
    height, width = x.shape[1:3]
    around = size // 2
    x = np.pad(np.float64(x), ((0, 0), (around, around), (around, around), (0, 0)))
    return [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]


# Sides that differ, one narrower than the kernel, and both ways of which is the wider.
CASES = [
    (3, (5, 7), 3, 4),
    (3, (6, 4), 5, 2),
    (3, (1, 3), 4, 4),
    (1, (5, 6), 6, 2),
    (5, (7, 5), 2, 3),
]


@pytest.mark.parametrize(("size", "sides", "channels", "features"), CASES)
def test_it_is_the_sum_of_what_the_taps_see(size, sides, channels, features):
    x, kernel = normal(2, *sides, channels), normal(size, size, channels, features, seed=1)
    taps = np.float64(kernel).reshape(-1, channels, features)
    expected = sum(part @ tap for part, tap in zip(seen(x, size), taps, strict=True))
    np.testing.assert_allclose(jax.jit(convolve)(x, kernel), expected, atol=2e-5)


@pytest.mark.parametrize(("size", "sides", "channels", "features"), CASES)
def test_the_gradient_by_the_kernel_is_what_the_taps_see_times_that_by_the_result(
    size, sides, channels, features
):
    x, gradient = normal(3, *sides, channels), normal(3, *sides, features, seed=1)
    expected = [np.einsum("bhwc,bhwd->cd", part, gradient) for part in seen(x, size)]
    found = jax.jit(kernel_gradient, static_argnums=2)(x, gradient, size)
    assert found.shape == (size, size, channels, features)
    np.testing.assert_allclose(found.reshape(-1, channels, features), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_its_gradients_are_those_of_the_compilers_convolution(dtype):
    x, kernel = normal(2, 16, 17, 36).astype(dtype), normal(3, 3, 36, 32, seed=1).astype(dtype)
    gradient = normal(2, 16, 17, 32, seed=2).astype(dtype)

    def plain(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

    def gradients(f):
        return jax.jit(lambda *given: jax.vjp(f, *given)[1](gradient))(x, kernel)

    for found, expected in zip(gradients(convolve), gradients(plain), strict=True):
        assert found.dtype == dtype
        error = np.abs(np.float32(found) - np.float32(expected)).max()
        assert error < np.abs(np.float32(expected)).max() * (1e-5 if dtype == jnp.float32 else 0.02)


def test_the_gradients_are_those_of_differences():
    x, kernel = normal(2, 16, 16, 32), normal(3, 3, 32, 33, seed=1)
    check_grads(convolve, (x, kernel), order=1, modes=["rev"], rtol=1e-2)


@pytest.mark.parametrize(
    ("platform", "side", "channels", "loops"),
    [
        *(("cpu", 16, 32, True), ("cuda", 16, 32, False), ("tpu", 16, 32, False)),
        *(("cpu", 15, 32, False), ("cpu", 16, 31, False)),
    ],
)
def test_only_a_cpu_takes_it_picture_by_picture_where_that_is_faster(
    platform, side, channels, loops
):
    def gradient(x, kernel):
        return jax.grad(lambda kernel: jnp.sum(convolve(x, kernel) ** 2))(kernel)

    traced = jax.jit(gradient).trace(normal(2, side, 17, channels), normal(3, 3, channels, 40))
    lowered = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.while" in lowered) == loops
    assert lowered.count("stablehlo.convolution") == (1 if loops else 2)
