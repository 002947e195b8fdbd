"""Mean and covariance of features, gathered batch by batch, and kept as a file."""

from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from etils import epath

from glide_jax.evaluation.metrics.samples import check_same_width, checked
from glide_jax.files import written_whole


class Statistics(NamedTuple):
    """What FID needs to know of pictures' features.

    Attributes:
        n: how many pictures; None where a file does not say it.
        mean: float64 [D].
        covariance: float64 [D, D], of the sample: over n - 1; zero for a single picture.
    """

    n: int | None
    mean: np.ndarray
    covariance: np.ndarray


def of(features) -> Statistics:
    """The statistics of features [N, D]."""
    features = checked(features, "features", least=1).astype(np.float64)
    mean = features.mean(axis=0)
    apart = features - mean
    return Statistics(len(features), mean, apart.T @ apart / max(len(features) - 1, 1))


def joined(one: Statistics | None, other: Statistics) -> Statistics:
    """The statistics of two sets of pictures together; None is the empty set.

    Sums of squares are never taken around zero, where large means would use up their digits
    (Chan, Golub, LeVeque 1979).
    """
    if one is None:
        return other
    if one.n is None or other.n is None:
        raise ValueError("n is None, so the statistics cannot be joined; gather them from features")
    check_same_width(one.covariance, other.covariance, ("one", "the other"))
    n, apart = one.n + other.n, other.mean - one.mean
    scatter = (one.n - 1) * one.covariance + (other.n - 1) * other.covariance
    scatter += one.n * other.n / n * np.outer(apart, apart)
    return Statistics(n, one.mean + other.n / n * apart, scatter / (n - 1))


def save(path, statistics: Statistics):
    """Writes an .npz, whole or not at all, with the names that other tools read: mu and sigma."""
    n, mean, covariance = statistics
    number = {} if n is None else {"n": n}
    with written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, mu=mean, sigma=covariance, **number)


def load(path) -> Statistics:
    """What `save` wrote, or another tool's .npz of mu and sigma; a ValueError if it is neither."""
    path = epath.Path(path)
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
            n = int(arrays["n"]) if "n" in arrays else None
    except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} holds no statistics, an .npz of mu and sigma: {error}") from error
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise ValueError(
            f"{path} has mu {mean.shape} and sigma {covariance.shape}; they must be [D] and [D, D]"
        )
    return Statistics(n, mean, covariance)
