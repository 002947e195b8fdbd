"""Improved precision and recall: which pictures lie among the neighbours of the other set's."""

from typing import NamedTuple

import numpy as np

from glide_jax.evaluation.metrics.samples import checked_pair

NEIGHBOURS = 3
BLOCK = 1024  # rows whose distances are held at a time


class PrecisionRecall(NamedTuple):
    """Shares of pictures, 0 to 1."""

    precision: float
    recall: float


def precision_recall(features, reference, *, k=NEIGHBOURS, block=BLOCK) -> PrecisionRecall:
    """How many pictures look real (precision), and how much of what is real is drawn (recall).

    Args:
        features: [N, D] of the pictures that are judged.
        reference: [M, D] of real ones; N and M should be alike, for both shares depend on them.
        k: which neighbour bounds the ball around a picture, itself not counted.
        block: rows at a time; it changes nothing but the memory.

    Raises:
        ValueError: a set has no k + 1 pictures, or the features differ in shape or are not finite.

    Source: Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")
    drawn, real = (
        each.astype(np.float64) for each in checked_pair(features, reference, least=k + 1)
    )
    is_real, is_drawn = memberships(drawn, real, k, block)
    return PrecisionRecall(float(is_real.mean()), float(is_drawn.mean()))


def memberships(drawn, real, k=NEIGHBOURS, block=BLOCK):
    """Which of the drawn [N, D] lie in a ball of real ones, and the reverse: bool [N] and [M].

    Both float64; see `precision_recall`.
    """
    # Near zero, squares lose the fewest digits to one another.
    middle = real.mean(axis=0)
    drawn, real = drawn - middle, real - middle
    real_reach, drawn_reach = (radii(each, k, block) for each in (real, drawn))
    is_real, is_drawn = [], np.zeros(len(real), bool)
    for part, reach in zip(_blocks(drawn, block), _blocks(drawn_reach, block), strict=True):
        distances = distances2(part, real)
        is_real.append((distances <= real_reach).any(axis=1))
        is_drawn |= (distances <= reach[:, None]).any(axis=0)
    return np.concatenate(is_real), is_drawn


def radii(points, k, block=BLOCK):
    """The squared distance of each of the points [N, D] to its k-th neighbour among them, [N]."""
    found = []
    for number, part in enumerate(_blocks(points, block)):
        distances = distances2(part, points)
        own = np.arange(len(part))
        distances[own, number * block + own] = np.inf
        found.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(found)


def distances2(x, y):
    """Squared distances of all pairs, [N, D] and [M, D] to [N, M]."""
    distances = x @ y.T
    distances *= -2
    distances += np.square(x).sum(axis=1)[:, None]
    distances += np.square(y).sum(axis=1)
    return np.maximum(distances, 0, out=distances)


def _blocks(points, block):
    return (points[first : first + block] for first in range(0, len(points), block))
