"""Sets of pictures that someone else has made: folders, and .npz files of pictures or features."""

import hashlib
import json
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from etils import epath
from PIL import Image

from glide_jax.data.decode import centre_crop, read_rgb
from glide_jax.data.examples import BadExample, Example, captions_in_lines
from glide_jax.data.folder import PICTURES, list_folder, read
from glide_jax.data.jsonl import NAME, CaptionsFile
from glide_jax.evaluation import coco
from glide_jax.evaluation.metrics import statistics
from glide_jax.images import read_settings

BATCH = 64
NAMES = ("arr_0", "features", "logits", "mu", "about")  # of arrays that an .npz may have


class Pictures(NamedTuple):
    """What `open_pictures` found.

    Attributes:
        path: where.
        source: gives `Example`s by index; None where there are features only.
        captions: the first of each picture; None where one has none.
        ready: features [N, D], logits [N, K], statistics, and what a reference says about itself,
            by name, where the file has them.
        uncaptioned: why there are no captions, where a folder has none.
    """

    path: str
    source: Any
    captions: list[str] | None
    ready: dict
    uncaptioned: str = ""

    @property
    def number(self):
        """How many pictures; None where a file of statistics does not say it."""
        if self.source is not None:
            return len(self.source)
        return (
            len(self.ready["features"]) if "features" in self.ready else self.ready["statistics"].n
        )


class Arrays:
    """The pictures of an array, uint8 [N, H, W, 3], as a source without captions."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return Example(f"picture {index}", self.images[index], [])

    def captions(self, index):
        """None are known."""
        return []


class Folder:
    """All pictures of a folder and of those in it; a caption is in a .txt beside, or in the PNG."""

    def __init__(self, folder):
        self.folder, self.pictures = folder, list_folder(folder).pictures
        if not len(self.pictures):
            raise ValueError(f"{folder} holds no pictures ({' '.join(PICTURES)}); name another")

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        name = self.pictures[index]
        return Example(name, read(self.folder, name), [])

    def path(self, index):
        """Where one picture is."""
        return self.folder / self.pictures[index]

    def captions(self, index):
        """Those of the .txt beside the picture, or else the prompt in the PNG's metadata."""
        path = self.path(index)
        beside = path.with_suffix(".txt")
        if beside.exists():
            return captions_in_lines(beside.read_bytes(), path.name)
        try:
            return read_settings(path)["prompts"][:1]
        except (AttributeError, KeyError, OSError, ValueError):
            return []


def open_pictures(path) -> Pictures:
    """The pictures of a folder or an .npz, or their features; a ValueError says what is wrong.

    Args:
        path: a folder (captions are in captions.jsonl, in a .txt beside each, or in the PNGs that
            sample.py wrote), COCO's folder, or an .npz: of pictures, ADM's uint8 `arr_0` [N, H, W,
            3], of `features` [N, D] and perhaps `logits`, or of statistics, `mu` and `sigma`.
    """
    where = epath.Path(path).expanduser()
    if where.is_dir():
        source = _open_folder(where)
        try:
            return Pictures(str(path), source, first_captions(source, len(source)), {})
        except ValueError as why:
            return Pictures(str(path), source, None, {}, str(why))
    if where.suffix != ".npz" or not where.is_file():
        raise ValueError(f"{str(path)!r} is neither a folder nor an .npz file; name one of these")
    return _open_npz(where)


def _open_folder(folder):
    if coco.is_coco(folder):
        return coco.Coco(folder)
    return CaptionsFile(folder) if (folder / NAME).exists() else Folder(folder)


def first_captions(source, number):
    """The first caption of each picture; a ValueError names the first one that has none."""
    found = [captions_of(source, index) for index in range(number)]
    if not all(found):
        without = source.path(found.index([])).name
        raise ValueError(f"{without} has no caption; give it one, or leave it out")
    return [each[0] for each in found]


def captions_of(source, index):
    """The captions of a picture, none where there are none; a ValueError names a broken one's."""
    try:
        return source.captions(index)
    except BadExample as error:
        raise ValueError(f"{error}; mend it or leave it out") from None


def _open_npz(path):
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            named = {n: arrays[n] for n in NAMES if n in arrays}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is no .npz file that can be read: {error}") from error
    if "about" in named:
        named["about"] = json.loads(str(named["about"]))
    if "mu" in named:
        named["statistics"] = statistics.load(path)
    if "arr_0" in named:
        images = named["arr_0"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
            raise ValueError(
                f"arr_0 of {path} is {images.dtype} {images.shape}; give uint8 [N, H, W, 3]"
            )
        return Pictures(str(path), Arrays(images), None, {})
    ready = {n: named[n] for n in ("features", "logits", "statistics", "about") if n in named}
    if not {"features", "statistics"} & ready.keys():
        raise ValueError(f"{path} has no arr_0, features, or mu and sigma; give one of these")
    return Pictures(str(path), None, None, ready)


def read_batches(source, side, digest=None, number=None):
    """The pictures of a source, uint8 [B, side, side, 3], the last batch with what is left.

    Args:
        source: gives `Example`s.
        side: see `read_one`; with None all must be as the first one.
        digest: a hashlib object that is updated by each batch.
        number: of pictures; all by default.

    Raises:
        ValueError: a picture is broken, or not of the side of the others.
    """
    first_shape, end = None, len(source) if number is None else number
    for first in range(0, end, BATCH):
        images = [read_one(source, i, side) for i in range(first, min(first + BATCH, end))]
        first_shape = first_shape or images[0].shape
        for number, image in enumerate(images, first):
            if image.shape != first_shape:
                (_, there, _), (_, here, _) = first_shape, image.shape
                raise ValueError(
                    f"{source[number].name} has a side of {here} pixels, and the first picture of "
                    f"{there}; give --size, to bring them to one"
                )
        images = np.stack(images)
        if digest is not None:
            digest.update(images.tobytes())
        yield images


def read_one(source, index, side=None):
    """A picture, uint8 [side, side, 3], cropped and resized as ADM does; a ValueError if broken.

    With `side` None it is as it is, and must be square.
    """
    name, image = read_whole(source, index)
    width, height = image.size
    if side is None and width != height:
        raise ValueError(f"{name} has {width} x {height} pixels; give --size, to crop them")
    return centre_crop(image, side or width)


def read_whole(source, index):
    """A picture's name, and all of it as an RGB PIL.Image; a ValueError if broken."""
    try:
        name, image, _ = source[index]
        return name, read_rgb(image, name) if isinstance(image, bytes) else Image.fromarray(image)
    except BadExample as error:
        raise ValueError(f"{error}; mend the picture or leave it out") from None


def have_side(source, number, side):
    """Whether the first pictures of a source are squares of this side, in pixels."""
    return all(read_whole(source, index)[1].size == (side, side) for index in range(number))


def hash_of(ready):
    """What a file has `ready`, in 16 digits."""
    if "about" in ready:
        return hash_of_json(ready["about"])
    digest = hashlib.sha256()
    for name in sorted(ready):
        for part in ready[name][1:] if name == "statistics" else [ready[name]]:
            digest.update(name.encode() + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def hash_of_json(told):
    """A JSON value in 16 digits."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
