"""The pictures that do not hold, with their captions: what to look at beside a figure."""

import json
import textwrap

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from glide_jax.files import read_text, write_text
from glide_jax.images import save_png

MOST, COLUMNS = 24, 4
ENLARGED, TEXT, PAD = 128, 62, 8  # pixels


class WrongPictures:
    """Keeps the first pictures whose caption does not hold, for a run that is gone on with, too.

    Args:
        kept: the path of a file.
    """

    def __init__(self, kept):
        self.kept = epath.Path(kept)
        lines = read_text(self.kept).splitlines() if self.kept.exists() else []
        # By seed: a chunk whose verdicts were lost is drawn again.
        self.by_seed = {seed: told for seed, *told in map(json.loads, lines)}

    @property
    def found(self):
        """Of each the picture, its caption and its kinds of failure."""
        return [(np.array(p, np.uint8), *told) for p, *told in self.by_seed.values()]

    def add(self, items, pictures, verdicts):
        """Takes the wrong ones of a chunk."""
        before = len(self.by_seed)
        for item, picture, verdict in zip(items, pictures, verdicts, strict=True):
            if verdict.failures and len(self.by_seed) < MOST:
                told = picture.tolist(), item.caption, verdict.failures
                self.by_seed.setdefault(item.seed, told)
        if len(self.by_seed) > before:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps([seed, *told]) for seed, told in self.by_seed.items())
            write_text(self.kept, "".join(line + "\n" for line in lines))

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
