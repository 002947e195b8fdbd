"""Inpainting, measured: whether the caption holds, and whether the border shows.

python evaluate.py inpainting [--help]
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from glide_jax import cli
from glide_jax.evaluation.caption_accuracy import KINDS, failures
from glide_jax.evaluation.edits import holes, measuring
from glide_jax.evaluation.results import check_folder
from glide_jax.evaluation.scores import in_numbers, in_words, mean, share
from glide_jax.evaluation.shapes_test import SEEDS

Method = Literal["model", "replace", "repaint"]


@dataclass(frozen=True)
class Arguments(measuring.Measuring, cli.Sampling):
    """Hides objects of real scenes in a box, has them drawn anew by the scenes' captions, and reads
    the pictures; and measures the jump across the box's border, where nothing has been pasted."""

    model: str = "shapes32-inpaint"
    """One that was trained to inpaint, for the method model."""
    plain_model: str = "shapes32"
    """Any other, for the methods replace and repaint."""
    methods: tuple[Method, ...] = ("model", "replace", "repaint")
    """Each with the same pictures, masks and seeds; see sample.py --help."""
    split: Literal["test", "compositional"] = "test"
    """compositional has pairs of colour and shape that training never shows."""
    kinds: tuple[holes.Kind, ...] = ("alone", "related", "half")
    """What the box hides: the scene's only object, one that the caption relates to another, or half
    of the only one."""
    jump_length: int = 5
    """Steps that repaint goes back."""
    resamplings: int = 5
    """How often repaint goes through each piece."""
    out: Path = Path("evaluations/inpainting")
    """The folder of results.json and inpainting.png."""

    def __post_init__(self):
        measuring.check_each("--methods", self.methods, "methods")
        measuring.check_each("--kinds", self.kinds, "kinds of holes")
        measuring.check_num(self.num, len(self.kinds))

    def model_of(self, method):
        """The name of the model that a method draws with."""
        return self.model if method == "model" else self.plain_model

    def inpainting(self, method):
        """The arguments of `Pipeline.inpaint` by name."""
        repeats = {"jump_length": self.jump_length, "resamplings": self.resamplings}
        return self.settings() | {"method": method} | (repeats if method == "repaint" else {})


class Verdict(NamedTuple):
    """What is wrong with a picture, how far its border jumps, and the seconds that it took."""

    failures: tuple[str, ...]
    jump: float
    seconds: float


def try_method(pipeline, tried, settings, kept):
    """Each item's hole filled.

    Args:
        pipeline: a `Pipeline`.
        tried: `holes.Item`s.
        settings: of `Pipeline.inpaint`, but for num and seed.
        kept: the path of the verdicts.

    Returns:
        As `measuring.try_items`.
    """

    def draw(chunk):
        images, masks = (np.stack([getattr(i, name) for i in chunk]) for name in ("image", "mask"))
        captions, seeds = [item.caption for item in chunk], [item.seed for item in chunk]
        return pipeline.inpaint(images, masks, captions, seed=seeds, **settings)

    def judge(picture, item):
        return failures(picture, item.claims), holes.border_jump(picture, item.mask)

    return measuring.try_items(tried, draw, judge, Verdict, kept)


def summary(tried, verdicts):
    """The figures of a row, of all and by the kind of hole.

    `jump` is that across the masks' borders, in grey levels, `real_jump` that in the real pictures,
    and `excess_jump` the mean of the differences.
    """
    kinds = Counter(kind for verdict in verdicts for kind in verdict.failures)
    pairs = list(zip(tried, verdicts, strict=True))
    of_kind = {kind: [pair for pair in pairs if pair[0].kind == kind] for kind in holes.TIERS}
    return _figures(pairs) | {
        "by_kind": {kind: _figures(own) for kind, own in of_kind.items() if own},
        "failures": {kind: kinds[kind] for kind in KINDS},
        "seconds_per_image": measuring.seconds_per_image(verdicts),
    }


def _figures(pairs):
    drawn = np.array([verdict.jump for _, verdict in pairs])
    real = np.array([holes.border_jump(item.image, item.mask) for item, _ in pairs])
    return {
        "caption_accuracy": share(sum(not v.failures for _, v in pairs), len(pairs)),
        "jump": mean(drawn),
        "real_jump": mean(real),
        "excess_jump": mean(drawn - real),
    }


def table(rows):
    """The rows as a table to read, a line for each method and kind of hole."""
    lines = [("method", "model", "hides", "holds", "jump", "in real pictures", "excess", "s/image")]
    for row in rows:
        for kind, figures in row["by_kind"].items():
            jumps = (in_numbers(figures[name]) for name in ("jump", "real_jump", "excess_jump"))
            method, seconds = row["settings"]["method"], f"{row['seconds_per_image']:.2f}"
            holds = in_words(figures["caption_accuracy"])
            lines.append((method, row["model"], kind, holds, *jumps, seconds))
    return lines


def main(arguments, load):
    """The command; `load` makes a Pipeline of a model's name and a dtype."""
    parsed = cli.parse(Arguments, arguments, "evaluate.py inpainting", Arguments.__doc__)
    check_folder(parsed.out, adds=True)
    names = dict.fromkeys(parsed.model_of(method) for method in parsed.methods)
    pipelines = {name: load(name, parsed.dtype) for name in names}
    size = _common_side(pipelines)
    _check(parsed, pipelines)
    tried = holes.items(parsed.split, parsed.num, SEEDS[parsed.captions], size, parsed.kinds)
    shown = tried[: measuring.SHOWN]
    real, masks = (np.stack([getattr(item, name) for item in shown]) for name in ("image", "mask"))
    columns = {"real": real, "given": np.where(masks[..., None], real, np.uint8(128))}
    rows = []
    for method in parsed.methods:
        name, settings = parsed.model_of(method), parsed.inpainting(method)
        own = pipelines[name], parsed, parsed.kinds, settings
        row = measuring.row_of("inpainting", name, *own)
        kept = measuring.path_of(row, parsed.out)
        verdicts, columns[method] = try_method(pipelines[name], tried, settings, kept)
        rows.append(measuring.finish(row, summary(tried, verdicts), parsed.out))
    captions = [item.caption for item in shown]
    measuring.save_sheet(parsed.out / "inpainting.png", columns, captions, rows)
    measuring.report(rows, table(rows), parsed.out)


def _check(parsed, pipelines):
    """Raises a ValueError where one of the methods could not draw, before the first one does."""
    from glide_jax.editing import check_base  # --help need not wait for JAX
    from glide_jax.evaluation.beforehand import check_settings

    for method in parsed.methods:
        model = pipelines[parsed.model_of(method)].model
        check_base(model)
        if method == "model" and not model.unet.inpaint:
            raise ValueError(
                f"--model is {parsed.model!r}, which was not trained to inpaint; give one that "
                "was, or leave the method model out"
            )
        check_settings(model, parsed.inpainting(method))


def _common_side(pipelines):
    """The side of the pictures that all models draw, in pixels."""
    sides = {name: pipeline.model.unet.image_size for name, pipeline in pipelines.items()}
    if len(set(sides.values())) > 1:
        each = " and ".join(f"{name} of {side}" for name, side in sides.items())
        raise ValueError(f"--model and --plain-model draw pictures of different sides: {each}")
    return next(iter(sides.values()))
