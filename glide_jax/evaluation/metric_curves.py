"""What guidance trades for what, as in the paper's figure 6: three curves over its scales."""

from itertools import cycle

from glide_jax import plots
from glide_jax.evaluation.curves import named, scale_of

# What is along x and y in each panel.
PANELS = (("inception_score", "fid"), ("recall", "precision"), ("fid", "clip_score"))
TITLES = {"inception_score": "inception score", "fid": "FID", "clip_score": "CLIP score"}


def panels(rows):
    """By panel and name, the points (x, y, scale) of each curve of more than one, by scale."""
    found = {}
    for x, y in PANELS:
        curves = named([row for row in rows if x in row and y in row], "scale")
        points = {
            name: sorted((scale_of(row), row[x]["value"], row[y]["value"]) for row in own)
            for name, own in curves.items()
            if len(own) > 1
        }
        if points:
            found[x, y] = points
    return found


def can_draw(rows):
    """Whether rows make a curve, and matplotlib is there to draw it."""
    if not panels(rows):
        return False
    try:
        plots.import_matplotlib()
    except ValueError:
        return False
    return True


def draw(rows):
    """The picture as a matplotlib Figure; each point has its scale beside it."""
    found = panels(rows)
    figure = plots.import_matplotlib()(figsize=(4.6 * len(found), 3.9), layout="constrained")
    for number, ((x, y), curves) in enumerate(found.items(), 1):
        axes = figure.add_subplot(1, len(found), number)
        plots.set_plain(axes, f"{TITLES.get(y, y)} by {TITLES.get(x, x)}")
        for colour, (name, points) in zip(cycle(plots.COLOURS), curves.items(), strict=False):
            _, xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, marker="o", markersize=4, label=name)
            for scale, *place in points:
                beside = {"xytext": (4, 4), "textcoords": "offset points"}
                axes.annotate(f"{scale:g}", place, fontsize=8, color=colour, **beside)
        axes.set_xlabel(TITLES.get(x, x), color=plots.INK)
        axes.legend(fontsize=8.5, labelcolor=plots.INK, frameon=False)
    return figure


def save(rows, path):
    """Draws the rows' curves into a PNG file."""
    plots.save(draw(rows), path)
