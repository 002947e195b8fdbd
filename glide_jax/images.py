"""Pictures at the edges: grids, and PNG files that carry the settings that made them."""

import json
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from glide_jax.files import written_whole

KEY = "glide_jax"
GAP, LINE = 6, 20  # of a sheet, in pixels


def scaled(image):
    """0 to 255 as float32 -1 to 1; of JAX's arrays as of numpy's."""
    return image.astype(np.float32) / 127.5 - 1


def to_uint8(x):
    """Images in [-1, 1] to the nearest of 0 to 255."""
    return np.clip(np.round((np.asarray(x) + 1) * 127.5), 0, 255).astype(np.uint8)


def make_grid(images, columns=None, gap=2):
    """uint8 [N, H, W, 3] as one picture [H', W', 3], row by row on white.

    `columns` is the pictures a row; by default about as many as there are rows.
    """
    number, height, width, _ = images.shape
    columns = min(columns or math.ceil(math.sqrt(number)), number)
    rows = math.ceil(number / columns)
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top = gap + i // columns * (height + gap)
        left = gap + i % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def enlarge(image, least):
    """uint8 [H, W, 3] with each pixel repeated so that the longer side has `least` or more."""
    factor = max(1, math.ceil(least / max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def save_png(path, image, settings):
    """Writes uint8 [H, W, 3] whole or not at all; `settings` go into its metadata as JSON."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(settings, ensure_ascii=False))
    with written_whole(path) as beside, beside.open("wb") as file:
        Image.fromarray(image).save(file, "PNG", pnginfo=info)


def read_settings(path):
    """The settings that `save_png` put into a picture, a path or an open file."""
    with Image.open(path) as image:
        return json.loads(image.text[KEY])


def sheet(images, rows=("",), columns=(), shown=128):
    """Pictures to look at, with a caption above each row and a title above each column.

    Args:
        images: uint8 [N, H, W, 3], row by row, as many in each.
        rows: a caption for each row; "" has none.
        columns: a title for each column, or none at all.
        shown: the pixels that a picture is enlarged to, or a few more.

    Returns:
        A PIL.Image.
    """
    large = [enlarge(image, shown) for image in images]
    each, (height, width) = len(large) // len(rows), large[0].shape[:2]
    title, caption = LINE * bool(columns), LINE * any(rows)
    size = (GAP + each * (width + GAP), title + GAP + len(rows) * (caption + height + GAP))
    canvas, font = Image.new("RGB", size, "white"), ImageFont.load_default(13)
    draw = ImageDraw.Draw(canvas)
    for column, words in enumerate(columns):
        middle = GAP + column * (width + GAP) + width // 2
        draw.text((middle, GAP), str(words), "black", font, anchor="ma")
    for i, image in enumerate(large):
        row, column = divmod(i, each)
        left, top = GAP + column * (width + GAP), title + GAP + row * (caption + height + GAP)
        if column == 0:
            draw.text((left, top + 2), rows[row], "black", font)
        canvas.paste(Image.fromarray(image), (left, top + caption))
    return canvas
