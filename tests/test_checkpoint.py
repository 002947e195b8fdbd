"""Runs on disk: which steps stay, and what is done about those that cannot be read or written."""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import checkpoint, model_folder, parallel
from glide_jax.training.step import TrainState
from tests import tiny

ROOT = pathlib.Path(__file__).parents[1]


def test_reading_a_run_leaves_a_save_in_flight_alone(tmp_path, tokenizer, params):
    model_folder.save_description(tmp_path, tiny.MODEL, tokenizer)
    checkpoint.save_recipe(tmp_path, tiny.RECIPE)
    averages = {"0.99": jax.tree.map(lambda leaf: leaf + 1, params)}
    state = TrainState(jnp.array(3), params, averages, ())
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(parallel.replicate(state))
    in_flight = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp"
    in_flight.mkdir()
    # Saved from two devices, the average is read on one.
    _, _, read = checkpoint.load_model(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, read, averages["0.99"])
    assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(read)} == {1}
    assert in_flight.exists()
    with pytest.raises(ValueError, match="step is 2; .* has 3"):
        checkpoint.load_model(tmp_path, step=2)
    with pytest.raises(ValueError, match="ema_decay is 0.5; .* has 0.99"):
        checkpoint.load_model(tmp_path, ema_decay=0.5)


# Not a constant, which would be stored as next to nothing.
NOISE = np.random.default_rng(0).random((64, 64), np.float32)


def small_state(step):
    """A train state that tells its step, of two averages."""
    of = lambda value: {"w": value + NOISE}  # noqa: E731
    averages = {"0.9": of(step + 0.5), "0.99": of(step + 0.75)}
    return parallel.replicate(TrainState(jnp.array(step), of(step), averages, ()))


def save_steps(run, steps, metrics=None, **kept):
    with checkpoint.Checkpoints(run, **kept) as checkpoints:
        for step in steps:
            checkpoints.save(small_state(step), metrics and {kept["keep_best"]: metrics[step]})


def steps_of(run):
    with checkpoint.Checkpoints(run, read_only=True) as checkpoints:
        return checkpoints.steps()


def test_the_newest_every_nth_and_the_best_stay(tmp_path):
    loss = dict(zip(range(1, 10), (9, 8, 1, 7, 3, 6, 5, 4, 4.5), strict=True))
    save_steps(tmp_path, range(1, 6), loss, keep=2, keep_every=4, keep_best="eval_loss")
    assert steps_of(tmp_path) == [3, 4, 5]
    # A run that goes on knows what was best before.
    save_steps(tmp_path, range(6, 10), loss, keep=2, keep_every=4, keep_best="eval_loss")
    assert steps_of(tmp_path) == [3, 4, 8, 9]
    with checkpoint.Checkpoints(tmp_path, keep_best="eval_loss", read_only=True) as checkpoints:
        assert checkpoints.best_step() == 3


def test_the_best_gap_is_the_largest_and_what_was_not_measured_is_not_the_best(tmp_path):
    gap = {1: 0.5, 2: 0.75, 3: float("nan"), 4: 0.25}
    save_steps(tmp_path, range(1, 5), gap, keep=1, keep_best="caption_gap")
    assert steps_of(tmp_path) == [2, 4]


def flip_a_bit(content):
    """With one bit in the middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "overwritten": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit changed": lambda path: path.write_bytes(flip_a_bit(path.read_bytes())),
    "removed": lambda path: path.unlink(),
}


# The reads that orbax leaves of such a step end after its event loop is closed.
@pytest.mark.filterwarnings("ignore:Exception ignored in. None")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_newest_step_that_cannot_be_read_gives_way_to_the_one_before(tmp_path, damage):
    save_steps(tmp_path, (1, 2, 3), keep=3)
    largest = max(
        (path for path in (tmp_path / "checkpoints" / "3").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    DAMAGES[damage](largest)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        message = "step 3 cannot be read and is moved to unreadable/3.* goes on from step 2"
        with pytest.warns(UserWarning, match=message):
            state = checkpoints.restore(small_state(0))
        assert state.step == 2 and (state.params["w"] == 2 + NOISE).all()
        assert (state.ema_params["0.99"]["w"] == 2.75 + NOISE).all()
        checkpoints.save(small_state(3))
    assert steps_of(tmp_path) == [2, 3]
    assert len(list((tmp_path / "unreadable").iterdir())) == 1


@pytest.mark.filterwarnings("ignore:Exception ignored in. None")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_of_a_step_that_cannot_be_read_is_a_sentence(tmp_path, damage, monkeypatch):
    monkeypatch.setattr(checkpoint, "param_shapes", lambda model: {"w": jnp.zeros((64, 64))})
    with checkpoint.Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):  # next to nothing but the average
            average = {"0.99": {"w": step + 0.75 + NOISE}}
            state = TrainState(jnp.array(step), {"w": jnp.zeros(())}, average, ())
            checkpoints.save(parallel.replicate(state))
    files = [path for path in (tmp_path / "checkpoints" / "3").rglob("*") if path.is_file()]
    DAMAGES[damage](max(files, key=lambda path: path.stat().st_size))
    with checkpoint.Checkpoints(tmp_path, read_only=True) as checkpoints:
        with pytest.raises(ValueError, match="step 3 in .* cannot be read .*the steps 1, 2$"):
            checkpoints.restore_ema(None, 0.99, 3)
        assert (checkpoints.restore_ema(None, 0.99, 2)["w"] == 2.75 + NOISE).all()


def test_an_average_without_decay_is_the_weights_themselves(tmp_path, tokenizer, params):
    model_folder.save_description(tmp_path, tiny.MODEL, tokenizer)
    optim = dataclasses.replace(tiny.RECIPE.optim, ema_decays=(0.99, 0.0))
    checkpoint.save_recipe(tmp_path, dataclasses.replace(tiny.RECIPE, optim=optim))
    averages = {"0.99": jax.tree.map(lambda leaf: leaf + 1, params), "0.0": params}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(parallel.replicate(TrainState(jnp.array(3), params, averages, ())))
    for decay, average in averages.items():
        read = checkpoint.load_model(tmp_path, ema_decay=float(decay))[2]
        jax.tree.map(np.testing.assert_array_equal, read, average)
    read = checkpoint.load_model(tmp_path)[2]
    jax.tree.map(np.testing.assert_array_equal, read, averages["0.99"])


def test_the_best_step_of_a_run_is_read(tmp_path, tokenizer, params):
    model_folder.save_description(tmp_path, tiny.MODEL, tokenizer)
    checkpoint.save_recipe(tmp_path, dataclasses.replace(tiny.RECIPE, keep_best="eval_loss"))
    with checkpoint.Checkpoints(tmp_path, keep_best="eval_loss") as checkpoints:
        for step, loss in ((1, 0.1), (2, 0.2)):
            average = {"0.99": jax.tree.map(lambda leaf, by=step: leaf + by, params)}
            state = TrainState(jnp.array(step), {"w": jnp.zeros(())}, average, ())
            checkpoints.save(parallel.replicate(state), {"eval_loss": loss})
    for step, by in (("best", 1), (None, 2), (2, 2)):
        read = checkpoint.load_model(tmp_path, step=step)[2]
        expected = jax.tree.map(lambda leaf, by=by: leaf + by, params)
        jax.tree.map(np.testing.assert_array_equal, read, expected)


def test_where_no_step_can_be_read_all_stay(tmp_path):
    save_steps(tmp_path, (1, 2))
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="none of the checkpoints .* can be read .of step 2"):
            checkpoints.restore(small_state(0))
        assert checkpoints.steps() == [1, 2]


def test_a_full_disk_is_one_sentence_and_older_steps_stay(tmp_path):
    save_steps(tmp_path, (1, 2))
    program = f"""
import jax, resource, signal, sys
from tests.test_checkpoint import save_steps
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
try:
    save_steps({str(tmp_path)!r}, (3, 4))
except OSError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stderr
    assert "a checkpoint could not be written to" in lines[0] and "choose another --run" in lines[0]
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        assert (checkpoints.restore(small_state(0)).params["w"] == 2 + NOISE).all()
