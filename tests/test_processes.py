"""Two processes that train together, on this machine: they stop together, and one goes on alone."""

import contextlib
import signal
import socket

import numpy as np
import pytest
from safetensors.numpy import load_file

from glide_jax.training.log import read_metrics
from tests import kills
from tests.one_step import distance

ENDLESS = ("--steps", "100000", "--sample-every", "100000", "--checkpoint-every", "5")


def free_address():
    """A port of this machine that nothing listens at, as HOST:PORT."""
    with contextlib.closing(socket.create_server(("localhost", 0))) as server:
        return f"localhost:{server.getsockname()[1]}"


def start_two(run, *options, devices=1):
    """One training in two processes of so many devices each."""
    together = ("--coordinator", free_address(), "--num-processes", "2", "--process-id")
    return [kills.start(run, *options, *together, number, devices=devices) for number in "01"]


def end(process):
    """How a process ended: its exit code, and the last line of what it said."""
    errors = process.communicate(timeout=300)[1]
    assert "Traceback" not in errors, errors
    return process.returncode, errors.splitlines()[-1]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run whose second process was sent a SIGTERM: the run, and how both ended."""
    run = tmp_path_factory.mktemp("together") / "run"
    processes = start_two(run, *ENDLESS)
    try:
        kills.wait_for(lambda: (run / "checkpoints" / "5").exists(), processes[0])
        processes[1].send_signal(signal.SIGTERM)
        ends = [end(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return run, ends


def step_of(run):
    """The newest checkpoint's step."""
    return max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.long
def test_a_signal_to_one_process_stops_both_at_the_same_step(stopped):
    run, ends = stopped
    saved = (
        f"train.py: stopped and saved at step {step_of(run)}; the same command goes on from there"
    )
    assert ends == [(128 + signal.SIGTERM, saved)] * 2
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == step_of(run)


@pytest.mark.long
def test_one_process_goes_on_to_the_end_of_one_that_was_alone(stopped, tmp_path):
    run, _ = stopped
    last = ("--steps", str(step_of(run) + 3), "--sample-every", "100000")
    kills.finish(run, *last)
    kills.finish(tmp_path / "alone", *last)
    found, expected = (load_file(r / "params.safetensors") for r in (run, tmp_path / "alone"))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.slow
def test_two_processes_of_four_devices_are_gone_on_with_by_one_of_eight(tmp_path):
    """The state is spread over both, and both are killed."""
    run = tmp_path / "run"
    # A run that is told to end soon warms up sooner: here not, whatever its steps.
    spread = ("--parallel", "fsdp", "--batch-size", "8", "--optim.warmup-steps", "1")
    processes = start_two(run, *ENDLESS, *spread, devices=4)
    try:
        kills.wait_for(lambda: (run / "checkpoints" / "5").exists(), processes[0])
    finally:
        for process in reversed(processes):
            process.kill()
            process.communicate()
    last = ("--steps", str(step_of(run) + 3), "--sample-every", "100000", *spread)
    kills.finish(run, *last, devices=8)
    kills.finish(tmp_path / "alone", *last, devices=8)
    found, expected = (load_file(r / "params.safetensors") for r in (run, tmp_path / "alone"))
    assert distance(found, expected) < 1e-5
