"""Whole runs: what they leave, how they go on, and what they refuse."""

import dataclasses
import errno
import json
import shutil
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import Pipeline, checkpoint, model_folder
from glide_jax.checkpoint import Checkpoints, load_model
from glide_jax.config import Data
from glide_jax.data import pipeline as data
from glide_jax.files import write_text
from glide_jax.training import loop, programs, runs
from glide_jax.training.log import read_metrics
from glide_jax.training.report import Report
from glide_jax.training.step import Mean
from glide_jax.training.stop import StopRequests
from glide_jax.training.tasks import Diffusion
from tests import tiny

SHORT = dataclasses.replace(
    tiny.RECIPE,
    steps=6,
    log_every=2,
    checkpoint_every=2,
    sample_every=6,
    optim=dataclasses.replace(tiny.RECIPE.optim, warmup_steps=1, ema_decays=(0.99, 0.5)),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    loop.train(SHORT, run)
    return run


def test_a_run_ends_as_a_model_folder_with_its_metrics(finished):
    rows = [row for row in read_metrics(finished / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    for name in ("mse", "vb", "grad_norm", "learning_rate", "images_per_second"):
        assert all(np.isfinite(row[name]) for row in rows), name
    assert [r["step"] for r in read_metrics(finished / "metrics.jsonl") if "caption_gap" in r] == [
        6
    ]
    assert (finished / "samples" / "00000006.png").exists()
    assert Pipeline.load(finished).text_to_image(["a red circle"], steps=2).std() > 0


def test_the_model_is_the_moving_average(finished):
    with Checkpoints(finished, read_only=True) as checkpoints:
        ema_params = checkpoints.restore_ema(SHORT.model, 0.99, 6)
    jax.tree.map(np.testing.assert_array_equal, load_model(finished)[2], ema_params)


@pytest.mark.long
def test_a_run_cut_off_goes_on_to_the_same_end(finished, tmp_path, monkeypatch):
    batches = data.batches

    def cut_off(*arguments):
        for k, batch in enumerate(batches(*arguments)):
            if k == 5:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(data, "batches", cut_off)
    with pytest.raises(KeyboardInterrupt):
        loop.train(SHORT, tmp_path)
    starts = []
    record = lambda *arguments: starts.append(arguments[2]) or batches(*arguments)  # noqa: E731
    monkeypatch.setattr(data, "batches", record)
    assert not (tmp_path / "params.safetensors").exists()
    assert Pipeline.load(tmp_path).model == SHORT.model  # from the newest checkpoint
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # as a kill in mid-line leaves it
    loop.train(SHORT, tmp_path)
    assert starts == [4]
    whole, resumed = (f / "params.safetensors" for f in (finished, tmp_path))
    assert whole.read_bytes() == resumed.read_bytes()
    losses = [
        [(row["step"], row["loss"]) for row in read_metrics(f / "metrics.jsonl") if "loss" in row]
        for f in (finished, tmp_path)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "a run with batch_size 8, not 4: choose another --run"),
        ({"seed": 1}, "a run with seed 0, not 1"),
        (
            # It says which small parameters are packed together for the optimizer.
            {"optim": dataclasses.replace(SHORT.optim, no_weight_decay=("*/bias",))},
            r"a run with optim.no_weight_decay \(\), not \('\*/bias',\)",
        ),
        ({"data": Data(tiers=(3,))}, r"a run with data.tiers \(1, 2, 3\), not \(3,\)"),
        (
            {"timestep_sampler": "logit_normal", "logit_normal": (1.0, 1.4)},
            "a run with timestep_sampler uniform, not logit_normal",
        ),
        (
            {"model": dataclasses.replace(SHORT.model, schedule="linear")},
            "a run with model.schedule squaredcos_cap_v2, not linear",
        ),
    ],
)
def test_a_run_of_another_recipe_is_not_gone_on_with(finished, change, message):
    with pytest.raises(ValueError, match=message):
        loop.train(dataclasses.replace(SHORT, **change), finished)
    assert json.loads((finished / "recipe.json").read_text())["batch_size"] == 8


def test_a_run_is_not_taken_back(finished):
    with pytest.raises(ValueError, match="is at step 6 already; --steps is 4"):
        loop.train(dataclasses.replace(SHORT, steps=4), finished)
    assert json.loads((finished / "recipe.json").read_text())["steps"] == 6


def test_a_run_that_goes_on_has_no_end_until_it_comes(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(loop, "run_steps", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.train(dataclasses.replace(SHORT, steps=8), run)
    assert not (run / "params.safetensors").exists()


def test_a_folder_that_holds_no_run_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("a model's")
    with pytest.raises(ValueError, match="is not empty and holds no run: choose another --run"):
        loop.train(SHORT, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_run_that_could_not_be_begun_whole_is_begun_by_the_same_command(tmp_path, monkeypatch):
    run, written = tmp_path / "run", []

    def full(path, content):
        if len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write_text(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_text", full)
        patch.setattr(model_folder, "write_text", full)
        with pytest.raises(OSError, match="cannot be written to .No space left on device"):
            runs.prepare(SHORT, run, tiny.SOURCE)
    left = run / f".config.json.{'0f' * 16}"  # as kill -9 leaves it
    left.write_text("{")
    tokenizer = runs.prepare(SHORT, run, tiny.SOURCE)
    assert model_folder.load_description(run)[0] == SHORT.model
    assert checkpoint.load_recipe(run) == SHORT
    captions = ["a red circle"]
    again = runs.prepare(SHORT, run, tiny.SOURCE)
    np.testing.assert_array_equal(again.encode(captions)[0], tokenizer.encode(captions)[0])
    # With that file alone it is not a run yet, and anything else is somebody's.
    (tmp_path / "new").mkdir()
    left.rename(tmp_path / "new" / left.name)
    runs.prepare(SHORT, tmp_path / "new", tiny.SOURCE)


def test_a_stop_is_not_said_to_be_saved_where_it_is_not(tmp_path, monkeypatch):
    failures, save = [], Checkpoints.save

    def begin(checkpoints, *given):  # the save begins, and fails once it is waited for
        save(checkpoints, *given)
        failures.append(OSError(errno.ENOSPC, "No space left on device"))

    def unwritten(manager):  # told once, as orbax does
        if failures:
            raise failures.pop()

    stop = signal.SIGTERM
    monkeypatch.setattr(StopRequests, "asked_at", lambda self, step: stop if step == 1 else None)
    monkeypatch.setattr(Checkpoints, "save", begin)
    manager = checkpoint.ocp.CheckpointManager
    monkeypatch.setattr(manager, "wait_until_finished", unwritten)
    with pytest.raises(OSError, match="a checkpoint could not be written .*No space left"):
        loop.train(SHORT, tmp_path)


def test_what_is_due_is_saved_before_it_is_drawn_and_a_stop_is_not_the_best(monkeypatch):
    saved, own = [], object.__new__(Report)
    own.checkpoints = SimpleNamespace(save=lambda state, metrics: saved.append(metrics))
    every = {"log_every": 100, "checkpoint_every": 4, "sample_every": 8, "steps": 100}
    own.recipe, own.draws = dataclasses.replace(SHORT, keep_best="loss", **every), True
    monkeypatch.setattr(Report, "_log", lambda *_: {"loss": 0.1})
    for name in ("_evaluate", "_ema_params"):
        monkeypatch.setattr(Report, name, lambda *_: {})
    window = SimpleNamespace(check=lambda: None)
    own.after_step(4, None, window, None, is_stopping=False)
    own.after_step(5, None, window, None, is_stopping=True)  # by a loss of one step
    assert saved == [{"loss": 0.1}, None]

    def draw(*_):
        raise ValueError("no picture")

    monkeypatch.setattr(Report, "draw", draw)
    with pytest.raises(ValueError, match="no picture"):
        own.after_step(8, None, window, None, is_stopping=False)
    assert len(saved) == 3


def test_grids_that_could_not_be_drawn_are_refused_before_anything_is_written(tmp_path):
    recipe = dataclasses.replace(SHORT, sample_steps=1001)
    with pytest.raises(ValueError, match="Recipe.sample_steps is 1001; allowed: 1 to 1000"):
        loop.train(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_broken_recipe_is_named(tmp_path):
    (tmp_path / "recipe.json").write_text('{"steps": 3}')
    with pytest.raises(ValueError, match="recipe.json is not a recipe .*lacks the field 'name'"):
        loop.train(SHORT, tmp_path)


def test_pictures_smaller_than_the_data_has_are_refused_before_anything_is_written(tmp_path):
    unet = dataclasses.replace(SHORT.model.unet, image_size=16)
    model = dataclasses.replace(SHORT.model, unet=unet)
    with pytest.raises(ValueError, match="image_size is 16; shapes are drawn at 32 or more"):
        loop.train(dataclasses.replace(SHORT, model=model), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def fresh_programs():
    """Programs of a patched loss are not to be those of another test."""
    programs.programs_of.cache_clear()
    yield
    programs.programs_of.cache_clear()


def poison(monkeypatch, *steps):
    """Makes the loss of these steps, the first of which is 1, not a number."""
    batches, loss = data.batches, Diffusion.loss

    def poisoned(*arguments):
        first = arguments[2] + 1
        for step, batch in enumerate(batches(*arguments), first):
            value = np.nan if step in steps else 0
            yield batch | {"poison": np.full(len(batch["row"]), value, np.float32)}

    def with_poison(task, params, batch, *more):
        value, seen = loss(task, params, batch, *more)
        amount = jnp.sum(batch["poison"])
        seen.metrics["loss"] = Mean(seen.metrics["loss"].total + amount, seen.metrics["loss"].count)
        return value + amount, seen

    monkeypatch.setattr(data, "batches", poisoned)
    monkeypatch.setattr(Diffusion, "loss", with_poison)


@pytest.mark.long
def test_a_loss_that_is_not_finite_once_too_often_stops_the_run_at_its_step(
    tmp_path, monkeypatch, fresh_programs
):
    def tolerating(number):
        optim = dataclasses.replace(SHORT.optim, skip_nonfinite=number)
        return dataclasses.replace(SHORT, optim=optim)

    poison(monkeypatch, 3, 5)
    with pytest.raises(ValueError, match="not finite at step 5, .*--optim.skip-nonfinite N"):
        loop.train(tolerating(1), tmp_path)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [(row["step"], row["nonfinite"]) for row in rows] == [(2, 0), (4, 1)]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [2, 4]
        ema_params = checkpoints.restore_ema(SHORT.model, 0.99, 4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ema_params))
    assert not (tmp_path / "params.safetensors").exists()
    # The same command, allowed one more, goes on from there and has not forgotten the first.
    loop.train(tolerating(2), tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl")[-2]["nonfinite"] == 2
    assert (tmp_path / "params.safetensors").exists()


def test_batches_are_a_function_of_their_number(tokenizer):
    stream = tiny.batches(2, 4, tokenizer)
    again = tiny.batches(3, 4, tokenizer)[0]
    jax.tree.map(np.testing.assert_array_equal, stream[1], again)
    assert (stream[0]["image"] != stream[1]["image"]).any()
    assert tiny.batches(3, 3, tokenizer) == []
