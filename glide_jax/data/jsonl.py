"""captions.jsonl: a line for each picture, {"file": ..., "caption": ... or [...]}."""

import json

import numpy as np
from etils import epath

from glide_jax.data.examples import Example, captions_in, field_of
from glide_jax.data.folder import read

NAME = "captions.jsonl"


class CaptionsFile:
    """The pictures that a captions.jsonl lists; only where its lines start is kept in memory.

    Args:
        folder: has the file; its paths start there.
        field: of the captions; slashes lead to an inner one.

    Raises:
        ValueError: the file is empty, a line is no JSON or names no file, two name the same, or
            none has the field.
    """

    def __init__(self, folder: epath.Path, field="caption"):
        self.folder, self.field = folder, field
        self.starts = _index(folder / NAME, field)

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, index):
        row = self._row(index)
        captions = self._captions(row)
        return Example(row["file"], read(self.folder, row["file"]), captions)

    def captions(self, index):
        """The captions in one line."""
        return self._captions(self._row(index))

    def path(self, index):
        """Where one picture is."""
        return self.folder / self._row(index)["file"]

    def _row(self, index):
        with (self.folder / NAME).open("rb") as file:
            file.seek(int(self.starts[index]))
            return json.loads(file.readline().decode("utf-8-sig"))

    def _captions(self, row):
        return captions_in(field_of(row, self.field, row["file"]), row["file"])


def _index(path, field):
    """Where each line starts, int64 [N], once all are known to be good."""
    starts, files, fields, position = [], {}, set(), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                row = _parse(line, number, path)
                first = files.setdefault(row["file"], number)
                if first != number:
                    raise ValueError(
                        f"{path} lists {row['file']} in lines {first} and {number}; list it once, "
                        "with all of its captions"
                    )
                starts.append(position)
                fields |= row.keys()
            position += len(line)
    if not starts:
        raise ValueError(f"{path} is empty; it takes a line for each picture")
    if field.split("/")[0] not in fields:
        raise ValueError(
            f"no line of {path} has the field {field!r}; its fields are {', '.join(sorted(fields))}"
        )
    return np.array(starts, np.int64)


def _parse(line, number, path):
    """A line as a dictionary that names a file."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("file"), str):
        raise ValueError(f'{path}, line {number} names no picture: it takes "file": "NAME"')
    return row
