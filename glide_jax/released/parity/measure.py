"""How far figures are from the published ones, and what computing them took."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Limit(NamedTuple):
    """How far a figure may be off: at most `absolute + relative * |published|`, elementwise."""

    absolute: float = 0.0
    relative: float = 0.0


class Check(NamedTuple):
    """Figures that belong together: a row of the table.

    Attributes:
        name: of the row.
        compute: () -> {key: array}, under the keys and in the layout of the published figures.
        published: {key: array}.
        limit: key -> Limit.
        parameters: of the model that computes them; 0 where there is none.
    """

    name: str
    compute: Callable
    published: dict
    limit: Callable
    parameters: int = 0


class Row(NamedTuple):
    """What a check came to.

    Attributes:
        name: of the check.
        parameters: of its model.
        error: the largest distance from a published figure.
        share: the largest distance in parts of what is allowed: above 1 is a failure.
        worst: the key where that is.
        seconds: of computing, compiling included.
        memory: bytes, the process's most while it computed.
    """

    name: str
    parameters: int
    error: float
    share: float
    worst: str
    seconds: float
    memory: int


def read_npz(path):
    """{key: array} of a file; it is closed also where it is broken."""
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def compare(check):
    """(Row, outputs by key) of a Check."""
    _forget_peak()
    since = time.perf_counter()
    outputs = {key: np.asarray(value) for key, value in check.compute().items()}
    seconds = time.perf_counter() - since
    found = {
        key: distance(outputs.get(key), expected, check.limit(key))
        for key, expected in check.published.items()
    }
    worst = max(found, key=lambda key: found[key][1])
    error = max(error for error, _ in found.values())
    share = found[worst][1]
    row = Row(check.name, check.parameters, error, share, worst, seconds, peak_memory())
    return row, outputs


def distance(ours, theirs, limit):
    """(largest difference, largest share of the limit); infinite where there is no comparing."""
    theirs = np.asarray(theirs)
    if ours is None or ours.shape != theirs.shape:
        return np.inf, np.inf
    if theirs.dtype.kind in "iub":
        difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
    else:
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    allowed = limit.absolute + limit.relative * np.abs(theirs.astype(np.float64))
    # What is equal is right, also where nothing is allowed; what is not a number is not.
    shares = np.where(difference == 0, 0, np.inf)
    np.divide(difference, allowed, out=shares, where=allowed > 0)
    largest = difference.max(initial=0), shares.max(initial=0)
    return tuple(float(value) if value == value else np.inf for value in largest)


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _forget_peak():
    """Lets the next `peak_memory` count from here, where the system can (Linux)."""
    with contextlib.suppress(OSError):  # some containers forbid it
        CLEAR.write_text("5")


def peak_memory():
    """The most bytes that this process held in memory, since `_forget_peak` on Linux."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


HEAD = (
    "| figures | parameters | largest error | of the limit | seconds | peak memory |",
    "|---|---|---|---|---|---|",
)


def table(rows, head=True):
    """The rows as a table, line by line."""
    yield from HEAD if head else ()
    for row in rows:
        parameters = f"{row.parameters:,}" if row.parameters else ""
        mark = "" if row.share <= 1 else f" OVER, in {row.worst}"
        yield (
            f"| {row.name} | {parameters} | {row.error:.1e} | {100 * row.share:.0f} %{mark} "
            f"| {row.seconds:.1f} | {row.memory / 2**30:.1f} GiB |"
        )
