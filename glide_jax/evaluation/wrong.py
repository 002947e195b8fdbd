"""The pictures that do not hold, with their captions: what to look at beside a figure."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glide_jax.images import save_png

MOST, COLUMNS = 24, 4
ENLARGED, TEXT, PAD = 128, 62, 8  # pixels


class WrongPictures:
    """Gathers the first pictures whose caption does not hold."""

    def __init__(self):
        self.found = []

    def add(self, items, pictures, verdicts):
        """Takes the wrong ones of a chunk."""
        for item, picture, verdict in zip(items, pictures, verdicts, strict=True):
            if verdict.failures and len(self.found) < MOST:
                self.found.append((picture, item.caption, verdict.failures))

    def save(self, path, settings):
        """Writes them as a PNG with captions and kinds of failure, if there are any."""
        if self.found:
            save_png(path, self._sheet(), settings)

    def _sheet(self):
        rows = -(-len(self.found) // COLUMNS)
        cell = ENLARGED + PAD
        sheet = Image.new("RGB", (COLUMNS * cell + PAD, rows * (cell + TEXT) + PAD), "white")
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
        for i, (picture, caption, kinds) in enumerate(self.found):
            x, y = PAD + i % COLUMNS * cell, PAD + i // COLUMNS * (cell + TEXT)
            enlarged = Image.fromarray(picture).resize(
                (ENLARGED, ENLARGED), Image.Resampling.NEAREST
            )
            sheet.paste(enlarged, (x, y))
            words = textwrap.fill(caption, 25)
            draw.text((x, y + ENLARGED + 2), words, "black", font, spacing=1)
            lines = words.count("\n") + 1
            draw.text((x, y + ENLARGED + 2 + 12 * lines), ", ".join(kinds), "firebrick", font)
        return np.asarray(sheet)
