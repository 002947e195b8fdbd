"""One reverse step, in several ways: each Stepper is a pair of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from glide_jax.diffusion.gaussian import (
    expand,
    learned_log_variance,
    posterior_mean,
    predict_eps,
    predict_x_0,
)
from glide_jax.diffusion.trajectory import Trajectory


class Prediction(NamedTuple):
    """What is known of x_t before a step, each [B, H, W, C]."""

    x_0: jax.Array  # corrected and clipped
    fraction: jax.Array  # of the variance's range, 0 = posterior, 1 = beta
    score: jax.Array | None  # gradient of log p(y | x_t), None without guidance by a gradient


class Stepper(NamedTuple):
    """How to get from x_t to the next x.

    init(x_T) -> state, a tree of arrays that lead with the batch, so that devices can share it out.
    step(state, x_t, prediction, entry, noise) -> (state, x_next); `entry` is a Trajectory's row of
    scalars, `noise` is [B, H, W, C], None where the stepper is not noisy.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[..., tuple[Any, jax.Array]]
    noisy: bool


def ancestral() -> Stepper:
    """x_next ~ p(x_{t-1} | x_t) with the learned variance.

    Guidance moves the mean by variance * score (Dhariwal and Nichol 2021, arXiv 2105.05233,
    algorithm 1).

    Source: Ho et al. 2020, arXiv 2006.11239, algorithm 2.
    """

    def step(state, x_t, prediction, entry, noise):
        mean = posterior_mean(prediction.x_0, x_t, entry.here)
        log_variance = learned_log_variance(prediction.fraction, entry.here)
        if prediction.score is not None:
            mean = mean + jnp.exp(log_variance) * prediction.score
        into_clean = entry.t_next < 0
        scale = jnp.where(into_clean, 0.0, jnp.exp(0.5 * log_variance))
        return state, mean + scale * noise

    return Stepper(_no_state, step, noisy=True)


def ddim(eta: jax.Array | float = 0.0) -> Stepper:
    """x_next = sqrt(a_next) x_0 + sqrt(1 - a_next - sigma**2) eps + sigma noise.

    Args:
        eta: a scalar or [B], may be traced: sigma in units of the ancestral sampler's. A Python 0
            is deterministic and draws no noise.

    Source: Song et al. 2020, arXiv 2010.02502, equation 12; guidance as in arXiv 2105.05233,
    algorithm 2.
    """
    noisy = not (isinstance(eta, (int, float)) and eta == 0)

    def step(state, x_t, prediction, entry, noise):
        x_0, eps = _guided(x_t, prediction, entry.here)
        if not noisy:
            return state, _move(x_0, eps, entry)
        sigma = expand(jnp.asarray(eta, jnp.float32) * entry.ddim_sigma, x_t)
        return state, _move(x_0, eps, entry, sigma) + sigma * noise

    return Stepper(_no_state, step, noisy)


def ddim_inversion() -> Stepper:
    """DDIM's deterministic step taken upwards, along an `inversion_trajectory`.

    Source: arXiv 2010.02502, section 4.3.
    """
    return ddim(eta=0.0)


def dpm_solver_pp_2m() -> Stepper:
    """DPM-Solver++(2M): DDIM's step from an x_0 that is extrapolated from the last two.

    D_i = (1 + 1 / (2 r_i)) x_0_i - 1 / (2 r_i) x_0_{i-1}, and
    x_next = sigma_next / sigma x_t - alpha_next (exp(-h) - 1) D_i, which is DDIM's step with D_i
    for x_0. The first step and the one into the clean image are of first order.

    Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2.
    """

    def init(x_T):
        # The 0 says that there is no x_0 before, wherever on a trajectory a run starts.
        return jnp.zeros_like(x_T), jnp.zeros_like(x_T[:, :1, :1, :1])

    def step(state, x_t, prediction, entry, noise):
        x_0_before, known = state
        x_0, _ = _guided(x_t, prediction, entry.here)
        extrapolated = x_0 + known * entry.dpm_extrapolation * (x_0 - x_0_before)
        x_next = _move(extrapolated, predict_eps(x_t, extrapolated, entry.here), entry)
        return (x_0, jnp.ones_like(known)), x_next

    return Stepper(init, step, noisy=False)


def _no_state(x_T):
    """The state of a stepper that remembers nothing."""
    return ()


def _guided(x_t, prediction, here):
    """x_0 and eps; eps is moved by -sqrt(1 - alphas_cumprod) score, then x_0 follows, unclipped."""
    eps = predict_eps(x_t, prediction.x_0, here)
    if prediction.score is None:
        return prediction.x_0, eps
    eps = eps - expand(here.sqrt_one_minus_alphas_cumprod, x_t) * prediction.score
    return predict_x_0(x_t, eps, here), eps


def _move(x_0, eps, entry: Trajectory, sigma=0.0):
    """sqrt(a_next) x_0 + sqrt(1 - a_next - sigma**2) eps (arXiv 2010.02502, eq. 12)."""
    remaining = jnp.square(entry.sqrt_one_minus_alphas_cumprod_next) - jnp.square(sigma)
    return entry.sqrt_alphas_cumprod_next * x_0 + jnp.sqrt(jnp.maximum(remaining, 0.0)) * eps
