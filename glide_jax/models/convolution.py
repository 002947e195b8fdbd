"""Convolutions of pictures whose sides stay, and the gradients by their kernels.

On a CPU the compiler takes such a gradient as a convolution with the whole picture as its kernel,
which is far from what matrix products reach (docs/performance.md). Here it is such products, one
for each picture, so that what is multiplied stays in the cache: the same but for rounding.
"""

import jax
import jax.numpy as jnp
from jax import lax

# Where products were measured to be faster than the compiler's gradient on a CPU.
LEAST_CHANNELS, LEAST_SIDE = 32, 16

FLOAT32 = {"preferred_element_type": jnp.float32}


def convolve(x, kernel):
    """A convolution by an odd square kernel, zeros around the picture.

    Args:
        x: [B, H, W, C].
        kernel: [k, k, C, D].

    Returns:
        [B, H, W, D].
    """
    ours = is_faster(x.shape, kernel.shape[3])
    return _with_products(x, kernel) if ours else _plain(x, kernel)


def _plain(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


_with_products = jax.custom_vjp(_plain)


def _forward(x, kernel):
    return _plain(x, kernel), (x, kernel)


def _backward(given, gradient):
    x, kernel = given

    def by_compiler(x, gradient):
        return jax.vjp(lambda kernel: _plain(x, kernel), kernel)[1](gradient)[0]

    def by_products(x, gradient):
        return kernel_gradient(x, gradient, len(kernel)).astype(kernel.dtype)

    by_x = jax.vjp(lambda x: _plain(x, kernel), x)[1](gradient)[0]
    return by_x, lax.platform_dependent(x, gradient, cpu=by_products, default=by_compiler)


_with_products.defvjp(_forward, _backward)


def is_faster(shape, features):
    """Whether products are, for pictures of the shape [B, H, W, C] and so many channels out."""
    _, height, width, channels = shape
    return min(channels, features) >= LEAST_CHANNELS and min(height, width) >= LEAST_SIDE


def kernel_gradient(x, gradient, size):
    """The gradient of a convolution by its kernel, [size, size, C, D] in float32.

    Args:
        x: what was convolved, [B, H, W, C].
        gradient: that by the convolution, [B, H, W, D].
        size: the side of the kernel.
    """
    channels, features = x.shape[3], gradient.shape[3]
    taps = [(i, j) for i in range(size) for j in range(size)]

    def by_shifted_x(x, gradient):
        return jnp.einsum("hwtc,hwd->ctd", shifted(x, taps), gradient, **FLOAT32)

    def by_shifted_gradient(x, gradient):
        return jnp.einsum("hwc,hwtd->ctd", x, shifted(gradient, taps[::-1]), **FLOAT32)

    # The narrower of the two is copied, once for each tap.
    product = by_shifted_x if channels < features else by_shifted_gradient

    def add(total, pair):
        return total + product(*pair), None

    start = jnp.zeros((channels, len(taps), features), jnp.float32)
    total, _ = lax.scan(add, start, (x, gradient))
    return total.swapaxes(0, 1).reshape(size, size, channels, features)


def shifted(picture, taps):
    """What each tap of a kernel sees, zeros outside: [H, W, C] to [H, W, len(taps), C]."""
    height, width, _ = picture.shape
    around = max(max(taps)) // 2
    padded = jnp.pad(picture, ((around, around), (around, around), (0, 0)))
    return jnp.stack([padded[i : i + height, j : j + width] for i, j in taps], axis=2)
