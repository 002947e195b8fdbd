"""Pictures of whichever generator, scored: python evaluate.py --images A --reference B."""

import json
import sys
from functools import partial

import numpy as np

from glide_jax import cli
from glide_jax.evaluation import judges, report, results, scoring
from glide_jax.evaluation.options import Comparing, Given
from glide_jax.evaluation.pictures import have_side, open_pictures, read_one
from glide_jax.evaluation.seen import accuracy, check_alike, check_network, made_of, referred
from glide_jax.files import write_text
from glide_jax.images import make_grid

SHOWN, SIDE = 36, 128  # pictures in the grid of the report, and the pixels of each


def measure(pictures, loaded, real, arguments):
    """The results of one set of pictures.

    Args:
        pictures: the `pictures.Pictures`.
        loaded: the `judges.Judges`.
        real: the reference's arrays, and what is said of it; see `seen.referred`.
        arguments: the options.
    """
    holds, why = accuracy(pictures, arguments.size)
    drawn, own = made_of(pictures, loaded, arguments.size)
    arrays, told = real
    found, left_out = scoring.score(drawn, arrays, arguments.resamplings)
    if loaded.judge is not None and pictures.uncaptioned:
        left_out |= {"clip_score": pictures.uncaptioned}
    settings = {"size": arguments.size, "resamplings": arguments.resamplings}
    row = {
        "left_out": left_out | why,
        "images": {"path": pictures.path, "hash": own, "n": pictures.number},
        "reference": told,
        "settings": settings | loaded.told(),
        "versions": results.versions(),
    }
    return found | holds | row


def table(rows):
    """Results as a table to read, a row for each set of pictures."""
    names = [name for name in results.METRICS if any(name in row for row in rows)]
    yield f"| pictures | n | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    for row in rows:
        cells = [in_cell(row[name]) if name in row else "" for name in names]
        yield f"| {row['images']['path']} | {row['images']['n']} | {' | '.join(cells)} |"


def in_cell(found):
    """A value with its interval: "12.3 (11.9 to 12.8)"."""
    value, low, high = (f"{each:.4g}" for each in (found["value"], *found["interval"]))
    return f"{value} ({low} to {high})"


def grid_of(source):
    """The first pictures of a source, side by side, uint8 [H, W, 3]."""
    shown = range(min(SHOWN, len(source)))
    return make_grid(np.stack([read_one(source, index, SIDE) for index in shown]))


def main(arguments, _, command=Given, prog="evaluate.py"):
    """Parses, measures, tells."""
    parsed = cli.parse(command, arguments, prog, command.__doc__)
    results.check_folder(parsed.out, adds=False)
    sets = [open_pictures(path) for path in parsed.sets]
    _check_same_captions(sets)
    loaded = judges.load(parsed, partial(_fit, sets, parsed.size))
    judges.check_size(loaded.features, parsed.size)
    for each in sets:
        check_network(each, loaded.features)
    real = referred(parsed.reference, loaded.features, parsed.size)
    for each in sets:
        check_alike(each, real[0])
    rows = [measure(pictures, loaded, real, parsed) for pictures in sets]
    parsed.out.mkdir(parents=True, exist_ok=True)
    told = rows[0] if command is Given else {"rows": rows}
    write_text(parsed.out / "results.json", json.dumps(told, indent=1) + "\n")
    grids = {each.path: report.png(grid_of(each.source)) for each in sets if each.source}
    report.write(parsed.out / "report.html", " ".join([prog, *arguments]), rows, grids)
    print("\n".join(table(rows)))
    for name, why in rows[0]["left_out"].items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    print(f"{parsed.out}/results.json and report.html", file=sys.stderr)


def compare(arguments, load):
    """The command evaluate.py compare."""
    main(arguments, load, Comparing, "evaluate.py compare")


def _fit(sets, size, side):
    """Whether all pictures have a side, in pixels, or are brought to it by --size."""
    if size is not None:
        return size == side
    sources = [each.source for each in sets if each.source is not None]
    return bool(sources) and all(have_side(source, len(source), side) for source in sources)


def _check_same_captions(sets):
    """Raises a ValueError where sets of pictures are known to be of different captions."""
    known = {each.path: sorted(each.captions) for each in sets if each.captions}
    first = next(iter(known), None)
    for path, captions in known.items():
        if captions != known[first]:
            raise ValueError(f"{path} and {first} have different captions; draw both from the same")
