"""Noise schedules: the betas of a diffusion process and all that follows from them, in float64."""

from typing import NamedTuple

import numpy as np


class Schedule(NamedTuple):
    """A noise schedule of T steps; entry 0 is the cleanest.

    All arrays are float64 numpy [T] but for `timesteps`, which is int64 [T] and holds the steps of
    the original schedule that these are: what a network is given.
    """

    timesteps: np.ndarray
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    posterior_variance: np.ndarray
    posterior_log_variance_clipped: np.ndarray
    posterior_mean_coef1: np.ndarray  # of x_0
    posterior_mean_coef2: np.ndarray  # of x_t


def make_schedule(name: str, num_timesteps: int = 1000) -> Schedule:
    """The noise schedule of this name.

    Args:
        name: "linear" (Ho et al. 2020, arXiv 2006.11239, scaled so that any T ends in the same
            noise) or "squaredcos_cap_v2" (the cosine schedule of Nichol and Dhariwal 2021, arXiv
            2102.09672).
        num_timesteps: T, at least 1; at least 21 for "linear", whose betas reach 1 below.

    Returns:
        A Schedule whose timesteps are 0..T-1.

    Raises:
        ValueError: for a name that is not in the list, or too few timesteps.
    """
    if name not in _BETAS:
        raise ValueError(f"schedule must be one of {', '.join(_BETAS)}, not {name!r}")
    make_betas, fewest = _BETAS[name]
    if num_timesteps < fewest:
        raise ValueError(
            f"num_timesteps must be at least {fewest} for the {name} schedule, not {num_timesteps}"
        )
    return _from_betas(make_betas(num_timesteps), np.arange(num_timesteps))


def respace(schedule: Schedule, steps) -> Schedule:
    """The schedule that visits only some steps, at the noise levels that they had.

    beta_i = 1 - alphas_cumprod[s_i] / alphas_cumprod[s_{i-1}], and everything else follows.

    Args:
        schedule: the schedule to take steps from.
        steps: distinct ints, positions in `schedule` in any order (see
            `respacing.spaced_timesteps`).

    Returns:
        A Schedule of len(steps) entries, which carries their original `timesteps`.

    Raises:
        ValueError: if there is no step, or one is not in the schedule or given twice.

    Source: Nichol and Dhariwal 2021, arXiv 2102.09672, section 4.
    """
    steps, total = np.sort(np.asarray(steps)), len(schedule.betas)
    if not steps.size or steps[0] < 0 or steps[-1] >= total or (np.diff(steps) == 0).any():
        raise ValueError(f"steps must be distinct and in 0..{total - 1}, not {steps.tolist()}")
    kept = schedule.alphas_cumprod[steps]
    return _from_betas(1.0 - kept / np.append(1.0, kept[:-1]), schedule.timesteps[steps])


def half_log_snr(alphas_cumprod: np.ndarray) -> np.ndarray:
    """lambda = log(sqrt(alphas_cumprod) / sqrt(1 - alphas_cumprod)); infinite for a clean image."""
    with np.errstate(divide="ignore"):
        return 0.5 * (np.log(alphas_cumprod) - np.log1p(-alphas_cumprod))


def _linear_betas(num_timesteps):
    """beta from 1e-4 to 0.02 in equal steps for T = 1000, times 1000 / T for other T."""
    scale = 1000 / num_timesteps
    return np.linspace(1e-4 * scale, 0.02 * scale, num_timesteps)


def _cosine_betas(num_timesteps):
    """beta_i = min(1 - a((i+1)/T) / a(i/T), 0.999), a(u) = cos((u + 0.008) / 1.008 * pi/2)**2."""
    u = np.arange(num_timesteps + 1) / num_timesteps
    a = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1.0 - a[1:] / a[:-1], 0.999)


# A name's betas, and the fewest steps for which they stay below 1.
_BETAS = {"linear": (_linear_betas, 21), "squaredcos_cap_v2": (_cosine_betas, 1)}


def _from_betas(betas, timesteps):
    """alphas_cumprod and the posterior q(x_{t-1} | x_t, x_0) (arXiv 2006.11239, eq. 6 and 7)."""
    alphas_cumprod = np.cumprod(1.0 - betas)
    previous = np.append(1.0, alphas_cumprod[:-1])
    variance = betas * (1.0 - previous) / (1.0 - alphas_cumprod)
    return Schedule(
        timesteps=timesteps,
        betas=betas,
        alphas_cumprod=alphas_cumprod,
        posterior_variance=variance,
        posterior_log_variance_clipped=_log_clipped(variance, betas),
        posterior_mean_coef1=betas * np.sqrt(previous) / (1.0 - alphas_cumprod),
        posterior_mean_coef2=(1.0 - previous) * np.sqrt(1.0 - betas) / (1.0 - alphas_cumprod),
    )


def _log_clipped(variance, betas):
    """log of the posterior variance, whose entry 0 (no variance, log 0) is replaced by entry 1."""
    # A schedule of one step has no entry 1: its beta is the only other variance at hand.
    first = variance[1] if len(variance) > 1 else betas[0]
    return np.log(np.append(first, variance[1:]))
