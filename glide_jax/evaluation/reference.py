"""Statistics of real pictures, made once: python evaluate.py reference --data DATA."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from etils import epath

from glide_jax import cli
from glide_jax.config import Data
from glide_jax.data.sources import Shapes, open_source
from glide_jax.evaluation import coco, features
from glide_jax.evaluation.judges import check_size, load_features
from glide_jax.evaluation.metrics import statistics
from glide_jax.evaluation.pictures import (
    captions_of,
    hash_of_json,
    have_side,
    open_pictures,
    read_batches,
)
from glide_jax.files import written_whole

SEED = 20211222  # of the real pictures of Shapes: no training has seen them, nor are they drawn
TFDS = "tfds:"
CROP = "halved by averages, then bicubic, the centre cut (ADM)"


@dataclass(frozen=True)
class Arguments:
    """Makes statistics and features of real pictures, for --reference."""

    data: str = "shapes"
    """shapes, a folder of pictures, COCO's too, or tfds:NAME@SPLIT."""
    split: str = "test"
    """Of shapes."""
    num: int | None = None
    """Pictures; by default all, and 10,000 of shapes. Of COCO as many captions are drawn."""
    size: int | None = None
    """Their side, in pixels; by default the network's own, or for FID's Inception the pictures'."""
    features: str | None = None
    """The network, as in evaluate.py."""
    out: Path = Path("evaluations/reference.npz")
    """The .npz file."""

    def __post_init__(self):
        if self.num is not None and self.num < 2:
            raise ValueError(f"--num is {self.num}; it must be 2 or more")
        if self.size is not None and self.size < 1:
            raise ValueError(f"--size is {self.size}; it must be 1 or more")
        if self.out.suffix != ".npz":
            raise ValueError(f"--out is {str(self.out)!r}; it must be an .npz file")


def open_real(data, split="test", num=None, size=None):
    """The source of real pictures and their number.

    Args:
        data: shapes, a folder, or tfds:NAME@SPLIT.
        split: of shapes.
        num: how many, None for all.
        size: the side at which shapes are drawn.
    """
    if data == "shapes":
        return Shapes(SEED, size or 32, split), num or 10_000
    source = _open_tfds(data) if data.startswith(TFDS) else _open_folder(data, num)
    if num is not None and num > len(source):
        raise ValueError(f"--num is {num}, but {data} has {len(source)} pictures; give less")
    return source, num or len(source)


def _open_folder(data, num):
    """COCO's captions with their pictures, or another folder's pictures."""
    folder = epath.Path(data).expanduser()
    if not folder.is_dir():
        raise ValueError(f"--data is {data!r}, but there is no such folder; give one, or shapes")
    return coco.Coco(folder, num) if coco.is_coco(folder) else open_pictures(data).source


def _open_tfds(data):
    """A data set that TFDS has prepared as array_record, of COCO's fields."""
    name, at, split = data.removeprefix(TFDS).partition("@")
    if not at:
        raise ValueError(f"--data is {data!r}, which names no split: tfds:coco_captions@val")
    own = {"name": name, "split": split, "caption_field": "captions/text"}
    return open_source(Data(source="tfds", **own), size=64)


def about(data, split, number, side, source, judge):
    """What statistics depend on: captions, a folder's files by name and length, crop, network."""
    captions = [captions_of(source, index)[:1] for index in range(number)]
    told = {"data": Path(data).name, "split": split if data == "shapes" else None, "n": number}
    told |= {"captions": hash_of_json(captions), "size": side}
    if data != "shapes" and not data.startswith(TFDS):
        paths = [source.path(index) for index in range(number)]
        told |= {"files": hash_of_json([(path.name, path.stat().length) for path in paths])}
    return told | {"crop": CROP, "features": judge.name, "features_hash": judge.hash}


def made(source, number, side, judge, told):
    """Features and Statistics of real pictures by name, with what is told `about` them."""
    batches = read_batches(source, side, number=number)
    found = features.features(batches, judge.network)["features"]
    return {"features": found, "statistics": statistics.of(found), "about": told}


def save(path, arrays):
    """Writes a reference as an .npz, whole or not at all."""
    number, mean, covariance = arrays["statistics"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside, beside.open("wb") as file:
        told = json.dumps(arrays["about"])
        np.savez(file, mu=mean, sigma=covariance, n=number, features=arrays["features"], about=told)


def _fits(parsed, side):
    """Whether pictures have a side, in pixels, or are brought to it; Shapes are drawn at any."""
    if parsed.size is not None or parsed.data == "shapes":
        return parsed.size in (None, side)
    source, number = open_real(parsed.data, num=parsed.num)
    return have_side(source, number, side)


def main(arguments, _):
    """Parses, makes, writes."""
    parsed = cli.parse(Arguments, arguments, "evaluate.py reference", Arguments.__doc__)
    cli.check_file("--out", parsed.out)
    judge = load_features(parsed.features, partial(_fits, parsed))
    if judge is None:
        raise ValueError("--features is missing: name the network, see evaluate.py --help")
    check_size(judge, parsed.size)
    side = judge.side or parsed.size
    source, number = open_real(parsed.data, parsed.split, parsed.num, side)
    told = about(parsed.data, parsed.split, number, side, source, judge)
    save(parsed.out, made(source, number, side, judge, told))
    print(f"{parsed.out}: {number} pictures, {hash_of_json(told)}", file=sys.stderr)
