"""Dynamic thresholding from its definition."""

import numpy as np
import pytest

from glide_jax.diffusion.thresholding import dynamic_threshold
from tests.stand_ins import drawn

X_0 = 2 * drawn("thresholding/x_0", (3, 4, 4, 2)) * np.float32([0.1, 1, 5]).reshape(3, 1, 1, 1)


@pytest.mark.parametrize("fraction", (0.5, 0.9, 1.0))
def test_each_picture_is_scaled_by_its_own_quantile(fraction):
    found = dynamic_threshold(fraction)(X_0, None, None)
    for own, expected in zip(found, X_0, strict=True):
        sizes = np.sort(np.abs(expected).reshape(-1))
        place = fraction * (sizes.size - 1)  # between two values, linearly
        low, high = sizes[int(np.floor(place))], sizes[int(np.ceil(place))]
        s = max(1.0, low + (place % 1) * (high - low))
        np.testing.assert_allclose(own, np.clip(expected, -s, s) / s, rtol=1e-5, atol=1e-6)
    assert np.abs(found).max() <= 1


def test_what_lies_within_the_range_stays():
    assert np.abs(X_0[0]).max() < 1
    np.testing.assert_array_equal(dynamic_threshold(0.9)(X_0, None, None)[0], X_0[0])
