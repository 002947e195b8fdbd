"""How our plots look: colours, plain axes, names; and how they are written."""

import numpy as np

from glide_jax.files import written_whole

COLOURS = ("#3b6fb6", "#d1603d", "#3a9276", "#8a5fb0", "#b58a1b", "#5c6670")
INK, FAINT = "#333a42", "#d9dde2"


def import_matplotlib():
    """Its Figure class; a ValueError says how to get it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("plots need matplotlib: pip install '.[plot]'") from None
    return Figure


def lighten(colour, share):
    """A colour "#rrggbb" mixed with so much white, as (r, g, b) from 0 to 1."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return tuple(rgb + share * (1 - rgb))


def set_plain(axes, title):
    """A title on the left, a faint grid, and no frame but the bottom line."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5, length=0, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def set_logarithmic(axes):
    """What is along goes up by factors: 1, 2, 5, 10 and so on are written."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def add_names(figure, colours):
    """Names above, each in its curves' colour."""
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[Line2D([], [], color=colour, linewidth=3) for colour in colours.values()],
        labels=list(colours),
        loc="outside upper left",
        ncols=min(4, len(colours)),
        frameon=False,
        fontsize=12,
        labelcolor=INK,
    )


def check_out(out):
    """A ValueError where the picture could not be written."""
    if out.suffix.lower() != ".png" or out.is_dir():
        raise ValueError(f"--out is {str(out)!r}; it must be a .png file")
    if not out.parent.is_dir():
        raise ValueError(f"--out is {str(out)!r}, but {str(out.parent)!r} is no folder")


def save(figure, out):
    """Writes a matplotlib Figure as a PNG file, whole or not at all."""
    with written_whole(out) as beside, beside.open("wb") as file:
        figure.savefig(file, format="png", dpi=130, facecolor="white")
