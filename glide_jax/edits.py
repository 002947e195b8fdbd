"""A file of successive edits of one picture, each with its own mask and caption."""

import difflib
import json
from typing import NamedTuple

import numpy as np
from etils import epath

from glide_jax.files import read_text
from glide_jax.given import read_mask, width_by_height

KEYS = ("mask", "box", "prompt")


class Edit(NamedTuple):
    """One of successive edits.

    Attributes:
        name: what to call it where something is wrong with it.
        region: a mask's path, or the box (left, top, right, bottom) of pixels to draw anew, the
            last two exclusive.
        prompt: the caption.
    """

    name: str
    region: epath.Path | tuple[int, int, int, int]
    prompt: str


def read_edits(path):
    """The edits of a JSON file, a list of {"mask": FILE or "box": [l, t, r, b], "prompt": ...}.

    Masks are files as `read_mask` takes them, by their paths from the JSON file's folder.

    Raises:
        ValueError: it is no such list; names the entry, by its number from 1.
    """
    path = epath.Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    text = read_text(path)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        what = "an empty list" if entries == [] else "no list"
        raise ValueError(f'{path} holds {what}; it takes [{{"mask": FILE, "prompt": TEXT}}, ...]')
    return [_edit(entry, f"{path}, entry {i}", path.parent) for i, entry in enumerate(entries, 1)]


def _edit(entry, name, folder):
    if not isinstance(entry, dict):
        raise ValueError(f'{name} is no object; it takes {{"mask": FILE, "prompt": TEXT}}')
    for key in sorted(entry.keys() - set(KEYS)):
        nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)[0]
        raise ValueError(
            f"{name} has the unknown key {key!r}; of {', '.join(KEYS)} the nearest is {nearest!r}"
        )
    if ("mask" in entry) == ("box" in entry):
        raise ValueError(f"{name} has {'both' if 'box' in entry else 'no'} mask and box; give one")
    prompt = entry.get("prompt")
    if not isinstance(prompt, str):
        raise ValueError(f"{name} has the prompt {prompt!r}; it takes a text")
    region = _box(entry["box"], name) if "box" in entry else _file(entry["mask"], name, folder)
    return Edit(name, region, prompt)


def _file(mask, name, folder):
    if not isinstance(mask, str) or not (folder / mask).is_file():
        raise ValueError(f"{name} has the mask {mask!r}, which is no file in {folder}")
    return folder / mask


def _box(box, name):
    if not isinstance(box, list) or [type(end) for end in box] != [int] * 4:
        raise ValueError(f"{name} has the box {box!r}; it takes [left, top, right, bottom]")
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        raise ValueError(f"{name} has the box {box}, which is empty; left < right and top < bottom")
    return tuple(box)


def edit_mask(edit, size, invert=False):
    """Which pixels of a picture of (height, width) an edit keeps, bool [H, W].

    `invert` is for mask files, as by `read_mask`.

    Raises:
        ValueError: its mask cannot be taken, or its box is not inside of the picture.
    """
    if not isinstance(edit.region, tuple):
        try:
            return read_mask(edit.region, size, invert)
        except ValueError as error:
            raise ValueError(f"{edit.name}: {error}") from None
    left, top, right, bottom = edit.region
    if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
        raise ValueError(
            f"{edit.name} has the box {list(edit.region)}, which is not inside of the picture of "
            f"{width_by_height(size)} pixels"
        )
    mask = np.ones(size, bool)
    mask[top:bottom, left:right] = False
    return mask
