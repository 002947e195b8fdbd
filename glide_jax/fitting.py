"""A picture of any size in a model's square, and what was drawn there back in the picture."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from glide_jax.config.checks import require


class Fit(NamedTuple):
    """Which part of a picture a model is given, and where that lies in its square.

    Attributes:
        cut: slices of the picture's rows and columns.
        place: slices of the square's.
        side: of the square, in pixels.
    """

    cut: tuple[slice, slice]
    place: tuple[slice, slice]
    side: int


def fit(picture_size, side, how):
    """How a picture of (height, width) comes into a square of `side` pixels.

    Args:
        how: "crop" takes its middle square; "pad" takes all of it, and repeats its edge pixels.
    """
    require(how in ("crop", "pad"), "fit", how, "'crop' or 'pad'")
    if how == "crop":
        shorter = min(picture_size)
        return Fit(tuple(_middle(n, shorter) for n in picture_size), (slice(0, side),) * 2, side)
    scale = side / max(picture_size)
    place = tuple(_middle(side, max(1, round(n * scale))) for n in picture_size)
    return Fit(tuple(slice(0, n) for n in picture_size), place, side)


def _middle(length, part):
    start = (length - part) // 2
    return slice(start, start + part)


def enlarge_fit(fit, factor):
    """The fit of an upsampler's square: each pixel of the smaller one is factor x factor."""
    place = tuple(slice(part.start * factor, part.stop * factor) for part in fit.place)
    return Fit(fit.cut, place, fit.side * factor)


def enlarge_mask(mask, factor):
    """bool [h, w] to [h * factor, w * factor], each pixel repeated."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)


def to_model(picture, fit):
    """A picture, uint8 [H, W, 3], in the model's square, uint8 [side, side, 3].

    A pixel is the mean of what lies under it, so that one which `mask_to_model` keeps shows nothing
    of what is to be drawn anew. Pictures smaller than the square are enlarged by bicubic
    interpolation, which blends neighbours.
    """
    own, (height, width) = picture[fit.cut], _sides(fit.place)
    if own.shape[0] < height or own.shape[1] < width:
        own = bicubic(own, height, width)
    else:
        means = _means(_means(own, height).swapaxes(0, 1), width).swapaxes(0, 1)
        own = np.rint(means).astype(np.uint8)
    return np.pad(own, (*_around(fit), (0, 0)), mode="edge")


def mask_to_model(mask, fit):
    """A mask, bool [H, W], True = keep, in the model's square, bool [side, side].

    A pixel is kept if all of the picture's pixels are that it covers, if only in part; what `fit`
    adds around the picture goes with the edge that it repeats.

    Raises:
        ValueError: nothing is left to draw.
    """
    own = mask[fit.cut]
    for length in _sides(fit.place):  # rows, then columns, each time the first axis of the two
        own = np.stack([own[rows].all(axis=0) for rows in _parts(len(own), length)]).T
    if own.all():
        raise ValueError(
            "there is nothing to draw: the mask keeps all of the square that the model is given; "
            "fit 'pad' gives it the whole picture"
        )
    return np.pad(own, _around(fit), mode="edge")


def from_model(drawn, fit):
    """What was drawn, at the picture's own resolution.

    Args:
        drawn: uint8 [S, S, 3], S the model's side, or a multiple of it that an upsampler gives.

    Returns:
        uint8 [H', W', 3], as large as the part of the picture that the model was given.
    """
    if drawn.shape[0] != drawn.shape[1] or drawn.shape[0] % fit.side:
        raise ValueError(
            f"drawn is {list(drawn.shape)}; it must be square, with a multiple of {fit.side} pixels"
        )
    place = enlarge_fit(fit, len(drawn) // fit.side).place
    return bicubic(drawn[place], *_sides(fit.cut))


def paste(drawn, picture, mask, fit):
    """What was drawn (as `from_model` takes it) in the picture, whose kept pixels are untouched.

    Args:
        picture: uint8 [H, W, 3].
        mask: bool [H, W], True = keep.

    Returns:
        uint8 [H', W', 3], as large as the part of the picture that the model was given.
    """
    return np.where(mask[fit.cut][..., None], picture[fit.cut], from_model(drawn, fit))


def _sides(slices):
    return tuple(part.stop - part.start for part in slices)


def _around(fit):
    """How many rows, and how many columns, lie before and behind the picture in the square."""
    return tuple((part.start, fit.side - part.stop) for part in fit.place)


def bicubic(pixels, height, width):
    """A picture, uint8 [h, w, 3], in another size by bicubic interpolation."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Resampling.BICUBIC))


def _parts(number, length):
    """For each of `length` equal parts of `number` rows, a slice of all rows that it touches."""
    return [slice(i * number // length, -(-(i + 1) * number // length)) for i in range(length)]


def _means(values, length):
    """The means of `length` equal parts of the rows, those that a part cuts counted by their share.

    [N, ...] to float32 [length, ...], for N of at least `length`.
    """
    number, means = len(values), []
    for i, part in enumerate(_parts(number, length)):
        rows = np.arange(part.start, part.stop)  # row j is j * length to (j + 1) * length
        ends = np.minimum((rows + 1) * length, (i + 1) * number)
        share = (ends - np.maximum(rows * length, i * number)) / number
        means.append(np.tensordot(share.astype(np.float32), values[part], 1))
    return np.stack(means)
