"""From what a recipe says of its data to a source of examples, or to what is wrong with it."""

import sys
from dataclasses import dataclass

from etils import epath

from glide_jax.config import Data
from glide_jax.data import shapes, tags
from glide_jax.data.decode import decode
from glide_jax.data.examples import BadExample, Example, Source
from glide_jax.data.folder import PICTURES, TextFolder, list_folder
from glide_jax.data.jsonl import NAME, CaptionsFile
from glide_jax.data.tars import TarShards

# So many examples, spread over the data, are looked at for a good one.
LOOKED_AT = 1000


@dataclass(frozen=True)
class Shapes:
    """The embedded data set as a source without end."""

    seed: int
    size: int
    split: str = "train"
    tiers: tuple[int, ...] = shapes.TIERS

    def __len__(self):
        return sys.maxsize

    def __getitem__(self, index):
        drawn = shapes.example(index, self.seed, self.split, self.size, self.tiers)
        return Example(f"scene {index}", drawn.image, [drawn.caption])

    def captions(self, index):
        """The caption of one scene, without the time to draw it."""
        return [shapes.describe(index, self.seed, self.split, self.tiers)[1]]

    def label(self, index):
        """The kinds of one scene's objects, see `shapes.label`; no other source has labels."""
        return shapes.label(index, self.seed, self.split, self.tiers)

    def spans(self, index):
        """Where one scene's caption names its objects, see `tags.spans`; no other source knows."""
        return tags.spans(*shapes.describe(index, self.seed, self.split, self.tiers))


def open_source(data: Data, size: int) -> Source:
    """The examples that a recipe's data has.

    Args:
        data: what the recipe says.
        size: the side, in pixels, at which they will be asked for.

    Raises:
        ValueError: there are none, none is good, or they cannot be told apart.
    """
    if data.source == "shapes":
        return _open_shapes(data, size)
    if data.source == "folder":
        source = open_folder(data.path, data.caption_field)
    else:
        from glide_jax.data.tfds import open_tfds  # imports TFDS, which other sources do without

        source = open_tfds(data)
    if not 0 < len(source) < 2**32:
        raise ValueError(f"the data has {len(source)} examples; allowed: 1 to {2**32 - 1}")
    _check_one_is_good(source, size)
    return source


def _open_shapes(data, size):
    if size < shapes.SMALLEST:
        raise ValueError(f"image_size is {size}; shapes are drawn at {shapes.SMALLEST} or more")
    return Shapes(data.seed, size, tiers=data.tiers)


def open_folder(path: str | None, caption_field: str | None = None) -> Source:
    """The examples in a folder: of its captions.jsonl, of its tar shards, or pictures with .txt.

    Raises:
        ValueError: it is none of these, or two of them.
    """
    if path is None:
        raise ValueError("Data.path is None; the source folder takes the folder of your pictures")
    folder = epath.Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"there is no folder {path!r}")
    if (folder / NAME).exists():
        return CaptionsFile(folder, caption_field or "caption")
    listing = list_folder(folder)
    if listing.tars:
        return _open_tars(folder, listing, caption_field)
    return _open_texts(folder, listing, caption_field)


def _open_tars(folder, listing, caption_field):
    if len(listing.pictures):
        raise ValueError(
            f"{folder} holds pictures ({listing.pictures[0]}) and tar shards ({listing.tars[0]}); "
            "give them a folder each"
        )
    for name in listing.tars:
        if not name.lower().endswith(".tar"):
            raise ValueError(
                f"{folder / name} is compressed, and so cannot be read at random; decompress it, "
                "to a .tar"
            )
    return TarShards(folder, listing.tars, caption_field)


def _open_texts(folder, listing, caption_field):
    number = len(listing.pictures)
    if not number:
        raise ValueError(
            f"{folder} holds no pictures ({' '.join(PICTURES)}), no {NAME} and no tar shards (.tar)"
        )
    if not listing.captioned:
        first = listing.pictures[0]
        raise ValueError(
            f"{folder} holds {number} pictures and no captions: there is no {NAME}, and no .txt "
            f"beside a picture, such as {first.rpartition('.')[0]}.txt beside {first}"
        )
    if caption_field is not None:
        raise ValueError(
            f"Data.caption_field is {caption_field!r}, but the captions of {folder} are .txt "
            "files, which have no fields"
        )
    return TextFolder(folder, listing.pictures)


def read_example(source: Source, index: int, size: int):
    """A picture, uint8 [size, size, 3], and its captions; a BadExample says what is wrong."""
    name, image, captions = source[index]
    if isinstance(image, bytes):
        image = decode(image, size, name)
    return image, captions


def _check_one_is_good(source, size):
    """Raises a ValueError where none of a thousand examples, spread over the data, is good."""
    looked_at, first = range(0, len(source), -(-len(source) // LOOKED_AT)), None
    for index in looked_at:
        try:
            read_example(source, index, size)
            return
        except BadExample as error:
            first = first or error
    raise ValueError(f"of {len(looked_at)} examples looked at none is good; {first}")
