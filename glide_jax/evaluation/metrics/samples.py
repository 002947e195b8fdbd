"""What the metrics take and give: features that are checked, and a value with its spread."""

from typing import NamedTuple

import numpy as np

CHUNK = 4096  # rows that are looked at, and made float64, at a time


class Spread(NamedTuple):
    """A mean over parts of the samples, and the standard deviation over them."""

    mean: float
    std: float


def checked(features, name, least=2):
    """Features [N, D] as a numpy array; a ValueError where a metric cannot take them.

    Args:
        features: one row for each picture.
        name: what to call them.
        least: the fewest rows.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"{name} is of shape {features.shape}; give [N, D], a row a picture")
    if len(features) < least:
        raise ValueError(f"{name} has {len(features)} rows; give {least} or more")
    for first in range(0, len(features), CHUNK):
        if not np.isfinite(features[first : first + CHUNK]).all():
            raise ValueError(f"{name} holds numbers that are not finite; look for broken pictures")
    return features


def check_same_width(one, other, names):
    """Raises a ValueError where two sets of features are not of the same network."""
    if one.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"{names[0]} has {one.shape[1]} columns and {names[1]} {other.shape[1]}; take both "
            "from the same network"
        )


def checked_pair(features, reference, least=2):
    """The `checked` features of pictures that are judged, and of those that they are judged by."""
    names = ("features", "reference")
    features, reference = (
        checked(each, name, least) for each, name in zip((features, reference), names, strict=True)
    )
    check_same_width(features, reference, names)
    return features, reference
