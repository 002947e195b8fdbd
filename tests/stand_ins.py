"""Stand-ins for networks, which the diffusion tests share, and how their figures are read."""

import pathlib

import jax.numpy as jnp
import numpy as np

from glide_jax.diffusion.gaussian import expand
from glide_jax.released.parity.drawing import nhwc, tensor
from glide_jax.released.parity.processes import denoise, score

__all__ = ["FIXTURES", "compare", "denoise", "drawn", "gaussian_denoiser", "nhwc", "score"]

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def compare(what, ours, theirs, *, atol=0.0, rtol=0.0):
    """Asserts that a published figure is met, and prints its row of the table in docs/parity.md."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    error = np.abs(ours - theirs) / (1 if atol else np.abs(theirs))
    limits = {"": atol, " relative": rtol}
    limit = " + ".join(f"{value:.1e}{kind}" for kind, value in limits.items() if value)
    print(f"\n| {what} | {error.max():.1e} | {limit} |")
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def drawn(name, shape):
    """The input of this name, drawn as the reference drew it, channels last."""
    return nhwc(tensor(f"input:{name}", shape))


def gaussian_denoiser(schedule, mu, s, v=-1.0):
    """The exact denoiser of pixels x_0 ~ N(mu, s**2), with a constant v.

    E[eps | x_t] = sqrt(1 - a) (x_t - sqrt(a) mu) / (a s**2 + 1 - a).
    """
    a = schedule.alphas_cumprod
    slope = jnp.float32(np.sqrt(1 - a) / (a * s**2 + 1 - a))
    mean = jnp.float32(np.sqrt(a) * mu)

    def network(x, t):
        eps = expand(slope[t], x) * (x - expand(mean[t], x))
        return jnp.concatenate([eps, jnp.full_like(eps, v)], axis=-1)

    return network
