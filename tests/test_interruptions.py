"""Trainings that are killed or asked to stop: the same command goes on to the same end."""

import contextlib
import random
import resource
import signal
from pathlib import Path

import pytest

from glide_jax.training.log import read_metrics
from tests import kills, pictures


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An undisturbed training: its weights and the losses that it logged."""
    run = tmp_path_factory.mktemp("reference") / "run"
    return kills.finish(run)[1], losses_of(run)


def losses_of(run):
    return [(r["step"], r["loss"]) for r in read_metrics(run / "metrics.jsonl") if "loss" in r]


@pytest.mark.long
def test_killed_at_random_in_a_save_and_after_one_a_training_ends_the_same(tmp_path, reference):
    run = tmp_path / "run"
    assert kills.kill(run, random.uniform(0, 0.01), saves=random.randint(1, 2)) == (True, True)
    # Its third save is of step 6 or later; the next kill is up to a second after that began.
    kills.kill(run, random.uniform(0, 1), saves=3)
    assert kills.finish(run)[1] == reference[0]
    assert losses_of(run) == reference[1]
    # The newest two, and those of every fourth step.
    kept = {path.name for path in (run / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {"4", "8", "10", "12"}


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_asked_to_stop_saves_first(tmp_path, reference, number):
    run = tmp_path / "run"
    process = kills.start(run)
    kills.wait_for(lambda: (run / "checkpoints" / "2").exists(), process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    last = errors.splitlines()[-1]
    assert last.startswith("train.py: stopped and saved at step ") and "goes on from there" in last
    step = int(last.split("step ")[1].split(";")[0])
    assert (run / "checkpoints" / str(step)).exists() and "Traceback" not in errors
    assert kills.finish(run)[1] == reference[0]


def said(errors):
    """What a training said beside its progress, line by line."""
    lines = (line.split("\r")[-1] for line in errors.splitlines())
    return [line for line in lines if line and not line.startswith("tiny: ")]


@contextlib.contextmanager
def only_small_files():
    """Lets processes that start in it write no file of a checkpoint's size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.long
def test_a_disk_that_is_full_at_the_first_checkpoint_is_one_sentence(
    tmp_path, reference, monkeypatch
):
    run = tmp_path / "run"
    with only_small_files(), monkeypatch.context() as patch:
        # A program that could not be kept, or was half-written by another worker when it was
        # looked for, would be one sentence more.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
        process = kills.start(run, cached_from="1e9")
    errors = process.communicate()[1]
    assert process.returncode == 2
    assert said(errors) == [
        f"train.py: a checkpoint could not be written to {run / 'checkpoints'} (File too large); "
        "older ones are as they were: make room or choose another --run"
    ]
    # Once there is room the same command begins, and ends, as if nothing had been.
    assert kills.finish(run)[1] == reference[0]


@pytest.mark.parametrize("run", ["{file}/run", "/proc/run"])
def test_a_run_that_cannot_be_written_is_one_sentence(tmp_path, run):
    (tmp_path / "file").write_text("")
    run = Path(run.format(file=tmp_path / "file"))
    process = kills.start(run, data=pictures.fill(tmp_path, 2))
    errors = process.communicate()[1]
    assert process.returncode == 2
    (sentence,) = said(errors)
    assert sentence.startswith(f"train.py: the run {run} cannot be written to (")
    assert sentence.endswith("choose another --run")
