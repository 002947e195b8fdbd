"""Which timesteps a shorter run visits."""

import re

import numpy as np

from glide_jax.diffusion.schedule import Schedule, half_log_snr

_ALLOWED = (
    'a number of steps ("50"), one for each section ("10,10,3,2,2"), '
    '"ddim" and a number ("ddim50"), or "fast27"'
)


def spaced_timesteps(num_timesteps: int, spec: int | str) -> np.ndarray:
    """The timesteps that a respacing keeps.

    Args:
        num_timesteps: T of the schedule.
        spec: a number of steps (50 or "50"); a number for each of several equal sections of the
            schedule, cleanest first ("10,10,3,2,2"); "ddim50", evenly spaced from 0 by a whole
            stride; or "fast27", the published upsampler's.

    Returns:
        int64 array, ascending, within 0..T-1.

    Raises:
        ValueError: for a spec of no such form, or of more steps than there are.

    Source: Nichol and Dhariwal 2021, arXiv 2102.09672, section 4; GLIDE's published samplers.
    """
    text = str(spec)
    if text == "fast27":
        steps = _sections(num_timesteps, [10, 10, 3, 2, 2], text)
        # As published: DDIM shows artifacts when it starts from the very noisiest timestep.
        return np.append(steps[:-1], num_timesteps - 3)
    if match := re.fullmatch(r"ddim(\d+)", text):
        return _strided(num_timesteps, int(match[1]), text)
    if re.fullmatch(r"\d+(,\d+)*", text):
        return _sections(num_timesteps, [int(count) for count in text.split(",")], text)
    raise ValueError(f"respacing must be {_ALLOWED}, not {text!r}")


def log_snr_timesteps(schedule: Schedule, n: int) -> np.ndarray:
    """n timesteps evenly spaced in log-SNR, for DPM-Solver++.

    lambda goes from the noisiest step's, but no less than -5.1 (the last steps of the cosine
    schedule have next to no signal and would take up half of the run), towards that of step 0. As
    the final step leads on to the clean image, that last point itself is left out. Whole steps that
    would coincide move on to the next free one.

    Args:
        schedule: a Schedule of T steps.
        n: how many, 1..T.

    Returns:
        int64 [n], positions in the schedule, strictly decreasing from T-1.

    Raises:
        ValueError: for n outside 1..T.

    Source: Lu et al. 2022, arXiv 2206.00927, section 3.4.
    """
    total = len(schedule.betas)
    if not 1 <= n <= total:
        raise ValueError(f"the number of steps must be in 1..{total}, not {n}")
    lambdas = np.maximum(half_log_snr(schedule.alphas_cumprod), -5.1)[::-1]
    wanted = np.linspace(lambdas[0], lambdas[-1], n + 1)[:-1]
    steps = np.rint(np.interp(wanted, lambdas, np.arange(total)[::-1])).astype(int)
    steps[0] = total - 1
    # Strictly decreasing means that step + rank never rises; and n - 1 - rank must still follow.
    rank = np.arange(n)
    return np.maximum(np.minimum.accumulate(steps + rank) - rank, n - 1 - rank)


def _sections(num_timesteps, counts, spec):
    """T split into nearly equal sections, the earlier ones one longer; counts[i] steps of each."""
    size, longer = divmod(num_timesteps, len(counts))
    sizes = [size + (i < longer) for i in range(len(counts))]
    for size, count in zip(sizes, counts, strict=True):
        if not 1 <= count <= size:
            raise ValueError(
                f"respacing {spec!r} asks for {count} steps in a section of {size} of the "
                f"{num_timesteps} timesteps; 1 to {size} are allowed"
            )
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [a + _spread(b, n) for a, b, n in zip(starts, sizes, counts, strict=True)]
    )


def _spread(size, count):
    """count whole numbers spread over 0..size-1, both ends included."""
    stride = (size - 1) / (count - 1) if count > 1 else 1.0
    # Summed up, not j * stride: rounding errors decide which way the halves go.
    return np.rint(np.cumsum([0.0] + [stride] * (count - 1))).astype(int)


def _strided(num_timesteps, count, spec):
    """range(0, T, stride) by the smallest whole stride that gives count steps."""
    for stride in range(1, num_timesteps + 1):
        if len(range(0, num_timesteps, stride)) == count:
            return np.arange(0, num_timesteps, stride)
    raise ValueError(
        f"respacing {spec!r} asks for {count} evenly spaced steps, but no whole stride through "
        f"{num_timesteps} timesteps gives that many; try a divisor of {num_timesteps}"
    )
