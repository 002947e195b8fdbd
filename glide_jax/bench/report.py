"""What was timed, as figures and as a table."""

import os
import resource
import sys

import jax

from glide_jax import parallel
from glide_jax.evaluation.results import versions

# Of a row's figures those that the table has, each with its heading and its format. A star marks
# what is by processor time: it says more of a machine that others use, too.
COLUMNS = {
    "min": ("min s", ".4g"),
    "median": ("median s", ".4g"),
    "compiling": ("compiling s", ".3g"),
    "gflop": ("GFLOP", ".4g"),
    "gflops": ("GFLOP/s", ".4g"),
    "share": ("share", ".2f"),
    "processor_share": ("share*", ".2f"),
    "pictures": ("pictures/s", ".4g"),
    "ratio": ("ratio", ".2f"),
    "processor_ratio": ("ratio*", ".2f"),
}


def best_rates(parts, timings):
    """Floating-point operations a second of the best part: of the wall, and of the processor."""
    return (
        max(part.flops / timings[name].least for name, part in parts.items()),
        max(part.flops / timings[name].least_processor for name, part in parts.items()),
    )


def figures(part, timing, best, other=None):
    """The figures of a part, by name.

    Args:
        part: the Part.
        timing: its Timing.
        best: from `best_rates` of matrix products.
        other: the Timing of what it is compared with; a ratio above 1 says that it is faster.
    """
    on_cpu = jax.default_backend() == "cpu"
    found = {name: getattr(timing, name) for name in ("least", "median", "compiling")}
    found["min"] = found.pop("least")
    found["rounds"] = [spent._asdict() for spent in timing.rounds]
    if part.pictures:
        found["pictures"] = part.pictures / timing.least
    if part.flops:
        rate = part.flops / timing.least
        found |= {"gflop": part.flops / 1e9, "gflops": rate / 1e9, "share": rate / best[0]}
        if on_cpu:
            found["processor_share"] = part.flops / timing.least_processor / best[1]
    if other:
        found["ratio"] = other.least / timing.least
        if on_cpu:
            found["processor_ratio"] = other.least_processor / timing.least_processor
    return found


def machine():
    """What the figures were made with, and the most memory that was held."""
    device = parallel.peak_memory()
    return versions() | {
        "backend": jax.default_backend(),
        "cores": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "peak_gib": peak_resident() / 2**30,
        "peak_device_gib": device and device / 2**30,
    }


def peak_resident():
    """The most bytes of memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def table(report):
    """A report's figures as lines of text."""
    own, rows = report["machine"], report["parts"]
    kept = [name for name in COLUMNS if any(name in row for row in rows.values())]
    lines = [["", *(COLUMNS[name][0] for name in kept)]]
    for part, row in rows.items():
        cells = (format(row[name], COLUMNS[name][1]) if name in row else "" for name in kept)
        lines.append([part, *cells])
    first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    memory = f"{own['peak_gib']:.2f} GiB"
    if own["peak_device_gib"]:
        memory += f", {own['peak_device_gib']:.2f} of the device's"
    return [
        f"{report['recipe']}: {own['devices']}, {report['dtype']}; memory at most {memory}",
        *(
            "  ".join([name.ljust(first), *map(str.rjust, cells, widths)]).rstrip()
            for name, *cells in lines
        ),
    ]
