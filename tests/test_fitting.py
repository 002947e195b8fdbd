"""Pictures in a model's square and back, against loops over pixels and exact fractions."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from glide_jax.fitting import (
    enlarge_fit,
    enlarge_mask,
    fit,
    from_model,
    mask_to_model,
    paste,
    to_model,
)

RNG = np.random.default_rng(0)
SIDE = 8
SIZES = [(1, 1), (1000, 10), (10, 1000), (3, 5), (8, 8), (8, 9), (16, 24), (64, 64), (1, 300)]
SIZES += [tuple(size) for size in RNG.integers(1, 60, (20, 2)).tolist()]
HOWS = ["crop", "pad"]


def draw(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def draw_mask(size):
    """Mostly kept, and at least the middle is not, which any fit takes in."""
    mask = RNG.random(size) > RNG.choice([0.003, 0.1, 0.9])
    mask[(size[0] - 1) // 2, (size[1] - 1) // 2] = False
    return mask


def given_to_model(size, side, how):
    """The part of the picture, and of the square, as (top, left, height, width)."""
    height, width = size
    if how == "crop":
        short = min(size)
        return ((height - short) // 2, (width - short) // 2, short, short), (0, 0, side, side)
    tall, wide = (max(1, round(Fraction(n * side, max(size)))) for n in size)
    return (0, 0, height, width), ((side - tall) // 2, (side - wide) // 2, tall, wide)


def covered(number, length):
    """For each of `length` parts of `number` pixels, those that it covers and how much of each."""
    scale = Fraction(number, length)
    for i in range(length):
        low, high = i * scale, (i + 1) * scale
        pixels = range(floor(low), ceil(high))
        yield {p: (min(p + 1, high) - max(p, low)) / scale for p in pixels}


def plain_mask(mask, side, how):
    """The rule, pixel by pixel."""
    (top, left, height, width), (below, right, tall, wide) = given_to_model(mask.shape, side, how)
    rows, columns = list(covered(height, tall)), list(covered(width, wide))
    kept = np.empty((side, side), bool)
    for i in range(side):
        for j in range(side):
            row = rows[min(max(i - below, 0), tall - 1)]  # around the picture its edge's
            column = columns[min(max(j - right, 0), wide - 1)]
            kept[i, j] = all(mask[top + r, left + c] for r in row for c in column)
    return kept


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", SIZES)
def test_a_pixel_is_kept_if_all_under_it_are(size, how):
    mask = draw_mask(size)
    given = mask_to_model(mask, fit(size, SIDE, how))
    assert given.dtype == bool
    np.testing.assert_array_equal(given, plain_mask(mask, SIDE, how))


def shares(number, length):
    """What each part has of each pixel, [length, number]."""
    rows = np.zeros((length, number))
    for i, part in enumerate(covered(number, length)):
        for pixel, share in part.items():
            rows[i, pixel] = share
    return rows


def plain_picture(picture, side, how):
    """Means by two matrix products, unrounded; a picture that grows, by Pillow."""
    (top, left, height, width), (above, before, tall, wide) = given_to_model(
        picture.shape[:2], side, how
    )
    own = picture[top : top + height, left : left + width]
    if height < tall or width < wide:
        own = np.asarray(Image.fromarray(own).resize((wide, tall), Resampling.BICUBIC))
    else:
        own = np.einsum("ih,hwc,jw->ijc", shares(height, tall), own, shares(width, wide))
    rows = np.clip(np.arange(side) - above, 0, tall - 1)
    columns = np.clip(np.arange(side) - before, 0, wide - 1)
    return own[rows][:, columns]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_the_means_of_what_is_under_its_pixels(size, how):
    picture = draw(*size, 3)
    given = to_model(picture, fit(size, SIDE, how))
    assert given.dtype == np.uint8
    np.testing.assert_allclose(given, plain_picture(picture, SIDE, how), atol=0.501)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [size for size in SIZES if min(size) >= SIDE])
def test_nothing_that_is_to_be_drawn_shows_in_what_is_kept(size, how):
    fitted, mask, picture = fit(size, SIDE, how), draw_mask(size), draw(*size, 3)
    other = np.where(mask[..., None], picture, draw(*size, 3))
    kept = mask_to_model(mask, fitted)[fitted.place]
    a, b = (to_model(image, fitted)[fitted.place][kept] for image in (picture, other))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("how", HOWS)
def test_at_the_model_s_side_all_is_unchanged(how):
    picture, mask, drawn = draw(SIDE, SIDE, 3), draw_mask((SIDE, SIDE)), draw(SIDE, SIDE, 3)
    fitted = fit((SIDE, SIDE), SIDE, how)
    np.testing.assert_array_equal(to_model(picture, fitted), picture)
    np.testing.assert_array_equal(mask_to_model(mask, fitted), mask)
    np.testing.assert_array_equal(from_model(drawn, fitted), drawn)
    pasted = paste(drawn, picture, mask, fitted)
    np.testing.assert_array_equal(pasted, np.where(mask[..., None], picture, drawn))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1, 4])
def test_kept_pixels_are_the_picture_s_own(size, how, factor):
    picture, mask, drawn = draw(*size, 3), draw_mask(size), draw(SIDE * factor, SIDE * factor, 3)
    fitted = fit(size, SIDE, how)
    (top, left, height, width), place = given_to_model(size, SIDE, how)
    above, before, tall, wide = (factor * n for n in place)
    own = Image.fromarray(drawn[above : above + tall, before : before + wide])
    plain = np.asarray(own.resize((width, height), Resampling.BICUBIC)).copy()
    np.testing.assert_array_equal(from_model(drawn, fitted), plain)
    for row in range(height):
        for column in range(width):
            if mask[top + row, left + column]:
                plain[row, column] = picture[top + row, left + column]
    pasted = paste(drawn, picture, mask, fitted)
    assert pasted.dtype == np.uint8
    np.testing.assert_array_equal(pasted, plain)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [(60, 35), (64, 64), (7, 100)])
def test_what_goes_to_the_model_and_back_stays_where_it_is(size, how):
    """A slope of colour, which neither means nor bicubic interpolation moves."""
    row, column = np.indices(size)
    picture = np.stack([row, column, 0 * row], axis=-1).astype(np.uint8)
    fitted = fit(size, 32, how)
    back = from_model(to_model(picture, fitted), fitted).astype(int)
    inside = tuple(slice(n // 4, -(n // 4)) for n in back.shape[:2])
    np.testing.assert_allclose(back[inside], picture[fitted.cut][inside], atol=1)


@pytest.mark.parametrize("size", SIZES)
def test_an_upsampler_s_pixels_lie_in_those_of_the_base(size):
    small = fit(size, SIDE, "pad")
    large = enlarge_fit(small, 4)
    assert large.side == 4 * SIDE and large.cut == small.cut
    places = [np.zeros((fitted.side, fitted.side), bool) for fitted in (small, large)]
    for place, fitted in zip(places, (small, large), strict=True):
        place[fitted.place] = True
    np.testing.assert_array_equal(places[1], np.kron(places[0], np.ones((4, 4), bool)))
    picture = draw(*size, 3)
    assert to_model(picture, large).shape == (4 * SIDE, 4 * SIDE, 3)


def test_a_mask_is_enlarged_pixel_by_pixel():
    mask = RNG.random((5, 5)) > 0.5
    np.testing.assert_array_equal(enlarge_mask(mask, 4), np.kron(mask, np.ones((4, 4), bool)))


def test_a_crop_that_leaves_nothing_to_draw_is_refused():
    mask = np.ones((10, 30), bool)
    mask[:, :10] = False
    assert not mask_to_model(mask, fit(mask.shape, SIDE, "pad")).all()
    with pytest.raises(ValueError, match="^there is nothing to draw: .* fit 'pad' gives it the"):
        mask_to_model(mask, fit(mask.shape, SIDE, "crop"))


def test_unknown_fits_and_drawn_pictures_of_other_sides_are_refused():
    with pytest.raises(ValueError, match="^fit is 'stretch'; allowed: 'crop' or 'pad'$"):
        fit((8, 8), SIDE, "stretch")
    fitted = fit((8, 8), SIDE, "crop")
    for shape in ((12, 12, 3), (8, 16, 3)):
        with pytest.raises(ValueError, match="must be square, with a multiple of 8 pixels$"):
            from_model(np.zeros(shape, np.uint8), fitted)
