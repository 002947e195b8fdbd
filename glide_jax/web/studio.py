"""What the page does: it draws, varies, edits and enlarges, by `Pipeline` alone."""

import dataclasses
import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from glide_jax import Pipeline, config
from glide_jax.fitting import fit, mask_to_model, paste, to_model
from glide_jax.model_folder import find_model, load_description, pretrained_names
from glide_jax.web.asked import Limits
from glide_jax.web.history import Picture

PIPELINES = 3  # held at a time: one draws, one inpaints, one enlarges
PROGRAMS = 32  # compiled ones that are held; then all are dropped
BATCH = 4


class Known(NamedTuple):
    """A model that can be chosen."""

    folder: str
    model: config.Diffusion


def find_models(places=()):
    """The models that ship, then the local ones: {name: Known}.

    Args:
        places: model folders, training runs, names of published models, or folders of such folders.

    Raises:
        ValueError: a place holds no model.
    """
    found = {}
    for name in [*pretrained_names(), *(own for place in places for own in _folders(place))]:
        folder = str(find_model(name))
        try:
            model, _ = load_description(folder)
        except ValueError:  # of another kind: one in a folder of folders, or a CLIP that ships
            if name in map(str, places):
                raise
            continue
        short = Path(folder).name
        found[folder if short in found else short] = Known(folder, model)
    return found


def _folders(place):
    """The place itself, or where it is a folder of model folders, these."""
    inside = Path(place)
    if (inside / "config.json").exists() or not inside.is_dir():
        return [str(place)]
    own = sorted(str(path.parent) for path in inside.glob("*/config.json"))
    if not own:
        raise ValueError(f"--models has {str(place)!r}, which holds no model: name another folder")
    return own


class Studio:
    """The models, and what is done with them, one thing at a time.

    Its methods return tuples of `Picture`s; each calls `progress(fraction, images)` as
    `Pipeline.text_to_image` does, and first with None for images once the device is its own. They
    raise a ValueError that names what is not allowed.

    Args:
        places: see `find_models`.
        limits: of one request.
        dtype: see `Pipeline`.
    """

    def __init__(self, places=(), limits=Limits(), dtype="auto"):  # noqa: B008
        known = find_models(places)
        self.limits = limits
        self.base = {n: k for n, k in known.items() if not k.model.unet.low_res_size}
        self.upsamplers = {n: k for n, k in known.items() if k.model.unet.low_res_size}
        self._device = threading.Lock()
        self._programs = set()
        self._pipeline = lru_cache(PIPELINES)(
            lambda name: Pipeline.load((self.base | self.upsamplers)[name].folder, dtype)
        )

    def draw(self, asked, progress):
        """Pictures for a caption."""
        self._check(asked)

        def work(pipeline, settings):
            return pipeline.text_to_image([asked.prompt], **settings)

        images = self._run(asked, progress, work)
        return tuple(Picture(image, asked.recorded(i)) for i, image in enumerate(images))

    def vary(self, asked, picture, strength, progress):
        """Pictures like a given one: SDEdit, in the model's own size."""
        self._check(asked)
        size, side = picture.image.shape[:2], self._side(asked)
        small = to_model(picture.image, fit(size, side, "crop"))

        def work(pipeline, settings):
            own = {"strength": strength} | settings
            return pipeline.image_to_image(small[None], [asked.prompt], **own)

        images = self._run(asked, progress, work, strength)
        recorded = [asked.recorded(i, strength=strength) for i in range(asked.num)]
        return tuple(map(Picture, images, recorded))

    def edit(self, asked, picture, painted, progress):
        """A picture with what is painted, bool [h, w], drawn anew; its size is what it was."""
        self._check(asked)
        if painted is None or not painted.any():
            raise ValueError("nothing is painted: brush over what is to be drawn anew")
        if painted.shape[0] != painted.shape[1]:
            raise ValueError(f"the mask is {list(painted.shape)}; it must be square")
        side, size = len(picture.image), self._side(asked)
        mask = mask_to_model(~painted, fit(painted.shape, side, "crop"))
        own = fit((side, side), size, "crop")
        small, kept = to_model(picture.image, own), mask_to_model(mask, own)

        def work(pipeline, settings):
            return pipeline.inpaint(small[None], kept[None], [asked.prompt], **settings)

        images = self._run(asked, progress, work, "inpaint")
        pasted = [paste(image, picture.image, mask, own) for image in images]
        task = {"edited": True}
        return tuple(Picture(image, asked.recorded(i, **task)) for i, image in enumerate(pasted))

    def upscale(self, asked, picture, progress):
        """A picture enlarged by the first upsampler that takes its size."""
        self._check(asked)
        name = self.upsampler_for(picture)
        if name is None:
            raise ValueError(f"there is no upsampler for {len(picture.image)} pixels: add --models")
        own = dataclasses.replace(asked, num=1)

        def work(upsampler, settings):
            settings = {"progress": settings["progress"], "seed": asked.seed}
            return upsampler.upsample(picture.image[None], [asked.prompt], **settings)

        images = self._run(own, progress, work, "upscale", model=name)
        made_by = picture.settings | {"upsampler": name}
        return tuple(Picture(image, made_by) for image in images)

    def upsampler_for(self, picture):
        """The name of an upsampler that takes a picture of this size, or None."""
        side = len(picture.image)
        takes = {n: k.model.unet.low_res_size for n, k in self.upsamplers.items()}
        return next((name for name in takes if takes[name] == side), None)

    def _check(self, asked):
        asked.check(self.limits, self.base)

    def _side(self, asked):
        return self.base[asked.model].model.unet.image_size

    def _run(self, asked, progress, work, *task, model=None):
        """What `work(pipeline, settings)` draws, once the device is free."""
        name = model or asked.model
        with self._device:
            progress(0.0, None)
            program = name, task, asked.num, asked.sampler, asked.steps, asked.guidance_scale == 1
            self._make_room(program)
            settings = asked.settings() | {"progress": progress, "batch_size": BATCH}
            return np.asarray(work(self._pipeline(name), settings))

    def _make_room(self, program):
        """Keeps what is compiled, and so the memory, bounded."""
        if program not in self._programs and len(self._programs) >= PROGRAMS:
            jax.clear_caches()
            self._programs.clear()
        self._programs.add(program)
