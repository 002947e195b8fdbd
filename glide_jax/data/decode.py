"""Encoded pictures to uint8 arrays: any mode and orientation, then ADM's centre crop."""

import io

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Resampling, Transpose

from glide_jax.data.examples import BadExample

# What puts a picture upright, for each EXIF orientation but 1.
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def decode(encoded: bytes, size: int, name: str) -> np.ndarray:
    """The centre of a picture at a side of `size` pixels, by `read_rgb` and `centre_crop`.

    Returns:
        uint8 [size, size, 3].
    """
    return centre_crop(read_rgb(encoded, name), size)


def read_rgb(encoded: bytes, name: str) -> Image.Image:
    """The picture that a file holds, upright and as RGB.

    Transparency is laid over white. 16 bits are scaled to 8; so are 32 (integers are taken as 0 to
    65535, floats as 0 to 1, or as 0 to 255 where there are larger ones). Of several frames it is
    the first.

    Raises:
        BadExample: it is broken, cut off, or of a kind that Pillow cannot read; `name` is its name.
    """
    return read(io.BytesIO(encoded), name, to_rgb)


def read(file, name, convert):
    """What `convert` makes of the picture in a binary file, of any mode and upright.

    Raises:
        BadExample: as `read_rgb` does; its cause is Pillow's own exception.
    """
    try:
        with Image.open(file) as image:
            image.load()
            return convert(_upright(image))
    except MemoryError:
        raise
    except Exception as error:  # of broken files Pillow raises every kind
        reason = str(error) or type(error).__name__
        # Pillow names the file object, which says nothing to anyone.
        raise BadExample(f"{name}: {reason.partition(' <_io')[0]}") from error


def _upright(image):
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the EXIF is broken; the picture itself need not be
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, as `read_rgb` has it."""
    image = in_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits scaled to 8, as `read_rgb` has it; Pillow would clip it at 255."""
    if not image.mode.startswith("I") and image.mode != "F":
        return image
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        white = 1 if values.max() <= 1 else 255
    else:
        white = 65535
    grey = np.rint(np.clip(values, 0, white) * (255 / white))
    return Image.fromarray(grey.astype(np.uint8))


def centre_crop(image: Image.Image, size: int) -> np.ndarray:
    """The centre of an RGB picture as uint8 [size, size, 3], as ADM crops.

    It is halved by averaging while its shorter side is at least twice `size`, brought to `size` by
    bicubic interpolation, and then cut.
    """
    while min(image.size) >= 2 * size:
        image = _halve(image)
    scale = size / min(image.size)
    sides = tuple(round(side * scale) for side in image.size)
    pixels = np.asarray(image.resize(sides, Resampling.BICUBIC))
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _halve(image):
    """What `resize` gives with BOX, to the last bit, and for even sides in half of the time.

    It averages rows and then columns, each rounded; `reduce` does so where it is called twice.
    """
    width, height = image.size
    if width % 2 or height % 2:
        return image.resize((width // 2, height // 2), Resampling.BOX)
    return image.reduce((2, 1)).reduce((1, 2))
