"""Pictures beside each other: a row for each item, a column for each way of editing it."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 128  # pixels that each picture is enlarged to
PAD, HEAD, WORDS = 8, 18, 190  # pixels: between pictures, above them, beside them


def sheet(columns, captions):
    """The picture of a comparison, uint8 [H, W, 3].

    Args:
        columns: by title, the pictures uint8 [N, h, w, 3] of each, of whichever side.
        captions: N strings.
    """
    width, height = WORDS + PAD + len(columns) * (SIDE + PAD), HEAD + len(captions) * (SIDE + PAD)
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for column, (title, pictures) in enumerate(columns.items()):
        x = PAD + column * (SIDE + PAD)
        draw.text((x, 2), title, "black", font)
        for row, picture in enumerate(pictures):
            nearest = Image.Resampling.NEAREST
            enlarged = Image.fromarray(picture).resize((SIDE, SIDE), nearest)
            image.paste(enlarged, (x, HEAD + row * (SIDE + PAD)))
    for row, caption in enumerate(captions):
        place = (width - WORDS, HEAD + row * (SIDE + PAD))
        draw.text(place, textwrap.fill(caption, 28), "black", font)
    return np.asarray(image)
