"""Curves of what settings do: every row of a sweep is a point with its interval."""

import itertools
import json

import pytest
from PIL import Image

from glide_jax.evaluation import curves


def row(sampler, steps, scale, value, seconds):
    return {
        "model": "base",
        "settings": {"sampler": sampler, "steps": steps, "guidance_scale": scale},
        "caption_accuracy": {"value": value, "interval": [value - 0.1, value + 0.05]},
        "seconds_per_image": seconds,
    }


SETTINGS = {"guidance_interval", "dynamic_threshold", "eta", "negative_prompt", "dtype"}
ROWS = [
    row("ddim", "10", 3.0, 0.5, 0.2),
    row("ddim", "10", 1.0, 0.4, 0.1),
    row("ddim", "20", 3.0, 0.6, 0.4),
    row("dpmpp", "10", 3.0, 0.7, 0.3),
]


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rows": ROWS}))
    return path


def test_every_row_is_a_point_of_its_curve():
    (name, points), *others = curves.curves(ROWS, "scale").items()
    assert name == "ddim, 10 steps" and others == []
    expected = [(1.0, 40, 30, 45), (3.0, 50, 40, 55)]
    assert [pytest.approx(p) for p in expected] == points
    found = curves.curves(ROWS, "seconds")
    assert list(found) == ["ddim, scale 3"]
    assert [p[:2] for p in found["ddim, scale 3"]] == [(0.2, 50), (0.4, 60)]
    fast = row("ddim", "fast27", 3.0, 0.9, 0.5)
    found = curves.curves([*ROWS, fast], "steps")
    assert [p[:2] for p in found["ddim, scale 3"]] == [(10, 50), (20, 60)]


def test_clips_and_reranking_have_curves_of_their_own():
    rows = []
    for scale in (1.0, 2.0):
        plain, led, both = (row("ddim", "10", s, 0.5, 1.0) for s in (scale, 1.0, 3.0))
        for each in (led, both):
            each["settings"] |= {"clip": "runs/mine", "clip_guidance_scale": scale}
        best = row("ddim", "10", scale, 0.5, 1.0)
        best["settings"]["rerank_from"] = 4
        rows += [plain, led, both, best]
    found = curves.curves(rows, "scale")
    mine = "ddim, 10 steps, mine"
    assert set(found) == {"ddim, 10 steps", mine, f"{mine}, and cfg 3", "ddim, 10 steps, best of 4"}
    assert all([x for x, *_ in points] == [1.0, 2.0] for points in found.values())


def test_clips_of_one_name_and_several_that_rank_are_told_apart():
    rows = []
    for scale, folder in itertools.product((1.0, 2.0), ("a", "b")):
        led, best = (row("ddim", "10", own, 0.5, 1.0) for own in (1.0, scale))
        led["settings"] |= {"clip": f"{folder}/clip", "clip_guidance_scale": scale}
        best["settings"] |= {"rerank_from": 4, "rerank_model": f"{folder}/clip"}
        rows += [led, best]
    found = curves.curves(rows, "scale")
    start, more = "ddim, 10 steps, ", ("clip, clip", "best of 4, rerank model")
    assert set(found) == {f"{start}{each} {name}/clip" for each in more for name in "ab"}
    assert all([x for x, *_ in points] == [1.0, 2.0] for points in found.values())


def test_models_beside_each_other_have_curves_of_their_own(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("before.json", "after.json")]
    for path, model in zip(paths, ("runs/a/base", "runs/b/base"), strict=True):
        path.write_text(json.dumps({"rows": [each | {"model": model} for each in ROWS]}))
    drawn = []
    monkeypatch.setattr(
        curves, "draw", lambda rows, draw=curves.draw: drawn.append(rows) or draw(rows)
    )
    curves.main([*map(str, paths)])
    assert (tmp_path / "curves.png").exists()
    found = curves.curves(drawn[0], "scale")
    assert list(found) == ["runs/a/base, ddim, 10 steps", "runs/b/base, ddim, 10 steps"]
    assert [[x for x, *_ in points] for points in found.values()] == [[1.0, 3.0]] * 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"split": "compositional"}, "split compositional"),
        ({"captions": "tuning"}, "captions tuning"),
        ({"num": 3}, "num 3"),
        ({"shuffle": True}, "shuffle"),
        ({"data": "photographs"}, "data photographs"),
        ({"captions_hash": "ab12"}, "captions hash ab12"),
        ({"upsampler_hash": "ab12"}, "upsampler hash ab12"),
        ({"guidance_interval": [0, 799]}, "guidance interval 0 to 799"),
        ({"dynamic_threshold": 0.995}, "dynamic threshold 0.995"),
        ({"eta": 0.5}, "eta 0.5"),
        ({"negative_prompt": "blue"}, "negative prompt blue"),
        ({"dtype": "bfloat16"}, "dtype bfloat16"),
    ],
)
def test_rows_that_differ_in_anything_else_are_of_different_curves(change, told):
    base = {"split": "test", "captions": "pinned", "num": 2, "shuffle": False, "data": "shapes"}
    how = {"guidance_interval": None, "eta": 0.0, "negative_prompt": "", "dtype": "float32"}
    rows = []
    for scale, more in itertools.product((1.0, 2.0), ({}, change)):
        own = row("ddim", "10", scale, 0.5, 1.0)
        own["settings"] |= how | {name: each for name, each in more.items() if name in SETTINGS}
        rows.append(base | {n: each for n, each in more.items() if n not in SETTINGS} | own)
    found = curves.curves(rows, "scale")
    assert len(found) == 2 and f"ddim, 10 steps, {told}" in found
    assert all([x for x, *_ in points] == [1.0, 2.0] for points in found.values())
    assert list(curves.curves(rows[::2], "scale")) == ["ddim, 10 steps"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="give a results.json of evaluate.py sweep"):
        curves.main([])


def test_the_best_of_many_have_a_curve_by_their_number_and_by_time_alone():
    rows = [row("ddim", "10", 1.0, value, 0.1 * n) for n, value in ((1, 0.5), (4, 0.6), (16, 0.7))]
    for number, each in zip((4, 16), rows[1:], strict=True):
        each["settings"]["rerank_from"] = number
    found = {along: curves.curves(rows, along) for along in curves.TITLES}
    chosen, seconds = found.pop("choice"), found.pop("seconds")
    assert found == {"scale": {}, "steps": {}}
    assert [p[:2] for p in chosen["ddim, 10 steps, scale 1"]] == [(1, 50), (4, 60), (16, 70)]
    assert [p[0] for p in seconds["ddim, scale 1"]] == pytest.approx([0.1, 0.4, 1.6])
    assert curves.curves(ROWS, "choice") == {}


def test_the_picture_has_the_intervals(results):
    left, middle, right = curves.draw(ROWS).axes
    (bars,) = left.containers
    line, caps, (segments,) = bars
    assert list(line.get_xdata()) == [1.0, 3.0]
    ends = [[tuple(end) for end in segment] for segment in segments.get_segments()]
    assert ends == [[(1, pytest.approx(30)), (1, pytest.approx(45))]] + [
        [(3, pytest.approx(40)), (3, pytest.approx(55))]
    ]
    assert [axes.get_xlabel() for axes in (middle, right)] == ["steps", "seconds a picture"]
    curves.main([str(results)])
    with Image.open(results.parent / "curves.png") as image:
        assert image.size[0] > 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file .*: evaluate.py sweep writes one"),
        ("{", "is no results.json of evaluate.py: JSONDecodeError"),
        (json.dumps({"rows": [{"settings": {}}]}), "is no results.json of evaluate.py: KeyError"),
        (
            json.dumps({"rows": [ROWS[0] | {"model": {}}]}),
            "is no results.json of evaluate.py: TypeErr",
        ),
        (json.dumps({"rows": []}), "holds no rows yet"),
        (json.dumps({"rows": ROWS[:1]}), "no two rows differ in one setting only"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        curves.main([str(path)])
