"""What the measures of edits share: their options, rows, and how pictures are drawn and judged."""

import sys
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from glide_jax.evaluation.edits.sheet import sheet
from glide_jax.evaluation.results import add_row, hash_of, in_chunks, key_of, versions
from glide_jax.images import save_png

SHOWN = 8  # of the items, the first are shown as pictures


@dataclass(frozen=True)
class Measuring:
    """On what an edit is measured."""

    num: int = 256
    """Pictures that are edited."""
    captions: Literal["pinned", "tuning"] = "pinned"
    """tuning gives others, to choose settings by."""


def check_each(option, values, kind):
    """A ValueError where the values of an option are none, or one comes twice."""
    if not values or len(set(values)) < len(values):
        given = " ".join(map(str, values)) or "empty"
        raise ValueError(f"{option} is {given}; give {kind}, each once")


def check_num(num, groups=1):
    """A ValueError where a group of pictures would have less than two, and so no interval."""
    if num < 2 * groups:
        which = ", two of each kind" if groups > 1 else ""
        raise ValueError(f"--num is {num}; it must be {2 * groups} or more{which}")


def row_of(measure, name, pipeline, parsed: Measuring, among, settings):
    """A row of results.json, before its figures.

    Args:
        measure: what is measured.
        name: of the model.
        pipeline: its `Pipeline`.
        parsed: the options.
        among: which kinds of pictures or edits.
        settings: of the Pipeline's method, by name.
    """
    return {
        "measure": measure,
        "model": name,
        "model_hash": hash_of(pipeline),
        "data": "shapes",
        "split": parsed.split,
        "captions": parsed.captions,
        "num": parsed.num,
        "among": among,
        "settings": settings | {"dtype": str(pipeline.dtype)},
    }


def path_of(row, folder):
    """Where the verdicts are kept that a row is made of."""
    return folder / "verdicts" / f"{row['measure']}-{key_of(row)}.jsonl"


def finish(row, figures, folder):
    """Puts the row, with its figures, into results.json, and returns it."""
    row = row | figures | {"versions": versions()}
    add_row(folder / "results.json", row)
    return row


def try_items(items, draw, judge, kind, kept):
    """A verdict on what becomes of each item, and the first SHOWN pictures of that.

    Args:
        items: each with a `caption`.
        draw: of a list of items the pictures, uint8 [n, H, W, 3].
        judge: of a picture and its item all of the verdict but its last field, the seconds that a
            picture took.
        kind: the NamedTuple of a verdict.
        kept: the path that `results.in_chunks` keeps them at; the pictures lie beside it.

    Returns:
        The verdicts, and the pictures uint8 [SHOWN, H, W, 3].
    """
    shown = kept.with_suffix(".png")

    def draw_and_judge(chunk):
        since = time.perf_counter()
        pictures = draw(chunk)
        seconds = (time.perf_counter() - since) / len(chunk)
        if not shown.exists():
            shown.parent.mkdir(parents=True, exist_ok=True)
            captions = [item.caption for item in chunk[:SHOWN]]
            save_png(shown, np.concatenate(pictures[:SHOWN]), {"captions": captions})
        pairs = zip(pictures, chunk, strict=True)
        return [kind(*judge(picture, item), seconds) for picture, item in pairs]

    verdicts = in_chunks(items, draw_and_judge, kind, kept)
    with Image.open(shown) as image:
        column = np.asarray(image)  # the pictures, one below the other
    return verdicts, column.reshape(-1, column.shape[1], column.shape[1], 3)


def seconds_per_image(verdicts):
    """The median over the chunks, so that compiling does not count."""
    return round(float(np.median([verdict.seconds for verdict in verdicts])), 4)


def report(rows, table, folder):
    """Prints the figures as a table, whose first line has the names of its columns."""
    head, *lines = ["| " + " | ".join(cells) + " |" for cells in table]
    print("\n".join([head, "|" + "---|" * len(table[0]), *lines]))
    print(f"{folder}/results.json: {len(rows)} new rows", file=sys.stderr)


def save_sheet(path, columns, captions, rows):
    """Writes the pictures of a comparison, with the settings of the rows that it belongs to."""
    settings = {"settings": [row["settings"] for row in rows]}
    save_png(path, sheet(columns, captions[:SHOWN]), settings)
