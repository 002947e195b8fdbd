"""Masks: each kind by its geometry and its chances, the shares of all, and that each erases."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from glide_jax.config import Erase
from glide_jax.training import erasing

MANY = 4000


def erased(make, side, number=MANY, numbers=erasing.NUMBERS):
    """bool [number, side, side] of a `(numbers, side) -> erased`."""
    drawn = np.random.default_rng(0).random((number, numbers), np.float32)
    return np.asarray(jax.jit(jax.vmap(partial(make, side=side)))(drawn))


@pytest.mark.parametrize("side", [1, 3, 16])
def test_every_mask_erases_something(side):
    for make in (erasing.boxes, erasing.half_plane, erasing.stroke, erasing.strokes, erasing.whole):
        of = erasing.OF_STROKE if make is erasing.stroke else erasing.NUMBERS
        masks = erased(make, side, numbers=of)
        assert masks.any(axis=(1, 2)).all(), make
        if make is erasing.whole:
            assert masks.all()
        elif side == 16:  # nor is a picture that keeps nothing frequent elsewhere
            assert masks.all(axis=(1, 2)).mean() < 0.05, make


def test_boxes_cover_each_pixel_with_its_chance():
    side = 8
    along = np.zeros(side)  # the chance that one box covers a pixel's column
    lengths = range(1, 7)
    for length in lengths:
        starts = range(side - length + 1)
        for start in starts:
            along[start : start + length] += 1 / len(starts) / len(lengths)
    missed = 1 - np.outer(along, along)
    expected = 1 - np.mean([missed**number for number in (1, 2, 3)], axis=0)
    found = erased(erasing.boxes, side, 20_000).mean(axis=0)
    assert np.abs(found - expected).max() < 4.5 * np.sqrt(0.25 / 20_000)


def test_half_planes_are_such_at_any_angle():
    side = 9
    masks = erased(erasing.half_plane, side)
    # Each pixel is as often on the one side of the line as on the other.
    assert np.abs(masks.mean(axis=0) - 0.5).max() < 4.5 * np.sqrt(0.25 / MANY)
    for part in (masks, ~masks):  # both convex: with two pixels they have the one between
        for down in range(-2, 3):
            for across in range(1, 3):
                a, middle, b = (
                    part[:, 4 + k * down - 2 : 4 + k * down + 3, 2 + k * across : 7 + k * across]
                    for k in (-1, 0, 1)
                )
                assert (middle | ~(a & b)).all()
    rows_alike = (masks == masks[:, :1]).all(axis=(1, 2))
    columns_alike = (masks == masks[:, :, :1]).all(axis=(1, 2))
    assert np.mean(rows_alike | columns_alike) < 0.3
    corners = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    alone = corners & (corners.sum(axis=1, keepdims=True) == 1)
    assert (alone.mean(axis=0) > 0.05).all()


def test_a_stroke_is_in_one_piece_and_strokes_in_up_to_three():
    def pieces(masks):
        return [ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks]

    one = erased(erasing.stroke, 32, 500, erasing.OF_STROKE)
    several = erased(erasing.strokes, 32, 500)
    assert set(pieces(one)) == {1}
    assert {1, 2} <= set(pieces(several)) <= {1, 2, 3}
    # The thinnest is a line of 1.5 pixels and 4 long; the thickest cannot cover half of it.
    share = one.mean(axis=(1, 2))
    assert 4 / 32**2 < share.min() < share.max() < 0.5 and several.mean() > share.mean()


def test_the_distance_to_a_segment():
    points = np.array([[[0.0, 5.0], [3.0, 4.0], [9.0, 0.0]]])
    found = erasing.distance_to_segment(points, np.zeros(2), np.array([6.0, 0.0]))
    np.testing.assert_allclose(found, [[5, 4, 3]], rtol=1e-6)
    point = erasing.distance_to_segment(points, np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(point, [[5, 5, 9]], rtol=1e-6)


def test_each_kind_has_its_share():
    shares = (0.0, 0.7, 1.0)
    erases = [Erase(boxes=0, half_planes=0, strokes=1 - share, whole=share) for share in shares]
    numbers = np.random.default_rng(1).random((MANY, 1 + erasing.NUMBERS), np.float32)

    @jax.jit
    def draw(numbers):
        return [jax.vmap(partial(erasing.make_mask, erase, 16))(numbers) for erase in erases]

    for share, masks in zip(shares, draw(numbers), strict=True):
        assert masks.shape == (MANY, 16, 16, 1) and masks.dtype == np.float32
        assert set(np.unique(masks)) <= {0, 1}
        found = np.mean(~np.asarray(masks).any(axis=(1, 2, 3)))
        assert abs(found - share) <= 4 * math.sqrt(share * (1 - share) / MANY)


def test_the_shares_are_in_the_order_of_their_names():
    names = "boxes", "half_planes", "strokes", "whole"
    kinds = erasing.boxes, erasing.half_plane, erasing.strokes, erasing.whole
    numbers = np.full(1 + erasing.NUMBERS, 0.5, np.float32)

    @jax.jit
    def both(numbers):
        alone = [Erase(**dict.fromkeys(names, 0.0) | {name: 1.0}) for name in names]
        masks = jnp.stack([erasing.make_mask(erase, 16, numbers) for erase in alone])
        return 1 - masks[..., 0], jnp.stack([make(numbers[1:], 16) for make in kinds])

    found, expected = both(numbers)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found, axis=0)) == 4


def test_a_mask_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 8)
    draw = jax.jit(partial(erasing.draw_masks, Erase(), side=16))
    np.testing.assert_array_equal(draw(keys)[5:], draw(keys[5:]))
    assert len(np.unique(draw(keys), axis=0)) == 8
