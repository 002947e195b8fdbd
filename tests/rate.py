"""python -m tests.rate FOLDER [NUMBER] [WORKERS]: how fast pictures are read, and in what memory.

FOLDER is filled with 2,000 made-up photographs, JPEGs of 256 pixels and quality 90, where it is not
there. NUMBER examples (50,000) are then made of them at 64 pixels, as a training would get them;
WORKERS is --data.workers (0). Each line has the rate since the line before, the rate that as many
cores would give whose time was this program's alone, and the memory of all of its processes.
"""

import os
import pathlib
import sys
import time

import numpy as np
from PIL import Image

from glide_jax.config import Data, TextEncoder
from glide_jax.data import pipeline
from glide_jax.text import tokenizer as text

PHOTOGRAPHS, SIDE, QUALITY = 2000, 256, 90
SIZE, BATCH, LINES = 64, 64, 20
TICKS = os.sysconf("SC_CLK_TCK")


def photograph(rng):
    """Noise with as much at each scale as photographs have, uint8 [SIDE, SIDE, 3]."""
    picture = np.zeros((SIDE, SIDE, 3))
    for side in (2, 4, 8, 16, 32, 64, 128, 256):
        grain = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        scaled = Image.fromarray(grain).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture += (np.asarray(scaled) - 127.5) * side**-0.5
    return np.clip(127.5 + picture, 0, 255).astype(np.uint8)


def fill(folder):
    """Writes the photographs, each with its caption beside it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(PHOTOGRAPHS):
        Image.fromarray(photograph(rng)).save(folder / f"{i:05d}.jpg", quality=QUALITY)
        (folder / f"{i:05d}.txt").write_text(f"a made-up photograph, number {i}\n")


def descendants(process="self"):
    """The folders in /proc of this process and of those it started."""
    yield (folder := pathlib.Path("/proc") / str(process))
    for task in (folder / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield from descendants(child)


def cpu_seconds():
    """What the processor has spent on them so far."""
    fields = [(f / "stat").read_text().rpartition(")")[2].split() for f in descendants()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS  # user and system


def mebibytes():
    """The memory they hold; what they share counts once."""
    lines = [line for f in descendants() for line in (f / "smaps_rollup").read_text().split("\n")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main(folder, number=50_000, workers=0):
    """Fills the folder if need be, and measures; prints a line for each twentieth."""
    folder = pathlib.Path(folder)
    if not folder.exists():
        fill(folder)
    data = Data(source="folder", path=str(folder), workers=workers)
    source = pipeline.open_source(data, SIZE)
    tokenizer = text.train(
        pipeline.captions(source, 500), TextEncoder(context=32, vocab_size=400, width=8, heads=1)
    )
    cores, steps = len(os.sched_getaffinity(0)), -(-number // BATCH)
    every, started = -(-steps // LINES), time.perf_counter()
    since, spent = started, cpu_seconds()
    print(f"{cores} cores, {workers} workers, {len(source)} pictures")
    stream = pipeline.batches(data, source, 0, steps, BATCH, SIZE, tokenizer)
    for step, batch in enumerate(stream, 1):
        assert batch["image"].shape == (BATCH, SIZE, SIZE, 3) and not batch["replaced"].any()
        if step % every == 0:
            now, cpu = time.perf_counter(), cpu_seconds()
            made = every * BATCH
            print(
                f"{step * BATCH:>9,} examples, {made / (now - since):6.0f} a second "
                f"({cores * made / (cpu - spent):.0f} with all cores' time), {mebibytes():.0f} MiB",
                flush=True,
            )
            since, spent = now, cpu
    print(f"{steps * BATCH / (time.perf_counter() - started):.0f} a second in all")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
