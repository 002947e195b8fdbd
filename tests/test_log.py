"""metrics.jsonl, and the means that go into it."""

import time

import numpy as np
import pytest

from glide_jax.training.log import MetricsLog, Window, read_metrics
from glide_jax.training.step import Mean


def test_a_window_stops_a_run_that_is_not_finite_once_too_often():
    def metrics(nonfinite):
        return {"loss": Mean(np.float32(2), np.float32(4)), "nonfinite": Mean(nonfinite, 1.0)}

    window = Window(batch_size=4, nonfinite=1, tolerated=2)
    for step, nonfinite in enumerate((0, 1, 0), 1):
        window.add(step, metrics(nonfinite))
    assert window.read()["nonfinite"] == 2
    window.add(4, metrics(1))
    with pytest.raises(ValueError, match="not finite at step 4, .* --optim.skip-nonfinite N"):
        window.check()


def test_a_window_s_means_are_over_its_steps():
    window = Window(batch_size=8)
    for step, (total, count) in enumerate(((3.0, 1.0), (0.0, 0.0), (5.0, 3.0))):
        few = {"loss_q0": Mean(total, count), "loss_q1": Mean(0.0, 0.0)}
        window.add(step, few | {"loss": Mean(float(step), 1.0), "nonfinite": Mean(0.0, 1.0)})
    with window.timed("data_seconds"):
        time.sleep(0.06)
    row = window.read()
    assert row["loss_q0"] == 2 and row["loss"] == 1 and "loss_q1" not in row
    assert row["data_seconds"] >= 0.02 and row["compute_seconds"] < row["data_seconds"]
    rate = 8 / (row["data_seconds"] + row["compute_seconds"])
    assert row["images_per_second"] == pytest.approx(rate)


def test_metrics_of_lost_steps_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (1, 2, 3):
        log.write(step, {"loss": step / 2})
    MetricsLog(path, start=2).write(3, {"loss": 9.0})
    assert [row["loss"] for row in read_metrics(path)] == [0.5, 1.0, 9.0]


def test_lines_that_a_power_failure_spoiled_are_left_out_and_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    spoiled = ["\0" * 8, '{"loss": 1.0}', "5"]
    path.write_text("\n".join(['{"step": 1}', *spoiled, '{"step": 2}', '{"step": 3']))
    with pytest.warns(UserWarning, match="metrics.jsonl: 3 of 5 lines cannot be read"):
        MetricsLog(path, start=2).write(3, {})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
