"""Trainings that are killed or asked to stop: the same command goes on to the same end."""

import signal
import time

import pytest

from glide_jax.training.log import read_metrics
from tests import kills


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An undisturbed training: its weights and the losses that it logged."""
    run = tmp_path_factory.mktemp("reference") / "run"
    return kills.finish(run)[1], losses_of(run)


def losses_of(run):
    return [(r["step"], r["loss"]) for r in read_metrics(run / "metrics.jsonl") if "loss" in r]


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)


def test_killed_in_a_save_and_after_it_a_training_ends_the_same(tmp_path, reference):
    run = tmp_path / "run"
    assert kills.kill(run, 0.003, in_a_save=True)
    process = kills.start(run)
    wait_for(lambda: (run / "checkpoints" / "6").exists(), process)
    process.kill()
    process.communicate()
    assert kills.finish(run)[1] == reference[0]
    assert losses_of(run) == reference[1]
    # The newest two, and those of every fourth step.
    kept = {path.name for path in (run / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {"4", "8", "10", "12"}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_training_that_is_asked_to_stop_saves_first(tmp_path, reference, number):
    run = tmp_path / "run"
    process = kills.start(run)
    wait_for(lambda: (run / "checkpoints" / "2").exists(), process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    last = errors.splitlines()[-1]
    assert last.startswith("train.py: stopped and saved at step ") and "goes on from there" in last
    step = int(last.split("step ")[1].split(";")[0])
    assert (run / "checkpoints" / str(step)).exists() and "Traceback" not in errors
    assert kills.finish(run)[1] == reference[0]
