"""The curves of trainings: python -m glide_jax.training.plot RUN [RUN ...] [--out FILE.png]"""

import itertools
import math
import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from etils import epath

from glide_jax import cli
from glide_jax.plots import (
    COLOURS,
    INK,
    add_names,
    check_out,
    import_matplotlib,
    lighten,
    save,
    set_plain,
)
from glide_jax.training.log import read_metrics

PROG = "python -m glide_jax.training.plot"
FEW = 60  # points that are drawn as they are; more have a smooth curve, too
LOG_SPREAD = 4  # the ratio of largest to smallest from which an axis is logarithmic
SHADE = 0.22  # of white, more for each of a panel's metrics
QUARTERS = tuple(f"loss_q{q}" for q in range(4))
FOUND = tuple(f"i2t_r1_t{level}" for level in (0, 3, 6, 9))


@dataclass(frozen=True)
class Panel:
    """One of the picture's axes: what it shows, under which title, and how.

    Attributes:
        title: says what it is.
        names: of the metrics; several are shades of a run's colour, from dark to light.
        is_log: whether its axis may be logarithmic; where it may not, it shows zero.
        is_noisy: whether many points are drawn faintly, under a smooth curve.
    """

    title: str
    names: tuple[str, ...]
    is_log: bool = True
    is_noisy: bool = True


PANELS = (
    Panel("loss", ("loss",)),
    Panel("noise error (mse)", ("mse",)),
    Panel("variational bound (vb)", ("vb",)),
    Panel("loss by quarter of the noise", QUARTERS),
    Panel("loss on fixed examples (eval_loss)", ("eval_loss",)),
    Panel("what wrong captions cost (caption_gap)", ("caption_gap",), is_log=False),
    Panel("captions found by noise (i2t_r1)", FOUND, is_log=False),
    Panel("CLIP's scale of cosines (logit_scale)", ("logit_scale",)),
    Panel("gradient norm", ("grad_norm",)),
    Panel("learning rate", ("learning_rate",), is_log=False, is_noisy=False),
    Panel("images a second", ("images_per_second",), is_log=False),
)


@dataclass(frozen=True)
class Arguments:
    """Which runs to draw, and where to."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders of trainings; several are compared."""
    out: str | None = None
    """The .png file; by default metrics.png in the (first) run's folder."""


def read_run(run):
    """The rows of a run's metrics.jsonl; a ValueError says why there are none."""
    path = epath.Path(run) / "metrics.jsonl"
    if not epath.Path(run).is_dir():
        raise ValueError(f"there is no run {run!r}: it takes a training's folder")
    if not path.exists():
        raise ValueError(f"{run} holds no metrics.jsonl: it is no run, or one not yet begun")
    try:
        rows = read_metrics(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in rows):
        raise ValueError(f"{path} cannot be read: a line has no step")
    if not rows:
        raise ValueError(f"{path} holds no metrics yet: wait for step --log-every")
    return rows


def read_runs(runs):
    """{name: rows} of runs; one is called by its folder's name if no other has the same."""
    if not runs:
        raise ValueError("there is no run to draw; name its folder, such as runs/tiny")
    last = [epath.Path(run).resolve().name for run in runs]
    names = [run if last.count(name) > 1 else name for run, name in zip(runs, last, strict=True)]
    return {name: read_run(run) for name, run in zip(names, runs, strict=True)}


def curve(rows, name):
    """(steps, values) of a metric where it was logged and is finite."""
    pairs = [(row["step"], row[name]) for row in rows if name in row]
    pairs = [(step, value) for step, value in pairs if math.isfinite(value)]
    return tuple(np.array(pairs, float).reshape(-1, 2).T)


def smooth(values):
    """Running medians, which single spikes leave alone, and then their running means.

    Both are of a twentieth of the points; of fewer at the start, where a curve falls fast.
    """
    for average in (np.median, np.mean):
        halves = np.minimum(np.arange(len(values)), len(values) // 40)
        values = np.array([average(values[i - h : i + h + 1]) for i, h in enumerate(halves)])
    return values


def draw(runs):
    """The picture as a matplotlib Figure, of {name: rows}; panels without a value are left out."""
    panels = [
        panel
        for panel in PANELS
        if any(len(curve(rows, name)[0]) for rows in runs.values() for name in panel.names)
    ]
    if not panels:
        raise ValueError(f"{', '.join(runs)} hold no metric that is drawn, such as loss")
    columns = min(3, len(panels))
    height = math.ceil(len(panels) / columns)
    figure = import_matplotlib()(figsize=(4.6 * columns, 3 * height + 0.7), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    colours = dict(zip(runs, itertools.cycle(COLOURS)))
    last = max(row["step"] for rows in runs.values() for row in rows)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(height, columns, number)
        draw_panel(axes, panel, runs, colours)
        axes.set_xlim(0, 1.02 * last)
        if number > len(panels) - columns:
            axes.set_xlabel("step", color=INK)
    add_names(figure, colours)
    return figure


def draw_panel(axes, panel, runs, colours):
    """A panel's curves of all runs, and its axes."""
    shown = []
    for run, rows in runs.items():
        for shade, name in enumerate(panel.names):
            steps, values = curve(rows, name)
            colour = lighten(colours[run], SHADE * shade)
            draw_curve(axes, steps, values, colour, panel.is_noisy)
            shown.append(values)
    style(axes, panel, np.concatenate(shown))
    if len(panel.names) > 1:
        label_shades(axes, next(iter(colours.values())))


def draw_curve(axes, steps, values, colour, is_noisy):
    """Few points as they are; many, where they are noisy, faintly under a smooth curve."""
    if is_noisy and len(steps) > FEW:
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
        values = smooth(values)
    marker = {"marker": "o", "markersize": 3.5} if len(steps) <= 25 else {}
    axes.plot(steps, values, color=colour, linewidth=1.7, **marker)


def label_shades(axes, colour):
    """A legend of the noise by its shades, above the axes and beside the title."""
    from matplotlib.lines import Line2D

    axes.legend(
        handles=[Line2D([], [], color=lighten(colour, SHADE * i), linewidth=2.5) for i in range(4)],
        labels=["least", "", "", "most"],
        fontsize=8.5,
        labelcolor=INK,
        frameon=False,
        ncols=4,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=0.6,
        borderaxespad=0,
        borderpad=0.2,
        loc="lower right",
        bbox_to_anchor=(1, 1.01),
    )


def style(axes, panel, values):
    """Title, grid and scale; on a logarithmic axis the ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    set_plain(axes, panel.title)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 2.5, 5, 10)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    plain = FuncFormatter(lambda value, _: f"{value:.6g}")
    if panel.is_log and values.min() > 0 and values.max() > LOG_SPREAD * values.min():
        axes.set_yscale("log")
        decades = math.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif not panel.is_log:
        low, high = min(0, values.min()), max(0, values.max())
        axes.set_ylim(low * 1.08, high * 1.08 or 1)
        axes.axhline(0, color=INK, linewidth=0.8)
    axes.yaxis.set_major_formatter(plain)


def main(arguments):
    """Parses, reads, draws."""
    parsed = cli.parse(Arguments, arguments, PROG, __doc__)
    runs = read_runs(parsed.runs)
    out = epath.Path(parsed.out or epath.Path(parsed.runs[0]) / "metrics.png")
    check_out(out)
    figure = draw(runs)
    save(figure, out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "plot")
