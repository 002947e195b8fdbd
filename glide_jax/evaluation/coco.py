"""COCO from its original files: annotations/captions_val2014.json, and val2014/ with the pictures.

Which captions count is drawn by a seed, as the paper says no more than that 30,000 are (GLIDE,
section 5.2): each stands with the picture that it is of.
"""

import json

import numpy as np

from glide_jax.data.examples import Example, captions_in
from glide_jax.data.folder import read
from glide_jax.files import read_text

CAPTIONS, PICTURES = "annotations/captions_val2014.json", "val2014"
SEED = 20211220


def is_coco(folder):
    """Whether a folder has COCO's layout."""
    return (folder / CAPTIONS).exists()


class Coco:
    """Captions of the 2014 validation set with their pictures, in an order drawn by a seed.

    Args:
        folder: has annotations/ and val2014/.
        num: how many captions; by default one of each picture.

    Raises:
        ValueError: the annotations cannot be read, or there are fewer captions.
    """

    def __init__(self, folder, num=None):
        self.folder = folder / PICTURES
        pairs = _pairs(folder / CAPTIONS)
        if num is not None and num > len(pairs):
            raise ValueError(f"--num is {num}, but {folder} has {len(pairs)} captions; give less")
        order = np.random.default_rng(SEED).permutation(len(pairs))
        pairs = [pairs[index] for index in order]
        self.pairs = pairs[:num] if num is not None else list(dict(reversed(pairs)).items())

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        name, _ = self.pairs[index]
        return Example(name, read(self.folder, name), self.captions(index))

    def path(self, index):
        """Where one picture is."""
        return self.folder / self.pairs[index][0]

    def captions(self, index):
        """The caption at an index, alone: a picture comes once for each that is drawn."""
        name, caption = self.pairs[index]
        return captions_in(caption, name)


def _pairs(path):
    """(file name, caption) of each annotation, by its id."""
    try:
        told = json.loads(read_text(path))
        names = {image["id"]: image["file_name"] for image in told["images"]}
        found = sorted(told["annotations"], key=lambda each: each["id"])
        return [(names[each["image_id"]], each["caption"]) for each in found]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not COCO's file of captions: {error!r}") from None
