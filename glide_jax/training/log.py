"""metrics.jsonl: one JSON object a line, each with its step."""

import contextlib
import json
import time
import warnings

import jax

from glide_jax import parallel
from glide_jax.files import read_text, write_text


class MetricsLog:
    """Appends to a run's metrics.

    Lines past `start`, from steps that were lost, are dropped, and with a warning lines that cannot
    be read, as a power failure may leave.
    """

    def __init__(self, path, start=0):
        self.path = path
        rows = [_row(line) for line in _lines(path)]
        if spoiled := rows.count(None):
            warnings.warn(
                f"{path}: {spoiled} of {len(rows)} lines cannot be read and are left out",
                stacklevel=2,
            )
        kept = [row for row in rows if row is not None and row["step"] <= start]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))

    def write(self, step, values):
        """One line: the step, then the values by name."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | values) + "\n")


def read_metrics(path):
    """The lines of a metrics.jsonl as dictionaries; none where there is no file."""
    return [json.loads(line) for line in _lines(path)]


def _lines(path):
    """The whole lines: a killed run may have left half of one at the end."""
    if not path.exists():
        return []
    return [line for line in read_text(path).splitlines(keepends=True) if line.endswith("\n")]


def _row(line):
    """A line's dictionary, or None where it holds none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None


class Window:
    """What happened since the metrics were last read: means, rates, and what went wrong.

    Args:
        batch_size: pictures a step, over all devices.
        nonfinite: steps of the run so far whose loss or gradient was not finite.
        tolerated: how many there may be.

    Attributes:
        replaced: broken examples that others stood in for, in this process.
    """

    def __init__(self, batch_size, nonfinite=0, tolerated=0):
        self.batch_size, self.nonfinite, self.tolerated = batch_size, nonfinite, tolerated
        self.unchecked = None
        self._clear()

    def _clear(self):
        self.metrics, self.replaced = [], 0
        self.seconds = {"data_seconds": 0.0, "compute_seconds": 0.0}

    @contextlib.contextmanager
    def timed(self, name):
        """Adds the time that the `with` block takes to data_seconds or compute_seconds."""
        since = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - since

    def add(self, step, metrics):
        """A step's metrics, a Mean by name, as they are on their way; waits for the step before."""
        self.check()
        self.unchecked = step, metrics
        self.metrics.append(metrics)

    def check(self):
        """Raises a ValueError where the last step brings the ones not finite over what may be."""
        if self.unchecked is None:
            return
        (step, metrics), self.unchecked = self.unchecked, None
        nonfinite = int(jax.device_get(metrics["nonfinite"].total))
        self.nonfinite += nonfinite
        if nonfinite and self.nonfinite > self.tolerated:
            raise ValueError(
                f"the loss or its gradient is not finite at step {step}, and what it would change "
                "was left out; lower --optim.learning-rate, or let the run leave out N such steps "
                "with --optim.skip-nonfinite N (the last checkpoint is from before)"
            )

    def read(self):
        """The means by name, images a second and seconds a step; a new window begins."""
        with self.timed("compute_seconds"):
            self.check()
            windows = jax.device_get(self.metrics)
        steps = len(windows)
        row = {}
        for name in windows[0]:
            means = [window[name] for window in windows]
            count = sum(mean.count for mean in means)
            if count:
                row[name] = float(sum(mean.total for mean in means) / count)
        row["nonfinite"] = self.nonfinite
        row["replaced"] = parallel.sum_over_processes(self.replaced)
        row["images_per_second"] = steps * self.batch_size / sum(self.seconds.values())
        row |= {name: seconds / steps for name, seconds in self.seconds.items()}
        self._clear()
        return row
