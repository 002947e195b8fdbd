"""What the page is asked for: checked against its limits, and read back from a dropped picture."""

import dataclasses
import io
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from glide_jax.data.decode import read_rgb
from glide_jax.data.examples import BadExample
from glide_jax.fitting import fit, to_model
from glide_jax.images import read_settings
from glide_jax.settings import SAMPLERS
from glide_jax.web.history import Picture

LARGEST_SIDE = 1024  # of a dropped picture that is kept
LARGEST_DROP = 4096**2  # pixels of one that is read


class Limits(NamedTuple):
    """The most that one request may ask for."""

    images: int = 8
    steps: int = 250
    guidance_scale: float = 20.0
    characters: int = 500  # of a caption


@dataclass(frozen=True)
class Asked:
    """The page's settings, which have the names of `Pipeline.text_to_image`."""

    prompt: str = ""
    negative_prompt: str = ""
    num: int = 4
    guidance_scale: float = 3.0
    sampler: str = "ancestral"
    steps: int = 27
    seed: int = 0
    model: str = "shapes32"

    def check(self, limits, models):
        """Raises a ValueError that names the first value that is not allowed, and what is."""
        for wrong in self.problems(limits, models).values():
            raise ValueError(wrong)

    def problems(self, limits, models):
        """What is wrong, in a sentence, with each field whose value is not allowed."""
        own, found = dataclasses.asdict(self), {}
        for name in ("prompt", "negative_prompt"):
            if not isinstance(own[name], str):
                found[name] = f"{name} is {own[name]!r}; it must be a text"
            elif len(own[name]) > limits.characters:
                found[name] = (
                    f"{name} has {len(own[name])} characters; at most {limits.characters} are "
                    "taken: shorten it"
                )
        bounds = {"num": (1, limits.images), "steps": (1, limits.steps)}
        bounds |= {"seed": (0, 2**32 - 1 - limits.images)}
        for name, (low, high) in bounds.items():
            if not isinstance(own[name], int) or not low <= own[name] <= high:
                found[name] = (
                    f"{name} is {own[name]}; it must be a whole number from {low} to {high}"
                )
        scale, most = self.guidance_scale, limits.guidance_scale
        if not isinstance(scale, (int, float)) or not 0 <= scale <= most:
            found["guidance_scale"] = f"guidance_scale is {scale}; it must be from 0 to {most}"
        for name, allowed in {"sampler": SAMPLERS, "model": models}.items():
            if own[name] not in allowed:
                found[name] = f"{name} is {own[name]!r}; it must be one of {', '.join(allowed)}"
        return found

    def settings(self):
        """The arguments of `Pipeline`'s methods by name, but for the captions."""
        own = dataclasses.asdict(self)
        return {name: own[name] for name in own if name not in ("prompt", "model")}

    def recorded(self, index, **more):
        """What the metadata of the picture of this index say: what `sample.py` writes, too."""
        own = self.settings() | {"prompts": [self.prompt], "model": self.model} | more
        return own | {"num": 1, "seed": self.seed + index}


def whole(number):
    """A number of the browser as an int where it is one, so that `check` takes it."""
    is_whole = isinstance(number, float) and math.isfinite(number) and number == int(number)
    return int(number) if is_whole else number


def recall(settings, asked, limits, models):
    """The Asked with what a picture's settings tell, and the fields that they tell wrongly."""
    prompts = settings.get("prompts")
    told = {"prompt": prompts[0]} if isinstance(prompts, list) and prompts else {}
    told |= {f.name: settings[f.name] for f in dataclasses.fields(Asked) if f.name in settings}
    if str(told.get("steps")).isdecimal():  # the command line's are a text
        told["steps"] = int(told["steps"])
    wrong = dataclasses.replace(asked, **told).problems(limits, models).keys() & told.keys()
    right = {name: value for name, value in told.items() if name not in wrong}
    return dataclasses.replace(asked, **right), sorted(wrong)


def read_drop(data):
    """The Picture in a dropped file's bytes: its middle square, and its settings if it has any.

    Raises:
        ValueError: it is no picture, or too large a one.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError("the dropped file is no picture that can be read: drop a PNG") from None
    if width * height > LARGEST_DROP:
        raise ValueError(
            f"the dropped picture has {width} x {height} pixels; at most {LARGEST_DROP:,} are "
            "taken: make it smaller"
        )
    try:
        image = np.asarray(read_rgb(data, "the dropped file"))
    except BadExample as error:
        raise ValueError(str(error)) from None
    side = min(width, height, LARGEST_SIDE)
    return Picture(to_model(image, fit(image.shape[:2], side, "crop")), _told(data))


def _told(data):
    """A dropped file's settings, empty where it has none that can be read."""
    try:
        settings = read_settings(io.BytesIO(data))
    except (OSError, ValueError, KeyError, AttributeError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
