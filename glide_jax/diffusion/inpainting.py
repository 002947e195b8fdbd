"""Known pixels in a sampling run: as hooks of `samplers.sample`.

Masks are float32 [B, H, W, 1], 1 = keep; images [B, H, W, 3] in [-1, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax.diffusion.gaussian import expand
from glide_jax.diffusion.samplers import normal
from glide_jax.diffusion.schedule import Schedule


def keep_known(image: jax.Array, mask: jax.Array, x0_fn: Callable | None = None) -> Callable:
    """An `x0_fn` that sets the known pixels in each prediction of x_0, after another one if given.

    For a model that was trained to inpaint: it sees the known pixels, and this keeps its
    predictions from drifting off them (as GLIDE's published samplers do).
    """

    def known(x_0, x_t, t):
        if x0_fn is not None:
            x_0 = x0_fn(x_0, x_t, t)
        return mask * image + (1 - mask) * x_0

    return known


def lead_unknown(score_fn: Callable, mask: jax.Array) -> Callable:
    """A `score_fn` that leads only what is to be drawn: what is known stays as it is."""
    return lambda x_t, t: (1 - mask) * score_fn(x_t, t)


def replace_known(image: jax.Array, mask: jax.Array, schedule: Schedule) -> Callable:
    """An `after_step` that puts the known pixels, noised afresh as far as the step has come, back.

    For any model: it sees what is known only through them, so what it draws may not fit across the
    mask's border (GLIDE §3).

    Args:
        schedule: the whole one, of original timesteps.

    Source: Song et al. 2021, arXiv 2011.13456, appendix I.2; RePaint, arXiv 2201.09865, equation 8.
    """
    # The clean image's entry is appended, so that -1 finds it there.
    levels = np.append(schedule.alphas_cumprod, 1.0)
    signal, noise = jnp.float32(np.sqrt(levels)), jnp.float32(np.sqrt(1.0 - levels))

    def put_back(x, t_next, keys):
        known = expand(signal[t_next], x) * image
        known += expand(noise[t_next], x) * normal(keys, x.shape[1:])
        return mask * known + (1 - mask) * x

    return put_back
