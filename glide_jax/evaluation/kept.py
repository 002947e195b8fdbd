"""What stays of pictures drawn batch by batch: features, a grid, on request all of them."""

import numpy as np
from etils import epath
from PIL import Image

from glide_jax.data.decode import centre_crop
from glide_jax.evaluation import features
from glide_jax.evaluation.metrics import clip_score
from glide_jax.files import written_whole
from glide_jax.images import make_grid, save_png

SHOWN = 36  # pictures of a grid


class Kept:
    """Keeps what networks see in each chunk, a file each, so that a run can be gone on with.

    Args:
        folder: of the files.
        judges: the `judges.Judges`; with none of them nothing is kept.
    """

    def __init__(self, folder, judges):
        self.folder, self.judges = epath.Path(folder), judges

    def add(self, items, pictures, _):
        """Takes a chunk."""
        found = {}
        if self.judges.features is not None:
            found |= features.features([pictures], self.judges.features.network)
        if self.judges.judge is not None:
            found |= {"cosines": self._cosines(items, pictures)}
        if found:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{items[0].seed:08d}.npz"
            with written_whole(path) as beside, beside.open("wb") as file:
                np.savez(file, **found)

    def _cosines(self, items, pictures):
        _, _, side, towers = self.judges.judge
        if pictures.shape[1] != side:
            pictures = np.stack([centre_crop(Image.fromarray(each), side) for each in pictures])
        encoded = towers.tokenizer.encode([item.caption for item in items])
        seen = features.features([pictures], towers.images)["features"]
        read = features.features([encoded], towers.texts)["features"]
        return clip_score.cosines(seen, read)

    def read(self, number):
        """What was kept, arrays [number, ...] by name; a ValueError where some of it is gone."""
        parts = []
        for path in sorted(self.folder.glob("*.npz")):
            with path.open("rb") as file, np.load(file) as arrays:
                parts.append(dict(arrays))
        names = parts[0] if parts else ()
        found = {name: np.concatenate([part[name] for part in parts]) for name in names}
        numbers = {len(rows) for rows in found.values()} or {0}
        if numbers != {number}:
            raise ValueError(
                f"{self.folder} has features of {min(numbers)} pictures, not of {number}; remove "
                "it, and the file of the same name in verdicts, and begin anew"
            )
        return found


class Saved:
    """Writes each picture as a PNG with its caption and settings; with folder None it does not."""

    def __init__(self, folder, settings):
        self.folder, self.settings = folder, settings

    def add(self, items, pictures, _):
        """Takes a chunk."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for item, picture in zip(items, pictures, strict=True):
            own = self.settings | {"prompts": [item.caption], "seed": item.seed}
            save_png(self.folder / f"{item.seed:08d}.png", picture, own)


class First:
    """Writes a grid of the first pictures, once."""

    def __init__(self, path, settings):
        self.path, self.settings = epath.Path(path), settings

    def add(self, _, pictures, __):
        """Takes a chunk."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_png(self.path, make_grid(pictures[:SHOWN]), self.settings)
