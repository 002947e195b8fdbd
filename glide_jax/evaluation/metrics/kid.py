"""KID, the kernel distance of two sets of features: unbiased, so few pictures will do."""

import numpy as np

from glide_jax.evaluation.metrics.samples import Spread, checked_pair

SUBSETS, SIZE = 100, 1000


def kid(features, reference, *, subsets=SUBSETS, size=SIZE, seed=0) -> Spread:
    """The squared maximum mean discrepancy under (x y / D + 1)^3, a mean over random subsets.

    It is not multiplied by 100 or 1,000, as some tables have it.

    Args:
        features, reference: [N, D] and [M, D], in either order.
        subsets: how many pairs of subsets.
        size: pictures of each, at most; all where there are fewer.
        seed: of the subsets.

    Returns:
        The mean, which may be below 0 where both sets are alike, and the standard deviation over
        the subsets.

    Raises:
        ValueError: there are fewer than 2 pictures, their features differ in shape or are not
            finite.

    Source: Binkowski et al. 2018, arXiv 1801.01401.
    """
    features, reference = checked_pair(features, reference)
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets is {subsets} and size {size}; give 1 and 2 or more")
    size = min(size, len(features), len(reference))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (each[rng.choice(len(each), size, replace=False)] for each in (features, reference))
        values.append(unbiased_mmd2(x.astype(np.float64), y.astype(np.float64)))
    return Spread(float(np.mean(values)), float(np.std(values)))


def kernel(x, y):
    """(x y / D + 1)^3 of all pairs: [N, D] and [M, D] to [N, M]."""
    sums = x @ y.T / x.shape[1] + 1
    return sums * sums * sums  # a power is far slower


def unbiased_mmd2(x, y):
    """E k(x, x') + E k(y, y') - 2 E k(x, y), no row paired with itself.

    Source: Gretton et al. 2012, JMLR 13, lemma 6.
    """

    def within(rows):
        pairs = kernel(rows, rows)
        return (pairs.sum() - np.trace(pairs)) / (len(rows) * (len(rows) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()
