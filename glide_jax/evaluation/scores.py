"""Shares of successes and means of measures, with how sure one can be of them."""

import math

import numpy as np

Z = 1.959963984540054  # of a 95 % interval


def wilson_interval(successes: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score (Wilson 1927): right at 0 % and 100 % too."""
    if not 0 <= successes <= number or number < 1:
        raise ValueError(f"{successes} successes of {number}: there must be 0 to all of 1 or more")
    share, z2 = successes / number, Z * Z
    middle = share + z2 / (2 * number)
    half = Z * math.sqrt(share * (1 - share) / number + z2 / (4 * number * number))
    low, high = ((middle + sign * half) / (1 + z2 / number) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def share(successes: int, number: int) -> dict:
    """A share as results.json has it: `value`, its 95 % `interval` and `n`."""
    interval = [round(end, 4) for end in wilson_interval(successes, number)]
    return {"value": round(successes / number, 4), "interval": interval, "n": number}


def mean(values) -> dict:
    """A mean as results.json has it: `value`, its 95 % `interval` (the normal one) and `n`."""
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"there are {values.size} values; an interval takes a list of 2 or more")
    value, half = values.mean(), Z * values.std(ddof=1) / math.sqrt(len(values))
    interval = [round(float(end), 4) for end in (value - half, value + half)]
    return {"value": round(float(value), 4), "interval": interval, "n": len(values)}


def in_words(share: dict) -> str:
    """A share in per cent with its interval: "93.2 % (91.4 to 94.7)"."""
    value, low, high = (100 * x for x in (share["value"], *share["interval"]))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def in_numbers(mean: dict) -> str:
    """A mean with its interval: "3.21 (2.90 to 3.52)"."""
    value, low, high = (mean["value"], *mean["interval"])
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
