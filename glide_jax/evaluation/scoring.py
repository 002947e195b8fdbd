"""All metrics that features allow, each with its interval, under the names of results.json."""

from functools import partial

import numpy as np

from glide_jax.evaluation import scores
from glide_jax.evaluation.metrics import frechet, kid, precision_recall, statistics
from glide_jax.evaluation.metrics.inception_score import SPLITS, inception_score
from glide_jax.evaluation.metrics.intervals import bootstrap
from glide_jax.evaluation.metrics.samples import checked

DEFAULT = "it has a default for pictures of 32 pixels alone"
KID_SUBSETS = 4  # pairs of subsets in each resampling: a hundred would take too long


def score(drawn, reference, resamplings=200):
    """The metrics of pictures, as far as there is what they need.

    Args:
        drawn: of the pictures that are judged, by name: `features` [N, D], and if known `logits`
            [N, K] and `cosines` [N] of pictures and captions.
        reference: of those that they are judged by: `features` [M, D] or `statistics`, or both;
            empty where there are none.
        resamplings: for the intervals.

    Returns:
        Two dictionaries by metric: {"value", "interval", "n"}, and why others are left out.

    Raises:
        ValueError: features are not finite, or of two networks.
    """
    found, out = {}, {}
    parts = (_distances, _neighbours, _classes, _fit)
    for part in parts:
        values, reasons = part(drawn, reference, resamplings)
        found |= values
        out |= reasons
    return found, out


def _distances(drawn, reference, resamplings):
    """FID of means and covariances, KID of all features."""
    why = _lacks(drawn, reference, least=2)
    if why:
        return {}, {"fid": why, "kid": why}
    features, real = drawn["features"], statistics_of(reference)
    frechet.check(statistics.of(features), real, ("--images", "--reference"))
    bootstrapped = partial(_bootstrapped, features, resamplings)
    root = frechet.square_root(real.covariance)
    # Root of the reference's covariance: once for all resamplings.
    own = bootstrapped(lambda rows: frechet.distance(statistics.of(rows), real, root))
    found = {"fid": own | {"n_reference": real.n}}
    if "features" not in reference:
        return found, {"kid": "the reference has statistics only, no features"}

    def distance(rows, subsets=KID_SUBSETS):
        return kid.kid(rows, reference["features"], subsets=subsets).mean

    return found | {"kid": bootstrapped(distance, partial(distance, subsets=kid.SUBSETS))}, {}


def _neighbours(drawn, reference, _):
    """Precision and recall, shares of pictures: Wilson's intervals, the other set being given."""
    why = _lacks(drawn, reference, least=precision_recall.NEIGHBOURS + 1)
    if not why and "features" not in reference:
        why = "the reference has statistics only, no features"
    if why:
        return {}, {"precision": why, "recall": why}
    pair = (np.asarray(each["features"], np.float64) for each in (drawn, reference))
    is_real, is_drawn = precision_recall.memberships(*pair)
    return {
        "precision": scores.share(int(is_real.sum()), len(is_real)),
        "recall": scores.share(int(is_drawn.sum()), len(is_drawn)),
    }, {}


def _classes(drawn, _, resamplings):
    """The inception score, of logits."""
    if "logits" not in drawn:
        return {}, {"inception_score": "there are no logits: give pictures, and --features"}
    logits = checked(drawn["logits"], "logits")
    if len(logits) < SPLITS:
        return {}, {"inception_score": f"there are {len(logits)} pictures; it takes {SPLITS}"}
    return {
        "inception_score": _bootstrapped(logits, resamplings, lambda x: inception_score(x).mean)
    }, {}


def _fit(drawn, *_):
    """The CLIP score, a mean of cosines."""
    if "cosines" not in drawn:
        return {}, {"clip_score": f"there is no --judge ({DEFAULT}), or there are no captions"}
    if len(drawn["cosines"]) < 2:
        return {}, {"clip_score": "there is one picture; an interval takes 2"}
    return {"clip_score": scores.mean(drawn["cosines"])}, {}


def _lacks(drawn, reference, least):
    """Why two sets cannot be compared, or nothing."""
    if "features" not in drawn:
        return f"there are no features: give --features ({DEFAULT})"
    if not reference:
        return "there are no features of real pictures: give --reference, and --features"
    number, real = len(checked(drawn["features"], "features", least=1)), _number(reference)
    if number < least:
        return f"there are {number} pictures; {least} or more are needed"
    if real is not None and real < least:
        return f"the reference has {real} pictures; {least} or more are needed"
    return ""


def _number(reference):
    """How many pictures a reference is of; None where its statistics do not say it."""
    if "features" not in reference:
        return reference["statistics"].n
    return len(checked(reference["features"], "features of --reference", least=1))


def statistics_of(reference):
    """The Statistics of a reference: its own, or of its features."""
    return reference.get("statistics") or statistics.of(reference["features"])


def _bootstrapped(samples, resamplings, metric, exact=None):
    """The value of a metric, by `exact` where that is another function, and its interval."""
    low, high = bootstrap(metric, samples, number=resamplings)
    value = (exact or metric)(samples)
    # Where the value is a finer mean than the resampled ones, the interval moves along.
    shift = value - metric(samples) if exact else 0
    interval = [rounded(end + shift) for end in (low, high)]
    return {"value": rounded(value), "interval": interval, "n": len(samples)}


def rounded(value):
    """A number as results.json has it: six digits."""
    return float(f"{value:.6g}")
