"""Inception score: how sure a classifier is of each picture, and how much the pictures differ."""

import numpy as np

from glide_jax.evaluation.metrics.samples import Spread, checked

SPLITS = 10


def inception_score(logits, *, splits=SPLITS, seed=0) -> Spread:
    """exp of the mean KL(p(y|x) || p(y)), from 1 to the number of classes; more is better.

    Args:
        logits: [N, classes] of a classifier; logarithms of probabilities are logits, too.
        splits: equal parts, each with a p(y) of its own.
        seed: of the order in which pictures are dealt to the parts: they may come sorted.

    Returns:
        The mean over the parts, and their standard deviation.

    Raises:
        ValueError: there are fewer pictures than splits, or a logit is not finite.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4.
    """
    if splits < 1:
        raise ValueError(f"splits is {splits}; it must be 1 or more")
    logits = checked(logits, "logits", least=splits)
    dealt = np.random.default_rng(seed).permutation(len(logits))
    scores = [_score(log_softmax(logits[rows])) for rows in np.array_split(dealt, splits)]
    return Spread(float(np.mean(scores)), float(np.std(scores)))


def log_softmax(logits):
    """Logarithms of the probabilities, float64, of logits [N, classes]."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _score(log_p):
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    # A class that no picture has in float64 has p = 0, and adds nothing.
    log_mean = np.log(np.where(mean > 0, mean, 1))
    return np.exp((p * (log_p - log_mean)).sum(axis=1).mean())
