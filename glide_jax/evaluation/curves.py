"""What settings do, drawn: python -m glide_jax.evaluation.curves RESULTS.json... [--out FILE.png]

RESULTS.json is what `evaluate.py sweep` wrote; several are drawn together. On the left caption
accuracy against the guidance scale (the CLIP's, where one guides), a curve for each sampler and
number of steps; then against the number of pictures that one is chosen of, the number of steps and
the seconds a picture takes, a curve for each sampler at one scale. Models have curves of their own,
and so have CLIPs that guide, and all else that rows differ in: splits, captions, other settings.
Panels in which there would be no curve are left out. Bars are 95 % intervals.
"""

import json
import sys
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import Annotated

import tyro
from etils import epath

from glide_jax import cli
from glide_jax.evaluation import naming
from glide_jax.files import read_text
from glide_jax.plots import (
    COLOURS,
    INK,
    check_out,
    import_matplotlib,
    save,
    set_logarithmic,
    set_plain,
)

PROG = "python -m glide_jax.evaluation.curves"
TITLES = {
    "scale": "guidance scale",
    "choice": "pictures to choose from",
    "steps": "steps",
    "seconds": "seconds a picture",
}


@dataclass(frozen=True)
class Arguments:
    """What to draw, and where to."""

    results: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A results.json, or several."""
    out: str | None = None
    """The .png file; by default curves.png beside the first."""

    def __post_init__(self):
        if not self.results:
            raise ValueError("give a results.json of evaluate.py sweep")


def read_rows(path):
    """The rows of a results.json; a ValueError says why there are none."""
    path = epath.Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}: evaluate.py sweep writes one")
    try:
        rows = json.loads(read_text(path))["rows"]
        for row in rows:
            point(row, "seconds")
        named(rows, "seconds")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no results.json of evaluate.py: {error!r}") from None
    if not rows:
        raise ValueError(f"{path} holds no rows yet")
    return rows


def point(row, along):
    """(x, accuracy, the interval's ends) of a row, in per cent; x is what `TITLES` names."""
    settings = row["settings"]
    if along == "scale":
        x = scale_of(row)
    elif along == "choice":
        x = settings.get("rerank_from", 1)
    else:
        x = int(settings["steps"]) if along == "steps" else row["seconds_per_image"]
    accuracy = row["caption_accuracy"]
    return x, 100 * accuracy["value"], *(100 * end for end in accuracy["interval"])


def curves(rows, along):
    """{name: points} of the curves that go from one place to another, each from left to right."""
    if along == "steps":  # not those of a published form, such as fast27
        rows = [row for row in rows if row["settings"]["steps"].isdecimal()]
    found = {
        name: sorted(point(row, along) for row in own) for name, own in named(rows, along).items()
    }
    return {name: points for name, points in found.items() if points[0][0] < points[-1][0]}


def named(rows, along):
    """The rows by the names of their curves, which say all but what the curve is along."""
    several, others = len({row["model"] for row in rows}) > 1, naming.differing(rows)

    def name(row):
        own = row["settings"]
        parts = [row["model"]] * several + [own["sampler"]]
        parts += [f"{own['steps']} steps"] * (along in ("scale", "choice"))
        parts += [f"scale {scale_of(row):g}"] * (along != "scale")
        if "clip" in own:
            parts.append(epath.Path(own["clip"]).name)
            parts += [f"and cfg {own['guidance_scale']:g}"] * (own["guidance_scale"] != 1)
        if "rerank_from" in own and along in ("scale", "steps"):
            parts.append(f"best of {own['rerank_from']}")
        return ", ".join(parts + naming.in_words(row, others))

    return {name: list(own) for name, own in groupby(sorted(rows, key=name), key=name)}


def scale_of(row):
    """The scale of the CLIP that guides, or else of classifier-free guidance."""
    settings = row["settings"]
    return settings.get("clip_guidance_scale", settings["guidance_scale"])


def draw(rows):
    """The picture as a matplotlib Figure; a ValueError where no two rows make a curve."""
    panels = {along: found for along in TITLES if (found := curves(rows, along))}
    if not panels:
        raise ValueError("no two rows differ in one setting only: there is no curve to draw")
    size = (5.2 * len(panels), 3.9)
    figure = import_matplotlib()(figsize=size, layout="constrained")
    for number, (along, found) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        set_plain(axes, f"captions that hold (%), by {TITLES[along]}")
        for colour, (name, points) in zip(cycle(COLOURS), found.items(), strict=False):
            x, value, low, high = zip(*points, strict=True)
            below = [v - end for v, end in zip(value, low, strict=True)]
            above = [end - v for v, end in zip(value, high, strict=True)]
            bars = {"yerr": (below, above), "elinewidth": 0.9, "capsize": 2}
            axes.errorbar(x, value, color=colour, marker="o", markersize=4, label=name, **bars)
        if along != "scale":
            set_logarithmic(axes)
        axes.set_ylim(0, 100)
        axes.set_xlabel(TITLES[along], color=INK)
        axes.legend(fontsize=8.5, labelcolor=INK, frameon=False)
    return figure


def main(arguments):
    """Parses, reads, draws."""
    parsed = cli.parse(Arguments, arguments, PROG, __doc__)
    rows = [row for results in parsed.results for row in read_rows(results)]
    out = epath.Path(parsed.out or epath.Path(parsed.results[0]).parent / "curves.png")
    check_out(out)
    save(draw(rows), out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "curves")
