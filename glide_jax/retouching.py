"""A user's own picture, edited as the command line asks: fitted, drawn, enlarged, pasted."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from glide_jax.edits import edit_mask, read_edits
from glide_jax.fitting import (
    Fit,
    enlarge_fit,
    enlarge_mask,
    fit,
    from_model,
    mask_to_model,
    paste,
    to_model,
)
from glide_jax.given import read_mask, read_picture
from glide_jax.reranking import Drawn, draw_or_rerank


@dataclass(frozen=True)
class Editing:
    """A picture to edit, and how."""

    image: Path | None = None
    """A picture to edit, of any size: with --mask, --edits, --strength or --edit-from."""
    mask: Path | None = None
    """A picture that says what is kept: white (1) is kept, black (0) is drawn anew."""
    invert_mask: bool = False
    """For masks that have it the other way round."""
    edits: Path | None = None
    """A JSON file of one edit after another: [{"mask": FILE or "box": [left, top, right, bottom],
    "prompt": TEXT}, ...]; the picture after each of them is kept."""
    inpaint_method: Literal["model", "replace", "repaint"] | None = None
    """model, for one that was trained to inpaint (its default); for any model replace, which puts
    the noised known pixels back after each step, or repaint, which also repeats steps."""
    jump_length: int = 5
    """Steps that repaint goes back."""
    resamplings: int = 5
    """How often repaint goes through each piece."""
    strength: float | None = None
    """Edits the whole picture by adding this part of the noise and taking it away (SDEdit), above 0
    to 1; 0.6 where only --edit-from is given."""
    edit_from: str | None = None
    """What the picture shows now: it is inverted by DDIM rather than noised, and keeps more."""
    fit: Literal["crop", "pad"] = "crop"
    """How a picture that is not square comes into the model's square."""
    paste: bool = True
    """Puts the kept pixels back as they were, at the picture's own size."""

    def __post_init__(self):
        asked = {"--mask": self.mask, "--edits": self.edits, "--strength": self.strength}
        asked["--edit-from"] = self.edit_from
        given = [name for name, value in asked.items() if value is not None]
        if self.image is None and given:
            raise ValueError(f"there is {given[0]}, but no --image to edit")
        if self.image is not None and not given:
            raise ValueError(f"there is an --image; say how to edit it by {', '.join(asked)}")
        if len(given) > 1 and given != ["--strength", "--edit-from"]:
            raise ValueError(f"{given[0]} and {given[1]} do not go together: give one")
        self._check_use()

    def _check_use(self):
        """Raises a ValueError for an option that nothing else of the command has a use for."""
        drawn = self.draws_anew, "--mask or --edits"
        repaint = self.inpaint_method == "repaint", "--inpaint-method repaint"
        users = {"fit": (self.image is not None, "--image"), "invert_mask": drawn, "paste": drawn}
        users |= {"inpaint_method": drawn, "jump_length": repaint, "resamplings": repaint}
        for name, (used, user) in users.items():
            if not used and getattr(self, name) != getattr(Editing, name):
                option = "--no-paste" if name == "paste" else f"--{name.replace('_', '-')}"
                raise ValueError(f"there is {option}, but no {user}, which alone has a use for it")

    @property
    def draws_anew(self):
        """Whether a part of the picture is kept and the rest drawn anew."""
        return self.mask is not None or self.edits is not None

    def settings(self):
        """What an edit of the whole picture takes in place of `Pipeline.text_to_image`'s."""
        if self.strength is None and self.edit_from is None:
            return {}
        own = {"strength": 0.6 if self.strength is None else self.strength}
        return own if self.edit_from is None else own | {"sampler": "ddim"}


class Work(NamedTuple):
    """What is edited: a picture, or the part of it that a model is given, and what is kept."""

    picture: np.ndarray  # uint8 [H, W, 3]
    masks: list[np.ndarray]  # bool [H, W], True = keep, one for each edit; none without a mask
    prompts: list[str]  # of the edits of a file
    fit: Fit | None = None  # of the part in the model's square


def read_work(editing: Editing):
    """The Work that files hold.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    picture = read_picture(editing.image)
    size, invert = picture.shape[:2], editing.invert_mask
    if editing.edits is None:
        masks = [] if editing.mask is None else [read_mask(editing.mask, size, invert)]
        return Work(picture, masks, [])
    edits = read_edits(editing.edits)
    masks = [edit_mask(edit, size, invert) for edit in edits]
    return Work(picture, masks, [edit.prompt for edit in edits])


def _fitted(work, side, how):
    """The part of a Work that a model of `side` pixels is given; refused if a mask keeps all."""
    cut = fit(work.picture.shape[:2], side, how).cut
    part, masks = work.picture[cut], [mask[cut] for mask in work.masks]
    own = fit(part.shape[:2], side, how)
    for number, mask in enumerate(masks, 1):  # now, not after the first edits are drawn
        try:
            mask_to_model(mask, own)
        except ValueError as error:
            raise ValueError(f"edit {number}: {error}" if work.prompts else str(error)) from None
    return Work(part, masks, work.prompts, own)


def retouch(pipeline, enlarge, editing: Editing, work: Work, prompts, settings, ranking=None):
    """The edited pictures.

    Args:
        pipeline: the `Pipeline` of a base model.
        enlarge: (images, prompts, seeds, known) -> larger images, as `Pipeline.upsample`, with a
            prompt and a seed for each; or None.
        editing: how.
        work: from `read_work`.
        prompts: of the command line; none where a file of edits has them.
        settings: the arguments of `Pipeline.text_to_image` by name, with `Editing.settings`.
        ranking: the `Ranking` by which pictures are kept, those of each edit before the next; or
            None.

    Returns:
        The `Drawn`: `num` pictures for each prompt, or one after each edit of a file.

    Raises:
        ValueError: a setting, or a mask that leaves the model nothing to draw.
    """
    work = _fitted(work, pipeline.model.unet.image_size, editing.fit)
    if editing.edits is not None:
        steps, picture = [], work.picture
        for number, (mask, prompt) in enumerate(zip(work.masks, work.prompts, strict=True)):
            own = settings | {"seed": settings["seed"] + number, "num": 1}
            step = work._replace(picture=picture, masks=[mask])
            steps.append(_repaint(pipeline, enlarge, editing, step, [prompt], own, ranking))
            (picture,) = steps[-1].images
        images, seeds, scores = zip(*steps, strict=True)
        scores = None if ranking is None else np.concatenate(scores)
        return Drawn(np.concatenate(images), np.concatenate(seeds), scores)
    if editing.mask is not None:
        return _repaint(pipeline, enlarge, editing, work, prompts, settings, ranking)
    images = _repeat(to_model(work.picture, work.fit), len(prompts))
    shown = None if editing.edit_from is None else [editing.edit_from] * len(prompts)
    draw = partial(pipeline.image_to_image, images, edit_from=shown)
    drawn = draw_or_rerank(draw, prompts, settings, ranking).enlarged(enlarge, prompts)
    place = enlarge_fit(work.fit, drawn.images.shape[1] // work.fit.side).place
    return drawn._replace(images=drawn.images[:, *place])


def _repaint(pipeline, enlarge, editing, work, prompts, settings, ranking):
    """What a mask does not keep, drawn anew, at the picture's own size."""
    (mask,), picture = work.masks, work.picture
    small = mask_to_model(mask, work.fit)
    count, total = len(prompts), len(prompts) * settings["num"]
    masks = _repeat(small, count)
    draw = partial(
        pipeline.inpaint,
        *(_repeat(to_model(picture, work.fit), count), masks),
        method=editing.inpaint_method,
        jump_length=editing.jump_length,
        resamplings=editing.resamplings,
    )
    drawn = draw_or_rerank(draw, prompts, settings, ranking, masks)
    known = partial(_known, picture, small, work.fit, total)
    drawn = drawn.enlarged(enlarge, prompts, known)
    if editing.paste:
        finished = [paste(image, picture, mask, work.fit) for image in drawn.images]
    else:
        finished = [from_model(image, work.fit) for image in drawn.images]
    return drawn._replace(images=np.stack(finished))


def _known(picture, small, fit, total, factor):
    """The pictures and masks that an upsampler keeps: the mask is the small one, enlarged."""
    large = to_model(picture, enlarge_fit(fit, factor))
    return _repeat(large, total), _repeat(enlarge_mask(small, factor), total)


def _repeat(array, number):
    return np.repeat(array[None], number, axis=0)
