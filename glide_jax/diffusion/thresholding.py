"""Dynamic thresholding: what keeps strong guidance from saturating pictures."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from glide_jax.diffusion.gaussian import expand


def dynamic_threshold(fraction: jax.Array | float) -> Callable:
    """An `x0_fn` that divides each prediction of x_0 by what most of its values lie within.

    With s the given quantile of |x_0|, and at least 1, x_0 becomes clip(x_0, -s, s) / s.

    Args:
        fraction: which quantile, 0 to 1, may be traced. At 1 nothing is clipped, at 0 s is 1: the
            plain clipping to [-1, 1].

    Returns:
        (x_0 [B, H, W, C], x_t, t) -> [B, H, W, C] in [-1, 1].

    Source: Imagen, arXiv 2205.11487, section 2.3.
    """

    def threshold(x_0, x_t, t):
        sizes = jnp.abs(x_0).reshape(len(x_0), -1)
        s = expand(jnp.maximum(1.0, jnp.quantile(sizes, fraction, axis=1)), x_0)
        return jnp.clip(x_0, -s, s) / s

    return threshold
