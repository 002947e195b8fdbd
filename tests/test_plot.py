"""Curves of trainings: what is drawn, and what is refused."""

import builtins
import json
import sys

import numpy as np
import pytest
from PIL import Image

from glide_jax import cli
from glide_jax.training import plot


def write_run(folder, rows):
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    return folder


def rows_of(number=10):
    """As a training logs them: some values every step, some now and then, a loss that falls."""
    for step in range(1, number + 1):
        quarters = {f"loss_q{q}": 0.1 * (q + 1) / step for q in range(4)}
        yield quarters | {
            "step": step,
            "loss": 1 / step,
            "mse": 0.5 / step,
            "vb": 0.1 / step,
            "grad_norm": 2.0,
            "learning_rate": 1e-3,
            "images_per_second": 20.0,
        }
        if step % 5 == 0:
            yield {"step": step, "eval_loss": 0.3, "caption_gap": -0.01}
            yield {"step": step, "logit_scale": 20.0} | dict.fromkeys(plot.FOUND, 0.5)


def axes_of(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def points(line):
    return list(zip(*line.get_data(), strict=True))


def test_every_metric_has_its_curve(tmp_path):
    figure = plot.draw(plot.read_runs([str(write_run(tmp_path / "a", rows_of()))]))
    axes = axes_of(figure)
    assert len(axes) == len(plot.PANELS)
    (loss,) = axes["loss"].lines
    assert points(loss) == [(step, 1 / step) for step in range(1, 11)]
    (evaluated,) = axes["loss on fixed examples (eval_loss)"].lines
    assert points(evaluated) == [(5, 0.3), (10, 0.3)]
    quarters = axes["loss by quarter of the noise"].lines
    assert [line.get_ydata()[0] for line in quarters] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_axes_are_logarithmic_where_that_helps(tmp_path):
    axes = axes_of(plot.draw(plot.read_runs([str(write_run(tmp_path / "a", rows_of()))])))
    assert axes["loss"].get_yscale() == "log"
    assert axes["gradient norm"].get_yscale() == "linear"  # it is one number throughout
    gap = axes["what wrong captions cost (caption_gap)"]
    assert gap.get_yscale() == "linear" and gap.get_ylim()[0] < -0.01 and gap.get_ylim()[1] > 0


def test_runs_are_told_apart_by_name_and_colour(tmp_path):
    runs = [write_run(tmp_path / name, rows_of(n)) for name, n in (("a", 4), ("b", 8))]
    figure = plot.draw(plot.read_runs([str(run) for run in runs]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    one, other = axes_of(figure)["loss"].lines
    assert len(one.get_xdata()) == 4 and len(other.get_xdata()) == 8
    handles = [handle.get_color() for handle in legend.legend_handles]
    assert [one.get_color(), other.get_color()] == [plot.lighten(c, 0) for c in handles]
    (tmp_path / "more").mkdir()
    same = [runs[0], write_run(tmp_path / "more" / "a", rows_of())]
    assert list(plot.read_runs([str(run) for run in same])) == [str(run) for run in same]


def test_what_was_not_logged_or_is_not_finite_is_left_out(tmp_path):
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1.0}]
    axes = axes_of(plot.draw(plot.read_runs([str(write_run(tmp_path / "a", rows))])))
    assert list(axes) == ["loss"]
    assert points(axes["loss"].lines[0]) == [(1, 2.0), (3, 1.0)]


def test_a_smooth_curve_forgets_a_spike_and_keeps_its_ends():
    values = np.ones(200)
    values[100] = 1000
    np.testing.assert_array_equal(plot.smooth(values), 1)
    falling = np.linspace(5, 1, 200)
    smooth = plot.smooth(falling)
    assert smooth[0] == 5 and abs(smooth[-1] - 1) < 0.1 and len(smooth) == 200


@pytest.mark.long
def test_the_picture_lands_in_the_run_s_folder(tmp_path, capsys):
    run = write_run(tmp_path / "a", rows_of(100))
    plot.main([str(run)])
    with Image.open(run / "metrics.png") as image:
        assert image.format == "PNG" and min(image.size) > 1000
        assert len(image.convert("P").getcolors()) > 5
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "metrics.png"]
    plot.main([str(run), "--out", str(tmp_path / "other.png")])
    assert (tmp_path / "other.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no run to draw"),
        (["{at}/nowhere"], "there is no run '{at}/nowhere': it takes a training's folder"),
        (["{at}/good/metrics.jsonl"], "there is no run '{at}/good/metrics.jsonl'"),
        (["{at}/bare"], "{at}/bare holds no metrics.jsonl"),
        (["{at}/new"], "{at}/new/metrics.jsonl holds no metrics yet"),
        (["{at}/broken"], "{at}/broken/metrics.jsonl cannot be read"),
        (["{at}/stepless"], "{at}/stepless/metrics.jsonl cannot be read: a line has no step"),
        (["{at}/empty_rows"], "hold no metric that is drawn"),
        (["{at}/good", "--out", "x.jpg"], "--out is 'x.jpg'; it must be a .png file"),
        (["{at}/good", "--out", "{at}/no/x.png"], "but '{at}/no' is no folder"),
        (["{at}/good", "--outt", "x.png"], "perhaps you meant --out"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "good", rows_of())
    write_run(tmp_path / "new", [])
    write_run(tmp_path / "stepless", [{"loss": 1.0}])
    write_run(tmp_path / "empty_rows", [{"step": 1, "seconds": 1.0}])
    (tmp_path / "bare").mkdir()
    (write_run(tmp_path / "broken", []) / "metrics.jsonl").write_text("{'step'\n")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["plot", *(a.format(at=tmp_path) for a in arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.entry_point(plot.main, "plot")
    complaint = capsys.readouterr().err
    assert stop.value.code == 2 and complaint.count("\n") == 1
    assert message.format(at=tmp_path) in complaint
    assert sorted(tmp_path.rglob("*")) == before


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    find = builtins.__import__

    def without(name, *arguments):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return find(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"plots need matplotlib: pip install '\.\[plot\]'"):
        plot.main([str(write_run(tmp_path / "a", rows_of()))])
