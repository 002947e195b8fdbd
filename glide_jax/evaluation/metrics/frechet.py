"""FID, the Fréchet distance of two sets of features, and its limit for endless samples."""

import numpy as np

from glide_jax.evaluation.metrics import statistics
from glide_jax.evaluation.metrics.samples import check_same_width, checked
from glide_jax.evaluation.metrics.statistics import Statistics

# Of FID-infinity: so many sizes of subset, from this part of all pictures on; its authors take 15,
# from 5,000 of 50,000 on.
POINTS, SMALLEST = 15, 0.1


def fid(one: Statistics, other: Statistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), of two sets of pictures, in either order.

    It depends on the number of pictures: fewer give more. Name the number with the value.

    Args:
        one, other: of features of the same network.

    Raises:
        ValueError: there are fewer than 2 pictures, or the features are of different networks.

    Source: Heusel et al. 2017, arXiv 1706.08500, equation 6.
    """
    check(one, other)
    return distance(one, other, square_root(other.covariance))


def check(one, other, names=("one", "the other")):
    """Raises the ValueErrors of `fid`; `names` are what to call the two."""
    for each, name in zip((one, other), names, strict=True):
        if each.n is not None and each.n < 2:
            raise ValueError(f"n is {each.n}; a covariance takes 2 pictures or more")
        if not (np.isfinite(each.mean).all() and np.isfinite(each.covariance).all()):
            raise ValueError(
                f"the statistics of {name} hold numbers that are not finite; gather them anew"
            )
    check_same_width(one.covariance, other.covariance, names)


def distance(one, other, root):
    """See `fid`; `root` is the square root of the second covariance."""
    apart = one.mean - other.mean
    # root C root has the eigenvalues of the product of both covariances and is symmetric, so they
    # are real; below zero they are rounding.
    shared = np.linalg.eigvalsh(root @ one.covariance @ root)
    trace = np.trace(one.covariance) + np.trace(other.covariance)
    return max(float(apart @ apart + trace - 2 * np.sqrt(shared.clip(0)).sum()), 0.0)


def square_root(matrix):
    """The symmetric square root of a covariance, which may be singular: real at all times."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


def fid_infinity(features, reference: Statistics, *, points=POINTS, seed=0) -> float:
    """FID as it would be for endlessly many pictures: fitted over 1/N, at 0.

    FID of N pictures is above its limit by about a constant over N, which differs from model to
    model. Here it is measured on random subsets of growing size, and a line is laid through.
    The reference stays as it is: its own number of pictures still counts.

    Args:
        features: [N, D] of the pictures that are judged.
        reference: of those that they are judged by.
        points: how many sizes of subset, evenly from a tenth of all to all.
        seed: of the subsets.

    Returns:
        The line's value at 1/N = 0; it can be below 0 where FID is small.

    Raises:
        ValueError: the smallest subset would have fewer than 2 pictures, or as `fid`.

    Source: Chong and Forsyth 2020, arXiv 1911.07023.
    """
    features = checked(features, "features", least=20)
    if points < 2:
        raise ValueError(f"points is {points}; a line takes 2 or more")
    check_same_width(features, reference.covariance, ("features", "reference"))
    sizes = np.linspace(SMALLEST * len(features), len(features), points).astype(int)
    rng, root = np.random.default_rng(seed), square_root(reference.covariance)
    values = [
        distance(statistics.of(rng.permutation(features)[:size]), reference, root) for size in sizes
    ]
    _, at_zero = np.polyfit(1 / sizes, values, 1)
    return float(at_zero)
