"""Tar shards in the webdataset layout: files of one name but for what follows its first dot."""

import json
import tarfile
from array import array

import numpy as np
from etils import epath

from glide_jax.data.examples import (
    BadExample,
    Example,
    Names,
    captions_in,
    captions_in_lines,
    field_of,
)
from glide_jax.data.folder import PICTURES

NO_CAPTION, TEXT, JSON = range(3)
# Of one example: its shard, where its picture and its caption start and how long they are, and
# which kind the caption is.
COLUMNS = ("shard", "picture", "picture_size", "caption", "caption_size", "kind")


class TarShards:
    """Examples in tar files, read at random by an index of where each file starts.

    Args:
        folder: where the shards are.
        shards: their paths in it.
        field: of the .json files with the captions; slashes lead to an inner one. By default
            captions are those of .txt files, or the field caption where there is only a .json.

    Raises:
        ValueError: a shard is compressed, cut off or empty, or two of its files have one name.
    """

    def __init__(self, folder: epath.Path, shards: list[str], field: str | None = None):
        self.folder, self.shards, self.field = folder, shards, field or "caption"
        names, rows = [], array("q")
        for number, shard in enumerate(shards):
            for key, files in _samples(folder / shard).items():
                names.append(key)
                rows.extend((number, *_row(files, only_json=field is not None)))
        if not names:
            raise ValueError(f"the tar shards of {folder} hold no pictures ({' '.join(PICTURES)})")
        self.names = Names(names)
        self.rows = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
        if not self.rows[:, COLUMNS.index("kind")].any():
            wanted = ".json files" if field else ".txt or .json files"
            raise ValueError(
                f"the tar shards of {folder} hold {len(names)} pictures and no {wanted} with "
                "captions for them"
            )

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        captions = self.captions(index)
        shard, picture, size, *_ = self.rows[index].tolist()
        return Example(self._name(index), self._read(shard, picture, size), captions)

    def captions(self, index):
        """The captions of one example, from its .txt or .json."""
        shard, _, _, start, size, kind = self.rows[index].tolist()
        name = self._name(index)
        if kind == NO_CAPTION:
            raise BadExample(f"{name}: it has no caption")
        content = self._read(shard, start, size)
        if kind == TEXT:
            return captions_in_lines(content, name)
        try:
            values = json.loads(content)
        except ValueError as error:
            raise BadExample(f"{name}: its .json is broken: {error}") from None
        return captions_in(field_of(values, self.field, name), name)

    def _name(self, index):
        return f"{self.shards[self.rows[index, 0]]}: {self.names[index]}"

    def _read(self, shard, start, size):
        with (self.folder / self.shards[shard]).open("rb") as file:
            file.seek(start)
            return file.read(size)


def _samples(path):
    """The files of a shard that has pictures: {key: {extension: (start, size)}}."""
    samples = {}
    for name, start, size in _members(path):
        above, slash, last = name.rpartition("/")
        stem, _, extension = last.partition(".")
        key, extension = above + slash + stem, "." + extension.lower()
        kind = "picture" if extension in PICTURES else extension
        files = samples.setdefault(key, {})
        if kind in files:
            raise ValueError(
                f"{path} holds two files that could be the {kind} of {key}; it takes other names"
            )
        files[kind] = start, size
    return {key: files for key, files in samples.items() if "picture" in files}


def _members(path):
    """(name, start, size) of each file in a tar."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, member.offset_data, member.size
                tar.members.clear()  # it would keep them all
            # For a header that is cut off it stops as if there were an end, a block of zeros.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(tarfile.NUL):
                raise tarfile.ReadError("unexpected end of data")
    except tarfile.ReadError as error:
        raise ValueError(f"{path} is cut off, or no tar file: {error}") from None


def _row(files, only_json):
    """An example's places in its shard, as in COLUMNS without the shard."""
    if ".txt" in files and not only_json:
        return *files["picture"], *files[".txt"], TEXT
    if ".json" in files:
        return *files["picture"], *files[".json"], JSON
    return *files["picture"], 0, 0, NO_CAPTION
