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

ROOT = pathlib.Path(__file__).parents[1]
OPTIONS = (
    *("--steps", "12", "--log-every", "3", "--sample-every", "6"),
    *("--checkpoint-every", "2", "--keep-every", "4"),
)


def start(run):
    """The training in the folder `run`, as a process."""
    command = [sys.executable, "train.py", "configs/tiny.py", "--run", str(run), *OPTIONS]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment())


def environment():
    """Quick to compile, and compiled once."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "XLA_FLAGS": flags,
    }


def finish(run):
    """Runs a training to its end: the seconds it took, and its weights as bytes."""
    since = time.perf_counter()
    process = start(run)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    return time.perf_counter() - since, (run / "params.safetensors").read_bytes()


def wait_for_a_save(run, process):
    """Returns once a checkpoint is being written, or the process has ended."""
    while process.poll() is None:
        if any("tmp" in path.name for path in (run / "checkpoints").glob("*")):
            return
        time.sleep(0.0005)


def kill(run, seconds, in_a_save):
    """Starts a training and kills it; whether it was killed before its end."""
    process = start(run)
    if in_a_save:
        wait_for_a_save(run, process)
        time.sleep(min(seconds, 0.02))
    else:
        time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def main(folder, number, seed=0):
    """Kills so many times; the number of trainings that then ended as the undisturbed one did.

    Raises a RuntimeError for a training that fails or ends otherwise.
    """
    folder, rng = pathlib.Path(folder), random.Random(seed)
    finish(folder / "first")  # compiles
    seconds, expected = finish(folder / "reference")
    kills = ends = 0
    run = folder / "killed"
    while kills < number:
        for _ in range(rng.randint(1, 5)):
            in_a_save = bool(kills % 2)
            kills += kill(run, rng.uniform(0, seconds), in_a_save)
        if finish(run)[1] != expected:
            raise RuntimeError(f"after {kills} kills {run} ended with other weights")
        shutil.rmtree(run)
        ends += 1
        print(f"{kills} kills, {ends} trainings with the same weights", flush=True)
    return ends


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100)
