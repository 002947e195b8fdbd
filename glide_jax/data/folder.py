"""A folder of the user's own: what lies in it, and pictures with a .txt beside each."""

import re
from typing import NamedTuple

from etils import epath

from glide_jax.data.examples import BadExample, Example, Names, captions_in_lines

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
TAR = re.compile(r".*\.(tar|tar\.\w+|tgz)", re.IGNORECASE)


class Listing(NamedTuple):
    """The files of a folder and of all below it, sorted, by their paths in it.

    Attributes:
        pictures: all pictures.
        captioned: how many of them have a .txt.
        tars: tar files, compressed ones too.
    """

    pictures: Names
    captioned: int
    tars: list[str]


def list_folder(folder: epath.Path) -> Listing:
    """What lies in a folder; hidden files and folders do not count.

    Raises:
        ValueError: two pictures have one name, and so would have one caption.
    """
    pictures, captioned, tars = [], 0, []
    for above, files in _walk(folder):
        texts = {name[:-4] for name in files if name.endswith(".txt")}
        stems = {}
        for name in files:
            stem, suffix = _split(name)
            if suffix in PICTURES:
                _check_only(stems.setdefault(stem, name), name, above, folder)
                pictures.append(above + name)
                captioned += stem in texts
            elif TAR.fullmatch(name):
                tars.append(above + name)
    return Listing(Names(pictures), captioned, tars)


def _walk(folder):
    """(path in the folder, with a slash at its end, and sorted file names) of each folder in it."""
    for root, folders, files in folder.walk():
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        above = epath.Path(root).relative_to(folder).as_posix()
        files = sorted(name for name in files if not name.startswith("."))
        yield "" if above == "." else f"{above}/", files


def _split(name):
    stem, dot, suffix = name.rpartition(".")
    return stem, (dot + suffix).lower()


def _check_only(first, name, above, folder):
    if first != name:
        raise ValueError(
            f"{folder} holds {above}{first} and {above}{name}: it takes other names to tell "
            f"whose caption {above}{_split(name)[0]}.txt is"
        )


class TextFolder:
    """Pictures with a .txt of the same name beside each, one caption a line.

    Args:
        folder: where they are, at any depth.
        pictures: their paths in it.
    """

    def __init__(self, folder: epath.Path, pictures: Names):
        self.folder, self.pictures = folder, pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        captions = self.captions(index)  # the smaller file first, for it may not be there
        name = self.pictures[index]
        return Example(name, read(self.folder, name), captions)

    def captions(self, index):
        """The captions of one picture, from its .txt."""
        name = self.pictures[index]
        return captions_in_lines(read(self.folder, f"{_split(name)[0]}.txt", name), name)


def read(folder, name, example=None):
    """The bytes of a file; a BadExample names the example whose file cannot be read."""
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise BadExample(f"{example or name}: there is no file {name}") from None
    except OSError as error:
        raise BadExample(f"{example or name}: {name} cannot be read: {error.strerror}") from None
