"""SDEdit, measured: whether a changed caption holds, and how far from the given picture one ends.

python evaluate.py sdedit [--help]
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from glide_jax import cli
from glide_jax.data import shapes
from glide_jax.data.captions import caption
from glide_jax.evaluation.caption_accuracy import KINDS, Claims, failures
from glide_jax.evaluation.edits import measuring
from glide_jax.evaluation.referee import change
from glide_jax.evaluation.results import check_folder
from glide_jax.evaluation.scores import in_numbers, in_words, mean, share
from glide_jax.evaluation.shapes_test import SEEDS
from glide_jax.plots import COLOURS, INK, import_matplotlib, save, set_plain

Change = Literal["colour", "shape", "size"]


@dataclass(frozen=True)
class Arguments(measuring.Measuring, cli.Sampling):
    """Noises real pictures, draws them again from captions that say one attribute of one object
    otherwise, and reads them; and measures how far they are from the given ones."""

    strengths: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Parts of the noise that are added and taken away again, above 0 to 1."""
    changes: tuple[Change, ...] = ("colour", "shape", "size")
    """What the captions say otherwise, each as often."""
    out: Path = Path("evaluations/sdedit")
    """The folder of results.json, sdedit.png (pictures) and curve.png."""

    # Of compositional scenes no shape can be changed, for each colour has but one.
    split = "test"

    def __post_init__(self):
        measuring.check_each("--strengths", self.strengths, "strengths")
        measuring.check_each("--changes", self.changes, "attributes")
        measuring.check_num(self.num, len(self.changes))
        for strength in self.strengths:
            if not 0 < strength <= 1:
                raise ValueError(f"--strengths has {strength}; each must be above 0 and at most 1")


class Item(NamedTuple):
    """A real picture, uint8 [S, S, 3], and a caption that says one attribute otherwise."""

    caption: str
    claims: Claims
    change: Change
    seed: int
    image: np.ndarray


class Verdict(NamedTuple):
    """What is wrong with a picture, how far it is from the given one, and the seconds it took."""

    failures: tuple[str, ...]
    distance: float
    seconds: float


def items(number, seed, size, changes):
    """The first scenes of the split test, each with a caption that is changed in one attribute.

    Args:
        number: of items.
        seed: of `shapes.example`.
        size: of the pictures, in pixels.
        changes: the attributes, in turn.
    """
    found, index = [], 0
    while len(found) < number:
        kind, rng = changes[len(found) % len(changes)], np.random.default_rng((seed, index))
        picture, _, scene = shapes.example(index, seed, "test", size)
        claims = change(Claims(scene.claims, scene.relation), kind, rng)
        if claims is not None and _is_of_test(claims):
            words = caption(claims.phrases, claims.relation, rng)
            found.append(Item(words, claims, kind, index, picture))
        index += 1
    return found


def _is_of_test(claims):
    """Whether a scene of the split could have the claims."""
    pairs = {(phrase.colour, phrase.shape) for phrase in claims.phrases}
    return len(pairs) == len(claims.phrases) and not pairs & shapes.HELD_OUT


def distance(one, other):
    """The root of the mean squared difference of uint8 pictures, in grey levels."""
    return float(np.sqrt(np.square(one.astype(float) - other).mean()))


def try_strength(pipeline, tried, settings, kept):
    """Each item edited.

    Args:
        pipeline: a `Pipeline`.
        tried: Items.
        settings: of `Pipeline.image_to_image`, but for num and seed.
        kept: the path of the verdicts.

    Returns:
        As `measuring.try_items`.
    """

    def draw(chunk):
        images, captions = np.stack([i.image for i in chunk]), [item.caption for item in chunk]
        seeds = [item.seed for item in chunk]
        return pipeline.image_to_image(images, captions, seed=seeds, **settings)

    def judge(picture, item):
        return failures(picture, item.claims), distance(picture, item.image)

    return measuring.try_items(tried, draw, judge, Verdict, kept)


def summary(tried, verdicts):
    """The figures of a row: the share of captions that hold, in all and by change; the distance."""
    kinds = Counter(kind for verdict in verdicts for kind in verdict.failures)
    holds = {}
    for item, verdict in zip(tried, verdicts, strict=True):
        holds.setdefault(item.change, []).append(not verdict.failures)
    return {
        "caption_accuracy": share(sum(map(sum, holds.values())), len(verdicts)),
        "by_change": {kind: share(sum(each), len(each)) for kind, each in holds.items()},
        "distance": mean([verdict.distance for verdict in verdicts]),
        "failures": {kind: kinds[kind] for kind in KINDS},
        "seconds_per_image": measuring.seconds_per_image(verdicts),
    }


def table(rows):
    """The rows as a table to read."""
    changes = list(rows[0]["by_change"])
    lines = [("strength", "holds", *changes, "distance in grey levels", "s/image")]
    for row in rows:
        strength, holds = row["settings"]["strength"], in_words(row["caption_accuracy"])
        each = [f"{100 * row['by_change'][change]['value']:.0f} %" for change in changes]
        distance, seconds = in_numbers(row["distance"]), f"{row['seconds_per_image']:.2f}"
        lines.append((f"{strength:g}", holds, *each, distance, seconds))
    return lines


def curve(rows):
    """Accuracy and distance against strength, with their intervals, as a matplotlib Figure."""
    rows = sorted(rows, key=lambda row: row["settings"]["strength"])
    strengths = [row["settings"]["strength"] for row in rows]
    figure = import_matplotlib()(figsize=(9.2, 3.4), layout="constrained")
    panels = {
        "captions that hold (%)": ("caption_accuracy", 100),
        "distance to the given picture (grey levels)": ("distance", 1),
    }
    for place, (title, (name, unit)) in enumerate(panels.items(), 1):
        axes, colour = figure.add_subplot(1, 2, place), COLOURS[place - 1]
        values = unit * np.array([row[name]["value"] for row in rows])
        low, high = unit * np.array([row[name]["interval"] for row in rows]).T
        set_plain(axes, title)
        axes.fill_between(strengths, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(strengths, values, color=colour, linewidth=1.7, marker="o", markersize=3.5)
        axes.set_xlabel("strength", color=INK)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 100 if unit == 100 else None)
    return figure


def _check(parsed, model):
    """Raises a ValueError where a strength could not be drawn from, before the first one is."""
    from glide_jax.editing import check_base  # --help need not wait for JAX
    from glide_jax.evaluation.beforehand import check_settings

    check_base(model)
    for strength in parsed.strengths:
        check_settings(model, parsed.settings() | {"strength": strength})


def main(arguments, load):
    """The command; `load` makes a Pipeline of a model's name and a dtype."""
    parsed = cli.parse(Arguments, arguments, "evaluate.py sdedit", Arguments.__doc__)
    check_folder(parsed.out, adds=True)
    import_matplotlib()  # says now, not after the work, that it is missing
    pipeline, rows = load(parsed.model, parsed.dtype), []
    _check(parsed, pipeline.model)
    size = pipeline.model.unet.image_size
    tried = items(parsed.num, SEEDS[parsed.captions], size, parsed.changes)
    shown = tried[: measuring.SHOWN]
    columns = {"given": [item.image for item in shown]}
    for strength in parsed.strengths:
        settings = parsed.settings() | {"strength": strength}
        own = pipeline, parsed, parsed.changes, settings
        row = measuring.row_of("sdedit", parsed.model, *own)
        kept = measuring.path_of(row, parsed.out)
        verdicts, columns[f"strength {strength:g}"] = try_strength(pipeline, tried, settings, kept)
        rows.append(measuring.finish(row, summary(tried, verdicts), parsed.out))
    captions = [item.caption for item in shown]
    measuring.save_sheet(parsed.out / "sdedit.png", columns, captions, rows)
    save(curve(rows), parsed.out / "curve.png")
    measuring.report(rows, table(rows), parsed.out)
