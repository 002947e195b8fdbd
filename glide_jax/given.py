"""What a user gives for inpainting and editing: a picture, and a mask of what to draw anew."""

import re
import warnings

import numpy as np
from etils import epath
from PIL import Image
from PIL.Image import Resampling

from glide_jax.data.decode import in_8_bits, read, to_rgb
from glide_jax.data.examples import BadExample


def read_picture(path):
    """A picture, uint8 [H, W, 3], upright, what is transparent laid over white.

    Raises:
        ValueError: it is no file, broken, no picture, or too large.
    """
    return np.asarray(_read(path, to_rgb))


def read_mask(path, size, invert=False):
    """Which pixels of a picture are kept, bool [H, W].

    Light pixels (128 or more) are kept, dark ones are to be drawn anew. Where the mask has but one
    colour and is not opaque, its transparent pixels are to be drawn anew.

    Args:
        size: the picture's (height, width); a mask of another size is brought to it.
        invert: the other way round, as some tools have it.

    Raises:
        ValueError: as by `read_picture`; or it has another shape, or keeps everything.
    """
    mask = _read(path, _kept) ^ invert
    if not _same_shape(mask.shape, size):
        raise ValueError(
            f"the mask {path} is {width_by_height(mask.shape)} pixels and the picture "
            f"{width_by_height(size)}; give one of the picture's own width to height"
        )
    mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Resampling.NEAREST))
    if mask.all():
        raise ValueError(
            f"there is nothing to draw: the mask {path} keeps every pixel; paint "
            f"{'white' if invert else 'black'} what is to be drawn anew"
        )
    return mask


def _read(path, convert):
    """What `convert` makes of the upright picture in a file."""
    path = epath.Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        # Pillow warns of pictures that are too large, and refuses those of twice as many pixels.
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            path.open("rb") as file,
        ):
            return read(file, f"{path} cannot be read as a picture", convert)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except BadExample as error:
        raise ValueError(_too_large(path, error.__cause__) or str(error)) from None


def _too_large(path, error):
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        pixels = int(re.search(r"\d+", str(error))[0])
        return (
            f"{path} has {pixels:,} pixels; at most {Image.MAX_IMAGE_PIXELS:,} are read: "
            "make it smaller first"
        )
    return None


def _kept(image):
    """What an upright mask of any mode keeps, bool [H, W]."""
    rgba = in_8_bits(image).convert("RGBA")
    *colours, (least_alpha, _) = rgba.getextrema()
    if least_alpha < 255 and all(low == high for low, high in colours):
        return np.asarray(rgba.getchannel("A")) >= 128
    return np.asarray(rgba.convert("L")) >= 128


def _same_shape(a, b):
    """Whether one (height, width) can be the other, scaled, with its sides rounded to pixels."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(*a, *b)


def width_by_height(size):
    """A (height, width) as people write it."""
    return f"{size[1]} x {size[0]}"
