"""metrics.jsonl: one JSON object a line, each with its step."""

import json
import time

from glide_jax.files import read_text, write_text


class MetricsLog:
    """Appends to a run's metrics; lines past `start`, from steps that were lost, are dropped."""

    def __init__(self, path, start=0):
        self.path = path
        kept = [row for row in read_metrics(path) if row["step"] <= start]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))

    def write(self, step, values):
        """One line: the step, then the values by name."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | values) + "\n")


def read_metrics(path):
    """The lines of a metrics.jsonl as dictionaries; none where there is no file."""
    if not path.exists():
        return []
    lines = read_text(path).splitlines(keepends=True)
    # A killed run may have left half a line at the end.
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Meter:
    """Images a second since the last reading, without the time spent between pause and resume."""

    def __init__(self):
        self.images, self.seconds, self.since = 0, 0.0, time.perf_counter()

    def add(self, images):
        """Counts a step's images."""
        self.images += images

    def pause(self):
        """Stops the clock."""
        self.seconds += time.perf_counter() - self.since

    def resume(self):
        """Starts the clock again."""
        self.since = time.perf_counter()

    def read(self):
        """The rate since the last reading."""
        self.pause()
        rate = self.images / self.seconds
        self.images, self.seconds = 0, 0.0
        self.resume()
        return rate
