"""Measures of edits: right on painters whose pictures are known, pinned, and gone on with."""

import inspect
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import evaluate
from glide_jax import Pipeline
from glide_jax.data import shapes
from glide_jax.data.scenes import Object, Scene, render
from glide_jax.evaluation import shapes_test
from glide_jax.evaluation.caption_accuracy import failures
from glide_jax.evaluation.edits import holes, inpainting, sdedit, upsampling
from glide_jax.evaluation.scores import mean
from glide_jax.fitting import bicubic
from tests import tiny

KINDS = ("alone", "related", "half")
BLUE = Object("square", "blue", "small", 0.5, 0.5, 0.105)
TINT = (230, 240, 220)


class Copier:
    """Stands in for a Pipeline: gives back the picture that it is given, enlarged by repetition."""

    dtype, params, tokenizer = "float32", {}, SimpleNamespace(to_json=str)

    def __init__(self, model):
        self.model = model

    def inpaint(self, *given, **settings):
        inspect.signature(Pipeline.inpaint).bind(self, *given, **settings)
        return given[0]

    def image_to_image(self, *given, **settings):
        inspect.signature(Pipeline.image_to_image).bind(self, *given, **settings)
        return given[0]

    def text_to_image(self, prompts, **settings):
        inspect.signature(Pipeline.text_to_image).bind(self, prompts, **settings)
        return np.zeros((len(prompts), 16, 16, 3), np.uint8)

    def upsample(self, *given, **settings):
        inspect.signature(Pipeline.upsample).bind(self, *given, **settings)
        return given[0].repeat(2, axis=1).repeat(2, axis=2)


class Painter:
    """Stands in for a Pipeline: every method gives the prepared pictures, one after the other."""

    def __init__(self, pictures):
        self.pictures = list(pictures)

    def paint(self, given, *_, **__):
        drawn, self.pictures = self.pictures[: len(given)], self.pictures[len(given) :]
        return np.stack(drawn)

    inpaint = upsample = image_to_image = paint


@pytest.fixture(scope="module")
def copier():
    return Copier(tiny.MODEL)


@pytest.fixture(scope="module")
def tried():
    return holes.items("test", 45, seed=3, size=32, kinds=KINDS)


def scene_of(*objects):
    return Scene(objects, TINT, len(objects), (), None)


def test_the_interval_of_a_mean():
    assert mean([1, 3]) == {"value": 2.0, "interval": [0.04, 3.96], "n": 2}  # 2 -+ 1.96 * 1
    assert mean([5, 5, 5])["interval"] == [5, 5]
    with pytest.raises(ValueError, match="there are 1 values"):
        mean([1])


def test_a_hole_hides_its_object_and_no_other(tried):
    assert [sum(item.kind == kind for item in tried) for kind in KINDS] == [15, 15, 15]
    for item in tried:
        scene, caption = shapes.describe(item.seed, 3, "test")
        assert caption == item.caption and np.array_equal(item.image, render(scene, 32))
        rest = list(scene.objects)
        del rest[item.seed % len(rest)]
        without = render(scene._replace(objects=tuple(rest)), 32)
        shown = (item.image != without).any(-1) & item.mask  # of the object that is hidden
        nothing = render(scene._replace(objects=()), 32)
        assert shown.any() == (item.kind == "half")
        assert (without == nothing).all(-1)[~item.mask].all()


def test_the_box_has_its_margin_and_ends_at_the_middle():
    # The square covers 0.5 -+ 0.86 * 0.105 widths: of 32 pixels numbers 13 to 18.
    erased = ~holes.make_mask(scene_of(BLUE), 0, 32)
    assert np.argwhere(erased).min(0).tolist() == [11, 11]
    assert np.argwhere(erased).max(0).tolist() == [20, 20] and erased.sum() == 100
    halves = [~holes.make_mask(scene_of(BLUE), 0, 32, half) for half in range(4)]
    assert [half.sum() for half in halves] == [50] * 4
    for one, other in (halves[:2], halves[2:]):
        np.testing.assert_array_equal(one ^ other, erased)


def test_a_box_that_would_cut_or_leave_the_picture_is_none():
    assert holes.make_mask(scene_of(BLUE._replace(x=0.15)), 0, 32) is None
    beside = BLUE._replace(x=0.5 + 0.24)
    assert holes.make_mask(scene_of(BLUE, beside), 0, 32) is None
    assert holes.make_mask(scene_of(BLUE, beside._replace(x=0.85)), 0, 32) is not None


def test_the_holes_are_pinned():
    first = holes.items("test", 6, shapes_test.PINNED_SEED, 32, KINDS)
    assert [(item.kind, item.seed) for item in first] == [
        *(("related", 1), ("related", 2), ("alone", 6)),
        *(("half", 7), ("alone", 8), ("half", 11)),
    ]


def test_a_jump_across_the_border_of_a_box():
    mask = np.ones((10, 12), bool)
    mask[3:5, 4:8] = False  # two high, four wide
    plain = np.where(mask[..., None], 20, 50).repeat(3, -1).astype(np.uint8)
    assert holes.border_jump(plain, mask) == 30
    ramp = np.broadcast_to(3 * np.arange(12, dtype=np.uint8)[:, None], (10, 12, 3))
    assert holes.border_jump(ramp, mask) == pytest.approx(3 * 4 / 12)  # 4 of 12 pairs lie across
    assert holes.border_jump(ramp.swapaxes(0, 1), mask.T) == pytest.approx(3 * 4 / 12)


def test_what_is_drawn_again_as_it_was_holds_and_does_not_jump(tried, copier, tmp_path):
    verdicts, shown = inpainting.try_method(
        copier, tried, {"method": "model"}, tmp_path / "a.jsonl"
    )
    found = inpainting.summary(tried, verdicts)
    assert found["caption_accuracy"]["value"] == 1 and not any(found["failures"].values())
    assert found["excess_jump"] == {"value": 0, "interval": [0, 0], "n": 45}
    # The border of a box around an object lies in the background, that of half of one crosses it.
    jumps = {kind: each["real_jump"]["value"] for kind, each in found["by_kind"].items()}
    assert jumps["alone"] == 0 and jumps["half"] > 1
    np.testing.assert_array_equal(shown, [item.image for item in tried[:8]])


def test_a_hole_that_is_left_empty_fails_and_one_of_another_tint_jumps(tried, tmp_path):
    background = [np.broadcast_to(item.image[0, 0], (32, 32, 3)) for item in tried]
    kept = [item.mask[..., None] for item in tried]
    drawn = [
        np.where(mask, item.image, tint - 10)
        for item, mask, tint in zip(tried, kept, background, strict=True)
    ]
    found = inpainting.summary(
        tried, inpainting.try_method(Painter(drawn), tried, {}, tmp_path / "a.jsonl")[0]
    )
    assert found["by_kind"]["alone"]["caption_accuracy"]["value"] == 0
    assert found["by_kind"]["alone"]["jump"] == {"value": 10, "interval": [10, 10], "n": 15}
    assert found["failures"]["count"] == 15  # of the related ones, one is left


def test_verdicts_and_pictures_are_kept(tried, copier, tmp_path):
    kept = tmp_path / "a.jsonl"
    first = inpainting.try_method(copier, tried, {}, kept)
    again = inpainting.try_method(None, tried, {}, kept)
    assert [v.jump for v in first[0]] == [v.jump for v in again[0]]
    np.testing.assert_array_equal(first[1], again[1])


def test_peak_signal_to_noise():
    real = np.full((8, 8, 3), 100, np.uint8)
    assert upsampling.psnr(real + np.uint8(5), real) == pytest.approx(20 * np.log10(255 / 5))
    assert upsampling.psnr(real - np.uint8(5), real) == pytest.approx(20 * np.log10(255 / 5))
    assert upsampling.psnr(real, real) == pytest.approx(10 * np.log10(255**2 * 12))


@pytest.fixture(scope="module")
def enlarged():
    tried = shapes_test.items("test", 12, seed=3)
    return upsampling.real_items(tried, "test", 3, 32, 64)


def test_small_pictures_are_the_means_of_blocks(enlarged):
    for item in enlarged[:4]:
        blocks = item.large.astype(float).reshape(32, 2, 32, 2, 3).mean((1, 3))
        np.testing.assert_array_equal(item.small, np.rint(blocks))
        assert not failures(item.small, item.claims) and not failures(item.large, item.claims)


def test_a_perfect_enlargement_and_bicubic_itself(enlarged, tmp_path):
    perfect = Painter([item.large for item in enlarged])
    verdicts, _ = upsampling.try_upsampler(perfect, enlarged, {}, tmp_path / "a.jsonl")
    found = upsampling.summary(verdicts)
    assert found["caption_accuracy"]["after"]["value"] == 1
    assert found["psnr"]["value"] == pytest.approx(58.92, abs=0.01)
    gain = found["psnr"]["value"] - found["bicubic_psnr"]["value"]
    assert found["gain"]["value"] == pytest.approx(gain, abs=1e-3) and gain > 10
    same = Painter([bicubic(item.small, 64, 64) for item in enlarged])
    verdicts, _ = upsampling.try_upsampler(same, enlarged, {}, tmp_path / "b.jsonl")
    assert upsampling.summary(verdicts)["gain"] == {"value": 0, "interval": [0, 0], "n": 12}


def test_of_drawn_pictures_only_captions_are_judged(enlarged, tmp_path):
    drawn = [item._replace(large=None) for item in enlarged]
    blank = Painter([np.full((64, 64, 3), 230, np.uint8)] * len(drawn))
    verdicts, _ = upsampling.try_upsampler(blank, drawn, {}, tmp_path / "a.jsonl")
    found = upsampling.summary(verdicts)
    assert "psnr" not in found
    holds = {name: each["value"] for name, each in found["caption_accuracy"].items()}
    assert holds == {"before": 1, "after": 0, "bicubic": 1}


def test_a_changed_caption_differs_in_one_attribute():
    changes = ("colour", "shape", "size")
    tried = sdedit.items(30, 3, 32, changes)
    assert [item.change for item in tried] == list(changes) * 10
    for item in tried:
        scene, _ = shapes.describe(item.seed, 3, "test")
        pairs = zip(item.claims.phrases, scene.claims, strict=True)
        names = [name for new, old in pairs for name in new._fields if differ(new, old, name)]
        assert names == [item.change] and item.claims.relation == scene.relation
        assert failures(item.image, item.claims)
        for phrase in item.claims.phrases:
            assert (phrase.colour, phrase.shape) not in shapes.HELD_OUT
            assert phrase.colour in item.caption and phrase.shape in item.caption


def differ(one, other, name):
    return getattr(one, name) != getattr(other, name)


def edited(item):
    """The item's picture with the objects of the changed phrase as it says."""
    scene, _ = shapes.describe(item.seed, 3, "test")
    said = [phrase for phrase in item.claims.phrases for _ in range(phrase.count)]
    objects = [
        each._replace(colour=phrase.colour, shape=phrase.shape)
        for each, phrase in zip(scene.objects, said, strict=True)
    ]
    return render(scene._replace(objects=tuple(objects)), 32)


def test_a_copy_is_near_and_wrong_and_an_exact_edit_right(copier, tmp_path):
    tried = sdedit.items(24, 3, 32, ("colour", "shape"))
    verdicts, _ = sdedit.try_strength(copier, tried, {"strength": 0.5}, tmp_path / "a.jsonl")
    found = sdedit.summary(tried, verdicts)
    assert found["caption_accuracy"]["value"] == 0 and found["distance"]["value"] == 0
    painter = Painter([edited(item) for item in tried])
    verdicts, _ = sdedit.try_strength(painter, tried, {}, tmp_path / "b.jsonl")
    found = sdedit.summary(tried, verdicts)
    assert found["caption_accuracy"]["value"] == 1 and found["distance"]["value"] > 5
    assert {kind: each["n"] for kind, each in found["by_change"].items()} == {
        "colour": 12,
        "shape": 12,
    }


def test_distance_is_a_root_mean_square():
    one = np.full((4, 4, 3), 100, np.uint8)
    other = one.copy()
    other[:2] += 10
    assert sdedit.distance(one, other) == pytest.approx(50**0.5)
    assert sdedit.distance(one - np.uint8(7), one) == pytest.approx(7)


def test_the_curve_shows_the_rows():
    def row(strength, accuracy, distance):
        holds = {"value": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}
        far = {"value": distance, "interval": [distance - 1, distance + 1]}
        return {"settings": {"strength": strength}, "caption_accuracy": holds, "distance": far}

    left, right = sdedit.curve([row(0.8, 0.75, 9.0), row(0.4, 0.25, 3.0)]).axes
    assert [line.tolist() for line in left.lines[0].get_data()] == [[0.4, 0.8], [25, 75]]
    assert [line.tolist() for line in right.lines[0].get_data()] == [[0.4, 0.8], [3, 9]]
    edges = right.collections[0].get_paths()[0].vertices
    assert {2, 4, 8, 10} <= set(edges[:, 1].tolist())


BASE, SEES = ["--model", "base"], ["--model", "sees"]
UP = ["--upsampler", "upsampler", "--base.model", "small"]


@pytest.fixture
def commands(monkeypatch):
    """evaluate.py's main, with stand-ins for models; `sees` is one that was trained to inpaint."""
    sees = replace(tiny.MODEL, unet=replace(tiny.MODEL.unet, inpaint=True))
    models = {"base": tiny.MODEL, "small": tiny.SMALLER, "upsampler": tiny.UPSAMPLER, "sees": sees}
    made = {name: Copier(model) for name, model in models.items()}
    monkeypatch.setattr(evaluate, "load", lambda name, dtype: made[name])
    return evaluate.main


def rows_in(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_the_command_of_inpainting(commands, tmp_path, capsys):
    options = ["--model", "sees", "--plain-model", "base", "--num", "6", "--out", str(tmp_path)]
    commands(["inpainting", *options])
    commands(["inpainting", *options, "--methods", "replace"])  # again: its row is replaced
    rows = rows_in(tmp_path)
    assert [row["settings"]["method"] for row in rows] == ["model", "repaint", "replace"]
    assert rows[1]["settings"]["resamplings"] == 5 and "resamplings" not in rows[0]["settings"]
    assert all(row["model_hash"] and row["versions"]["jax"] for row in rows)
    assert "| replace | base | half | 100.0 % " in capsys.readouterr().out
    assert (tmp_path / "inpainting.png").exists()


def test_the_command_of_upsampling(commands, tmp_path, capsys):
    options = ["--upsampler", "upsampler", "--base.model", "small", "--num", "3"]
    commands(["upsampling", *options, "--steps-each", "5", "fast27", "--out", str(tmp_path)])
    rows = rows_in(tmp_path)
    cells = [(row["among"], row["settings"]["steps"], "psnr" in row) for row in rows]
    assert cells == [
        *(("real", "5", True), ("real", "fast27", True)),
        *(("drawn", "5", False), ("drawn", "fast27", False)),
    ]
    assert rows[2]["base_model"] == "small" and rows[2]["settings"]["base"]["steps"] == "27"
    assert "base_model" not in rows[0] and "base" not in rows[0]["settings"]
    assert "| real | fast27 | " in capsys.readouterr().out
    assert {"real.png", "drawn.png"} < {path.name for path in tmp_path.iterdir()}


def test_the_command_of_sdedit(commands, tmp_path, capsys):
    options = ["--model", "base", "--strengths", "0.3", "1", "--num", "6", "--out", str(tmp_path)]
    commands(["sdedit", *options])
    assert [row["settings"]["strength"] for row in rows_in(tmp_path)] == [0.3, 1]
    assert "| 0.3 | 0.0 % (0.0 to 39.0) | 0 % | 0 % | 0 % | 0.00 " in capsys.readouterr().out
    assert {"sdedit.png", "curve.png"} < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inpainting", "--num", "5"], "--num is 5; it must be 6 or more, two of each kind"),
        (["inpainting", "--methods", "paste"], "paste"),
        (["inpainting", "--kinds", "half", "half"], "--kinds is half half; give kinds of holes"),
        (["inpainting", "--out", "sample.py/x"], "sample.py' is no folder to write to"),
        (["inpainting", "--model", "base", "--plain-model", "small"], "base of 32 and small of 16"),
        (["upsampling"], "--upsampler"),
        (["upsampling", "--upsampler", "base", "--base.model", "small"], "'base' is a base model"),
        (["upsampling", "--upsampler", "upsampler", "--base.model", "base"], "of 16 pixels, but"),
        (["upsampling", "--upsampler", "upsampler", "--steps-each"], "--steps-each is empty"),
        (["sdedit", "--strengths", "0.5", "1.5"], "--strengths has 1.5; each must be above 0"),
        (["sdedit", "--changes", "count"], "count"),
        (
            ["inpainting", "--plain-model", "base", "--methods", "replace", "model", *BASE],
            "--model is 'base', which was not trained to inpaint",
        ),
        (["inpainting", *SEES, "--plain-model", "base", "--jump-length", "0"], "jump_length is 0"),
        (["inpainting", *SEES, "--plain-model", "base", "--resamplings", "0"], "resamplings is 0"),
        (
            ["sdedit", *BASE, "--strengths", "0.6", "0.2", "--sampler", "dpmpp", "--steps", "2"],
            "strength is 0.2, which leaves none of the 2 steps",
        ),
        (["sdedit", *BASE, "--batch-size", "0"], "batch_size is 0"),
        (["sdedit", "--model", "upsampler"], "the model is an upsampler"),
        (["upsampling", *UP, "--sampler", "dpmpp"], "steps is 'fast27'; for dpmpp it must be a nu"),
        (["upsampling", *UP, "--eta", "2", "--pictures", "drawn"], "eta is 2.0; it must be from 0"),
        (["upsampling", *UP, "--strength", "2"], "strength is 2.0; it must be above 0"),
        (["upsampling", *UP, "--base.eta", "2"], "of --base eta is 2.0; it must be from 0"),
    ],
)
def test_bad_input_is_a_sentence(commands, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        commands([arguments[0], "--out", str(tmp_path / "out"), *arguments[1:]])
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
