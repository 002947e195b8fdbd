"""What each step of a run needs to know, made ahead: the rows that a sampler scans over."""

from typing import NamedTuple

import jax
import numpy as np

from glide_jax.diffusion.gaussian import Coefficients, coefficients
from glide_jax.diffusion.schedule import Schedule, half_log_snr


class Jump(NamedTuple):
    """Noise added after a step: x becomes signal x + noise eps; 1 and 0 where there is none."""

    signal: np.ndarray  # float32
    noise: np.ndarray  # float32


class Trajectory(NamedTuple):
    """The steps of a run in the order in which they are made; every array leads with [S].

    A piece of a run is a slice of every array (see `steps_between`).
    """

    number: np.ndarray  # int32, counts from 0; the noise of a step is drawn by it
    t: np.ndarray  # int32, the original timestep, which the network is given
    t_next: np.ndarray  # int32, the one that the step leads to; -1 is the clean image
    here: Coefficients  # float32, at t
    sqrt_alphas_cumprod_next: np.ndarray  # float32
    sqrt_one_minus_alphas_cumprod_next: np.ndarray  # float32
    ddim_sigma: np.ndarray  # float32, DDIM's standard deviation at eta 1
    dpm_extrapolation: np.ndarray  # float32, DPM-Solver++'s 1 / (2 r); 0 is a first-order step
    jump: Jump | None = None  # only in a run that goes back up


def reverse_trajectory(schedule: Schedule) -> Trajectory:
    """All steps of a (respaced) schedule from the noisiest to the clean image: S = T of it."""
    here = np.arange(len(schedule.betas))[::-1]
    return make_trajectory(schedule, here, here - 1)


def inversion_trajectory(schedule: Schedule) -> Trajectory:
    """From an image up to a (respaced) schedule's noisiest step, for DDIM inversion: S = T - 1.

    The image is taken for x at the cleanest step, as the published code does: of 1000 steps that
    step's noise is less than a grey level. The run ends where `reverse_trajectory` begins.

    Raises:
        ValueError: for a schedule of a single step, which has no way up.
    """
    total = len(schedule.betas)
    if total < 2:
        raise ValueError(f"inversion needs a schedule of at least 2 steps, not {total}")
    here = np.arange(total - 1)
    return make_trajectory(schedule, here, here + 1)


def resampling_trajectory(schedule: Schedule, length: int, resamplings: int) -> Trajectory:
    """A reverse run that goes through each piece of itself several times.

    Whenever it has come down `length` steps it adds their noise again and repeats them, so that a
    region which each step overwrites and the rest of the picture come to agree.

    Args:
        schedule: the (respaced) schedule in use, of T steps.
        length: steps of a jump back up, 1 to T - 1.
        resamplings: how often each piece is gone through, 1 or more; 1 is `reverse_trajectory`.

    Raises:
        ValueError: names the value and what is allowed.

    Source: RePaint, arXiv 2201.09865, algorithm 1 and appendix B.
    """
    total = len(schedule.betas)
    if not 1 <= length < total:
        raise ValueError(f"jump_length is {length}; of {total} steps it must be 1 to {total - 1}")
    if resamplings < 1:
        raise ValueError(f"resamplings is {resamplings}; it must be 1 or more")
    here, up = [], []
    left = dict.fromkeys(range(0, total - length, length), resamplings - 1)
    at = total - 1
    while at >= 0:
        here.append(at)
        at -= 1
        if left.get(at, 0):
            left[at] -= 1
            at += length
        up.append(at)
    here, up = np.array(here), np.array(up)
    after = here - 1
    levels = np.append(schedule.alphas_cumprod, 1.0)
    ratio = levels[up] / levels[after]
    jump = Jump(np.float32(np.sqrt(ratio)), np.float32(np.sqrt(1.0 - ratio)))
    return make_trajectory(schedule, here, after)._replace(jump=jump)


def make_trajectory(schedule: Schedule, here: np.ndarray, after: np.ndarray) -> Trajectory:
    """The steps that lead from here[i] to after[i].

    Args:
        schedule: the schedule in use, of T steps.
        here: int [S], positions in the schedule, 0..T-1.
        after: int [S], positions in the schedule, or -1 for the clean image; above here[i] where
            the step leads up.

    Returns:
        A Trajectory of S steps, computed in float64 and cast once.
    """
    # The clean image's entry is appended, so that -1 finds it there.
    a, a_next = schedule.alphas_cumprod[here], np.append(schedule.alphas_cumprod, 1.0)[after]
    return Trajectory(
        number=np.arange(len(here), dtype=np.int32),
        t=np.int32(schedule.timesteps[here]),
        t_next=np.int32(np.append(schedule.timesteps, -1)[after]),
        here=jax.tree.map(lambda column: column[here], coefficients(schedule)),
        sqrt_alphas_cumprod_next=np.float32(np.sqrt(a_next)),
        sqrt_one_minus_alphas_cumprod_next=np.float32(np.sqrt(1.0 - a_next)),
        ddim_sigma=np.float32(_ddim_sigma(a, a_next)),
        dpm_extrapolation=np.float32(_dpm_extrapolation(a, a_next, here[1:] == after[:-1])),
    )


def steps_between(trajectory: Trajectory, start: int, stop: int | None = None) -> Trajectory:
    """Steps start..stop-1 of a trajectory, which keep their numbers and so their noise."""
    return jax.tree.map(lambda column: column[start:stop], trajectory)


def _ddim_sigma(a, a_next):
    """sqrt((1 - a_next) / (1 - a)) sqrt(1 - a / a_next) (arXiv 2010.02502, eq. 16); 0 upwards."""
    return np.sqrt((1.0 - a_next) / (1.0 - a)) * np.sqrt(np.maximum(1.0 - a / a_next, 0.0))


def _dpm_extrapolation(a, a_next, joined):
    """1 / (2 r), r = h_before / h, h the step in lambda (arXiv 2211.01095, algorithm 2).

    `joined` says of each step but the first whether it begins where the one before ended.
    """
    h = half_log_snr(a_next) - half_log_snr(a)
    # First order at the start, into the clean image (h is infinite), and around a way up.
    second_order = joined & np.isfinite(h[1:]) & (h[1:] > 0) & (h[:-1] > 0)
    ratio = np.divide(h[1:], 2.0 * h[:-1], where=second_order, out=np.zeros_like(h[1:]))
    return np.append(0.0, ratio)[: len(h)]
