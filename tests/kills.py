"""python -m tests.kills FOLDER [NUMBER]: kills trainings again and again, and compares their ends.

A tiny training is run once undisturbed. Then the same is run with kill -9 at random moments, every
other one while a checkpoint is being written, and started again by the same command until it ends.
Its weights must be those of the first, bit for bit; then the next training begins, until there have
been NUMBER kills.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

from tests import pictures, xla

ROOT = pathlib.Path(__file__).parents[1]
# The tiny recipe made tinier, so that starting takes most of the time.
OPTIONS = (
    *("--model.unet.image-size", "8", "--model.unet.channel-mult", "1", "--data.source", "folder"),
    *("--steps", "12", "--batch-size", "4", "--log-every", "2", "--sample-every", "12"),
    *("--checkpoint-every", "2", "--keep-every", "4"),
)


def start(run, *options, data=None, devices=2, cached_from="0.1", **settings):
    """The training in the folder `run`, on pictures in one beside it or in `data`, as a process.

    Programs that take so many seconds to compile are kept for others.
    """
    if data is None:
        data = run.parent / "pictures"
        if not data.exists():
            data.mkdir(parents=True)
            pictures.fill(data, 20)
    recipe = ("configs/tiny.py", "--run", str(run), "--data.path", str(data), *OPTIONS, *options)
    return subprocess.Popen(
        [sys.executable, "train.py", *recipe],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(devices, cached_from),
        **settings,
    )


def environment(devices, cached_from="0.1"):
    """So many devices, quick to compile for, and that once."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": cached_from,
        "XLA_FLAGS": xla.flags(devices),
    }


def finish(run, *options, devices=2):
    """Runs a training to its end: the seconds it took, and its weights as bytes."""
    since = time.perf_counter()
    process = start(run, *options, devices=devices)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    return time.perf_counter() - since, (run / "params.safetensors").read_bytes()


def wait_for(condition, process):
    """Returns once a condition of a process at work holds; fails where the process ends before."""
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)


def is_saving(run):
    """Whether a checkpoint is half-written, by a process at work or one that was killed."""
    return any("tmp" in path.name for path in (run / "checkpoints").glob("*"))


def wait_for_a_save(run, process):
    """Returns once a checkpoint begins to be written, or the process has ended."""
    # What an earlier kill left is removed before.
    for wanted in (False, True):
        while is_saving(run) != wanted and process.poll() is None:
            time.sleep(0.002)


def kill(run, seconds, saves=0):
    """Starts a training and kills it after so many seconds, counted from its `saves`-th save on.

    Returns whether it was killed before its end, and whether inside a save.
    """
    process = start(run)
    for _ in range(saves):
        wait_for_a_save(run, process)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL, is_saving(run)


def main(folder, number, seed=0):
    """Kills so many times, and prints how often, and how many trainings then ended the same.

    Raises a RuntimeError for a training that fails or ends otherwise.
    """
    folder, rng = pathlib.Path(folder), random.Random(seed)
    finish(folder / "first")  # compiles
    seconds, expected = finish(folder / "reference")
    kills = inside = ends = 0
    run = folder / "killed"
    while kills < number:
        for _ in range(rng.randint(1, 7)):
            aims_at_a_save = kills % 2
            moment = rng.uniform(0, 0.02 if aims_at_a_save else seconds)
            was_killed, in_a_save = kill(run, moment, rng.randint(1, 4) if aims_at_a_save else 0)
            kills += was_killed
            inside += was_killed and in_a_save
        if finish(run)[1] != expected:
            raise RuntimeError(f"after {kills} kills {run} ended with other weights")
        shutil.rmtree(run)
        ends += 1
        print(f"{kills} kills, {inside} in a save; {ends} trainings ended the same", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100)
