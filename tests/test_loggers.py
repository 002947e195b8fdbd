"""TensorBoard and W&B get what metrics.jsonl and samples/ get, each step once.

TensorBoard's files are written by the real package and read back. W&B's package is large, so a
stand-in takes its place, and its calls are checked.
"""

import dataclasses
import io
import json
import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from glide_jax.training import loggers, loop
from glide_jax.training.log import read_metrics
from glide_jax.training.report import Report
from tests import tiny

SHORT = dataclasses.replace(
    tiny.RECIPE,
    steps=6,
    log_every=1,
    checkpoint_every=2,
    sample_every=3,
    loggers=("tensorboard", "wandb"),
)


class StandIn(types.ModuleType):
    """What of the package wandb is used, remembering its calls."""

    class Error(Exception):
        """The package's own."""

    def __init__(self):
        super().__init__("wandb")
        self.Settings, self.Image = dict, np.asarray
        self.begun, self.logged, self.finished = [], [], 0

    def init(self, **settings):
        """A run, which is this object itself."""
        self.begun.append(settings)
        return self

    def log(self, values, step):
        """Remembers a row."""
        self.logged.append((step, values))

    def finish(self):
        """Counts the ends."""
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", stand_in := StandIn())
    return stand_in


def events(folder):
    """The events of a folder's files, in the files' order."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])  # then a checksum; another at the end
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def shown(folder):
    """What TensorBoard shows: (step, name, value) without what a later start took back."""
    kept = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            kept = [each for each in kept if each[0] < event.step]
        kept += [(event.step, value.tag, value) for value in event.summary.value]
    return kept


def scalars(folder):
    """Those of them that are numbers."""
    return [(s, tag, v.simple_value) for s, tag, v in shown(folder) if v.HasField("simple_value")]


def rows_of(run):
    """What metrics.jsonl has, likewise."""
    rows = read_metrics(run / "metrics.jsonl")
    return [(row["step"], name, row[name]) for row in rows for name in row if name != "step"]


def flat(logged):
    """What W&B was given, likewise."""
    return [(step, name, value) for step, row in logged for name, value in row.items()]


@pytest.mark.long
def test_a_run_that_is_cut_off_has_each_step_once(tmp_path, monkeypatch, wandb):
    after_step = Report.after_step

    def cut_off(report, done, *arguments, **options):
        after_step(report, done, *arguments, **options)
        if done == 5:
            raise OSError("the power went")

    monkeypatch.setattr(Report, "after_step", cut_off)
    with pytest.raises(OSError, match="the power went"):
        loop.train(SHORT, tmp_path)
    monkeypatch.setattr(Report, "after_step", after_step)
    lost = {name: value for step, name, value in rows_of(tmp_path) if step == 5}
    loop.train(SHORT, tmp_path)  # from step 4

    expected = rows_of(tmp_path)
    found = scalars(tmp_path / "tensorboard")
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    assert [v for *_, v in found] == pytest.approx([v for *_, v in expected], rel=1e-6)
    grids = [(step, value.image) for step, tag, value in shown(tmp_path / "tensorboard")]
    grids = [(step, image) for step, image in grids if image.encoded_image_string]
    assert [step for step, _ in grids] == [3, 6]
    for step, image in grids:
        drawn = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        saved = np.asarray(Image.open(tmp_path / "samples" / f"{step:08d}.png"))
        np.testing.assert_array_equal(drawn, saved)

    mirrored = flat(wandb.logged)
    pictures = [(step, value) for step, name, value in mirrored if name == "samples"]
    assert [step for step, _ in pictures] == [3, 6]
    np.testing.assert_array_equal(pictures[1][1], drawn)
    # Step 5 is there once, as it was before the power went.
    expected = [each if each[0] != 5 else (*each[:2], lost[each[1]]) for each in expected]
    assert [each for each in mirrored if each[1] != "samples"] == expected
    first, second = wandb.begun
    assert first["id"] == second["id"] and second["resume"] == "allow" and wandb.finished == 2
    assert first["name"] == "tiny" and first["config"]["batch_size"] == 8
    assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": first["id"], "step": 6}


def test_a_run_from_the_beginning_takes_everything_back(tmp_path):
    for start, value in ((0, 1.0), (0, 2.0), (1, 3.0)):
        (logger,) = loggers.open_loggers(
            dataclasses.replace(SHORT, loggers=("tensorboard",)), tmp_path, start
        )
        logger.write(start + 1, {"loss": value})
        logger.close()
    assert scalars(tmp_path / "tensorboard") == [(1, "loss", 2.0), (2, "loss", 3.0)]


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
@pytest.mark.parametrize("there", [None, types.ModuleType("a folder of the user's")])
def test_a_missing_package_is_refused_before_anything_is_written(
    name, package, there, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, there)
    recipe = dataclasses.replace(SHORT, loggers=(name,))
    message = rf"{package} is missing: pip install '\.\[{name}\]'"
    with pytest.raises(ValueError, match=message):
        loop.train(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_wandb_that_refuses_is_one_sentence(tmp_path, monkeypatch, wandb):
    def refuse(**settings):
        raise wandb.Error("no API key")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ValueError, match="W&B cannot begin, or go on with, a run: no API key"):
        loggers.open_loggers(dataclasses.replace(SHORT, loggers=("wandb",)), tmp_path, 0)


def test_a_logger_twice_is_refused():
    with pytest.raises(ValueError, match="Recipe.loggers is .*; allowed: each of them once"):
        dataclasses.replace(SHORT, loggers=("wandb", "wandb"))
