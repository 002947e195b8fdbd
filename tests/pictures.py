"""Small folders of pictures, each of one colour that tells its number; and EXIF's orientations."""

import io

import numpy as np
from PIL import Image

# How each orientation is to be shown, by EXIF's words for where the first row and column lie.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


def colour(number):
    """The colour of picture `number`, (r, g, b)."""
    return number % 256, number // 256, 200


def png(number, side=4):
    """Picture `number` as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), colour(number), np.uint8)).save(file, "PNG")
    return file.getvalue()


def number_of(image):
    """Which picture an array [side, side, 3] is of; all of it is of one colour."""
    assert (image == image[0, 0]).all() and image[0, 0, 2] == 200
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def fill(folder, number):
    """Pictures 0 to number - 1, with "picture I" in a .txt beside each; the folder."""
    for i in range(number):
        (folder / f"{i:03d}.png").write_bytes(png(i))
        (folder / f"{i:03d}.txt").write_text(f"picture {i}\n")
    return folder
