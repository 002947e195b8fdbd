"""How sure one can be of a metric: intervals by resampling its pictures."""

import numpy as np

NUMBER, LEVEL = 200, 0.95


def bootstrap(metric, *samples, number=NUMBER, level=LEVEL, seed=0) -> tuple[float, float]:
    """An interval for a metric of samples, by drawing their rows anew, with repetition.

    Repeated rows shift a metric that depends on the number of different pictures, as FID does. So
    the resampled values are moved until their mean is the metric of the samples themselves, and
    the interval says how far another draw of pictures might lead, not how biased the metric is.

    Args:
        metric: of arrays like the samples, to a number.
        samples: arrays of the same length N, whose rows belong together: features, or embeddings
            of pictures and of captions.
        number: of resamplings.
        level: the share of them that the interval holds.
        seed: of the draws.

    Returns:
        (low, high).

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 10 and 13.
    """
    samples = [np.asarray(each) for each in samples]
    lengths = {len(each) for each in samples}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(f"the samples have {sorted(lengths)} rows; all need the same, 2 or more")
    if number < 2 or not 0 < level < 1:
        raise ValueError(f"number is {number} and level {level}; allowed: 2 or more, and 0 to 1")
    (n,), rng = lengths, np.random.default_rng(seed)
    values = []
    for _ in range(number):
        rows = rng.integers(n, size=n)
        values.append(metric(*(each[rows] for each in samples)))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    shift = metric(*samples) - np.mean(values)
    return float(low + shift), float(high + shift)
