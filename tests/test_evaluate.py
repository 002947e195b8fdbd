"""A model before the referee, and evaluate.py: rows that can be trusted, gone on with, and read."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

import evaluate
from glide_jax import NoisedClip, Pipeline, model_folder, sampling
from glide_jax.data import shapes
from glide_jax.data.scenes import render
from glide_jax.evaluation import guided, options, results, shapes_test
from glide_jax.images import read_settings
from tests import tiny


class Painter:
    """Stands in for what draws: gives each caption's own scene, or nothing."""

    def __init__(self, tried, seed, split):
        self.scenes = {i.caption: shapes.describe(i.seed, seed, split)[0] for i in tried}
        self.asked = []

    def draw(self, prompts, *, seed, blank=()):
        self.asked += list(zip(prompts, seed, strict=True))
        scenes = [self.scenes[p]._replace(**blank_if(p in blank)) for p in prompts]
        return np.stack([render(scene, 32) for scene in scenes])


def blank_if(is_blank):
    return {"objects": ()} if is_blank else {}


@pytest.mark.parametrize("split", ("test", "compositional"))
def test_pinned_captions_are_thirds_of_fresh_claims(split):
    tried = shapes_test.items(split)
    assert len(tried) == 1024 and len({item.seed for item in tried}) == 1024
    assert [sum(item.tier == tier for item in tried) for tier in (1, 2, 3)] == [342, 341, 341]
    for item in tried[::100]:
        scene, caption = shapes.describe(item.seed, shapes_test.PINNED_SEED, split)
        assert (item.caption, item.claims.phrases) == (caption, scene.claims)
    tuned = {item.caption for item in shapes_test.items(split, 256, shapes_test.TUNING_SEED)}
    assert tuned != {item.caption for item in tried[:256]}


def test_the_pinned_captions_are_pinned():
    first = shapes_test.items("test", 3)
    assert [item.seed for item in first] == [0, 1, 6]
    assert first[0].caption == "an image of a little cyan cross with two large orange circles"


@pytest.fixture(scope="module")
def tried():
    return shapes_test.items("test", 150, seed=3)


def test_a_perfect_painter_is_always_right_and_a_shuffled_one_hardly_ever(tried, tmp_path):
    painter = Painter(tried, 3, "test")
    verdicts = shapes_test.try_model(painter.draw, tried, tmp_path / "right.jsonl")
    summary = shapes_test.summary(tried, verdicts)
    assert summary["caption_accuracy"]["value"] == 1 and not any(summary["failures"].values())
    assert painter.asked == [(item.caption, item.seed) for item in tried]
    verdicts = shapes_test.try_model(painter.draw, tried, tmp_path / "other.jsonl", shuffle=True)
    assert shapes_test.summary(tried, verdicts)["caption_accuracy"]["value"] < 0.05


def test_failures_are_counted_by_tier_and_kind(tried, tmp_path):
    blank = {item.caption for item in tried if item.tier == 2}
    painter = Painter(tried, 3, "test")
    verdicts = shapes_test.try_model(
        partial(painter.draw, blank=blank), tried, tmp_path / "kept.jsonl"
    )
    summary = shapes_test.summary(tried, verdicts)
    assert {tier: each["value"] for tier, each in summary["by_tier"].items()} == {
        "1": 1.0,
        "2": 0.0,
        "3": 1.0,
    }
    assert summary["failures"]["unreadable"] == summary["by_tier"]["2"]["n"] == 50


def test_what_was_broken_off_goes_on(tried, tmp_path):
    class Tired(Painter):
        def draw(self, prompts, *, seed):
            if len(self.asked) >= results.CHUNK:
                raise KeyboardInterrupt
            return super().draw(prompts, seed=seed)

    kept = tmp_path / "verdicts" / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        shapes_test.try_model(Tired(tried, 3, "test").draw, tried, kept)
    rested = Painter(tried, 3, "test")
    verdicts = shapes_test.try_model(rested.draw, tried, kept)
    assert len(verdicts) == len(tried) and len(rested.asked) == len(tried) - results.CHUNK


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, params, tokenizer):
    """A model folder of random weights."""
    folder = tmp_path_factory.mktemp("models") / "random"
    model_folder.save_model(folder, tiny.MODEL, tokenizer, params)
    return folder


def test_evaluate_writes_rows_that_name_their_model(tiny_folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--model", str(tiny_folder), "--num", "3", "--steps", "2", "--out", str(out)]
    evaluate.main(options)
    evaluate.main([*options, "--splits", "test", "--shuffle"])
    evaluate.main([*options, "--splits", "test"])  # the same again: its row is replaced
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [(row["split"], row["shuffle"]) for row in rows] == [
        ("compositional", False),
        ("test", True),
        ("test", False),
    ]
    pipeline = Pipeline.load(tiny_folder)
    own = model_folder.model_hash(pipeline.model, pipeline.tokenizer, pipeline.params)
    assert {row["model_hash"] for row in rows} == {own}
    assert all(row["caption_accuracy"]["n"] == 3 and row["versions"]["jax"] for row in rows)
    assert "| test, shuffled | 3 | ancestral | 2 |" in capsys.readouterr().out
    assert read_settings(out / "wrong-test.png")["model_hash"] == own
    with Image.open(out / "wrong-test.png") as sheet:
        assert sheet.width > 400


@pytest.mark.long
def test_a_sweep_measures_each_cell(tiny_folder, tmp_path):
    out = tmp_path / "out"
    evaluate.main(
        [
            *("sweep", "--model", str(tiny_folder), "--num", "3", "--out", str(out)),
            *("--scales", "0", "2", "--samplers", "ddim", "dpmpp", "--steps-each", "2"),
        ]
    )
    rows = json.loads((out / "results.json").read_text())["rows"]
    cells = [(r["settings"]["sampler"], r["settings"]["guidance_scale"]) for r in rows]
    assert cells == [("ddim", 0), ("ddim", 2), ("dpmpp", 0), ("dpmpp", 2)]
    assert {row["captions"] for row in rows} == {"tuning"}


@pytest.mark.long
def test_a_sweep_measures_ways_of_guiding(tiny_folder, tokenizer, tmp_path, monkeypatch, capsys):
    runs = []

    def run(carry, *_, guided, judge, **static):
        runs.append((guided, judge is not None))
        return carry

    monkeypatch.setattr(sampling, "_run", run)
    model, clip, out = replace(tiny.CLIP, timesteps=0), tmp_path / "clip", tmp_path / "out"
    model_folder.save_model(clip, model, tokenizer, tiny.random_params(0, model))
    evaluate.main(
        [
            *("sweep", "--model", str(tiny_folder), "--num", "3", "--out", str(out)),
            *("--guides", "cfg", "clip", "both", "--scales", "2", "--steps-each", "4"),
            *("--clip-models", str(clip), "--rerank-froms", "1", "2"),
            *("--rerank-model", str(clip), "--batch-size", "6"),
        ]
    )
    rows = json.loads((out / "results.json").read_text())["rows"]
    named = ("guidance_scale", "clip_guidance_scale", "rerank_from")
    cells = [tuple(row["settings"].get(name) for name in named) for row in rows]
    ways = [(2, None), (1, 2), (3, 2)]
    assert cells == [(*way, number) for number in (None, 2) for way in ways]
    assert runs == [(True, False), (False, True), (True, True)] * 2
    own = guided.hash_of(NoisedClip.load(clip))
    assert rows[1]["settings"]["clip_hash"] == rows[3]["settings"]["rerank_hash"] == own
    assert not {"clip", "rerank_from", "rerank_model"} & set(rows[0]["settings"])
    assert all(row["seconds_per_image"] > 0 for row in rows)
    assert "| test | 3, CLIP 2 (clip), best of 2 | ancestral | 4 |" in capsys.readouterr().out


def test_what_is_reranked_is_drawn_from_each_items_own_seeds(tiny_folder):
    asked = []

    class Pipeline:
        def text_to_image(self, prompts, *, num, seed, batch_size, **settings):
            asked.append((num, seed))
            return np.zeros((len(prompts) * num, 2, 2, 3), np.uint8)

    class Judge:
        def scores(self, images, prompts):
            return np.zeros(len(images), np.float32)

    draw = partial(Pipeline().text_to_image, steps=2)
    arguments = options.Drawing(rerank_from=4, batch_size=4)
    images = guided._best(draw, Judge(), arguments, ["a", "b"], seed=[10, 50])
    assert len(images) == 2 and asked == [(2, [10, 50]), (2, [12, 52])]


def test_a_hash_tells_models_apart(params, tokenizer):
    own = model_folder.model_hash(tiny.MODEL, tokenizer, params)
    assert own == model_folder.model_hash(tiny.MODEL, tokenizer, dict(reversed(params.items())))
    leaves, structure = jax.tree.flatten(params)
    other = jax.tree.unflatten(structure, [leaves[0] * 1.001, *leaves[1:]])
    assert model_folder.model_hash(tiny.MODEL, tokenizer, other) != own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num", "2"], "--num is 2"),
        (["--data", "coco"], "coco"),
        (["--model", "nowhere"], "there is no model 'nowhere'"),
        (["--steps", "0"], "0"),
        (["--guide", "clip", "--clip-model", "nowhere"], "there is no model 'nowhere'"),
        (["--clip-scale", "2"], "--clip-scale is 2.0, but no CLIP guides"),
        (["--out", "sample.py/x"], "sample.py' is no folder to write to"),
    ],
)
def test_bad_input_is_a_sentence(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        evaluate.main(["--num", "3", "--out", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()
