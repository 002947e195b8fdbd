"""Reranking: which pictures are kept, in which order, where one looks, and what is told of it."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

import sample
from glide_jax import NoisedClip, Pipeline, cli, model_folder, rerank, sampling
from glide_jax.images import read_settings
from glide_jax.reranking import around_hole
from tests import tiny

MODEL = tiny.SMALLER
SIDE = MODEL.unet.image_size
CLIP = replace(tiny.CLIP, image=replace(tiny.CLIP.image, image_size=SIDE), timesteps=0)
PROMPTS = ["a red circle", "a blue star"]


class Counting:
    """Stands in for a method of Pipeline: pictures of two pixels with the seed in the first."""

    def __init__(self):
        self.calls = []

    def __call__(self, prompts, *, num, seed, batch_size):
        self.calls.append((num, seed))
        images = np.zeros((len(prompts) * num, 2, 2, 3), np.uint8)
        images[:, 0, 0, 0] = [own + i for own in seed for i in range(num)]
        return images


class Judge:
    """Stands in for a CLIP: a picture's score is the remainder of its seed by 7."""

    def scores(self, images, prompts):
        return np.float32([image[0, 0, 0] % 7 for image in images])


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_the_best_are_kept_first_and_of_equals_those_of_the_smaller_seed(batch_size):
    draw, own = Counting(), {"num": 4, "rerank_from": 20, "batch_size": batch_size}
    found = rerank(draw, PROMPTS, Judge(), seed=[0, 100], **own)
    # Of 0 to 19 and of 100 to 119, by hand.
    assert found.seeds.tolist() == [6, 13, 5, 12, 104, 111, 118, 103]
    assert found.scores.tolist() == [6, 6, 5, 5, 6, 6, 6, 5]
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], found.seeds)
    # No more at a time than a batch, and one number a call: one program.
    (num,) = {num for num, _ in draw.calls}
    assert num == 1 or num * len(PROMPTS) <= batch_size
    assert 0 <= num * len(draw.calls) - 20 < len(draw.calls)


def test_of_one_one_is_kept():
    found = rerank(Counting(), PROMPTS, Judge(), num=1, rerank_from=1, seed=5)
    assert found.seeds.tolist() == [5, 5] and found.scores.tolist() == [5, 5]


def test_more_are_drawn_than_kept():
    with pytest.raises(ValueError, match="rerank_from is 3; it must be num, 4, or more"):
        rerank(Counting(), PROMPTS, Judge(), num=4, rerank_from=3)
    with pytest.raises(ValueError, match="num is 0; it must be 1 or more"):
        rerank(Counting(), PROMPTS, Judge(), num=0, rerank_from=3)
    with pytest.raises(ValueError, match=f"seed is {2**64}; with rerank_from it must be at most"):
        rerank(Counting(), PROMPTS, Judge(), seed=[0, 2**64], rerank_from=3)


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((10, 14, 12, 20), (6, 18, 10, 22)),  # 4 by 8, so 12 by 12 around it
        ((0, 4, 28, 32), (0, 6, 26, 32)),  # shifted into the picture
        ((0, 22, 5, 6), (0, 32, 0, 32)),  # 33 is more than the picture has
    ],
)
def test_one_looks_at_the_square_around_the_hole(box, square):
    top, bottom, left, right = box
    mask = np.ones((32, 32), bool)
    mask[top:bottom, left:right] = False
    rows, columns = around_hole(mask)
    assert (rows.start, rows.stop, columns.start, columns.stop) == square


def test_with_masks_each_prompt_has_its_own_square():
    masks, seen = np.ones((2, 8, 8), bool), []
    masks[0, :2, :2] = masks[1, 6:, 6:] = False

    def draw(prompts, *, num, seed, batch_size):
        return np.arange(2 * num * 192).reshape(2 * num, 8, 8, 3).astype(np.uint8)

    class Looking:
        def scores(self, images, prompts):
            seen.extend(images)
            return np.arange(len(images), dtype=np.float32)

    rerank(draw, PROMPTS, Looking(), rerank_from=2, masks=masks)
    drawn = draw(PROMPTS, num=2, seed=0, batch_size=4)
    for found, image, corner in zip(
        seen, drawn, [np.s_[:3, :3]] * 2 + [np.s_[5:, 5:]] * 2, strict=True
    ):
        np.testing.assert_array_equal(found, image[corner])


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """A model, a CLIP for it, a picture and its mask."""
    folder = tmp_path_factory.mktemp("models")
    inpainter = replace(MODEL, unet=replace(MODEL.unet, inpaint=True))
    for seed, (name, model) in enumerate({"model": inpainter, "clip": CLIP}.items()):
        model_folder.save_model(folder / name, model, tokenizer, tiny.random_params(seed, model))
    mask = np.ones((SIDE, SIDE), bool)
    mask[2:6, 2:6] = False
    Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(folder / "picture.png")
    Image.fromarray(mask).save(folder / "mask.png")
    edits = [{"mask": "mask.png", "prompt": prompt} for prompt in PROMPTS]
    (folder / "edits.json").write_text(json.dumps(edits))
    return folder


@pytest.fixture
def draw(folder, tmp_path, monkeypatch):
    """sample.py with a network that leaves the first noise as it is; the folder that it fills."""
    monkeypatch.setattr(sampling, "_run", lambda carry, *_, **static: carry)
    names = {"picture": folder / "picture.png", "mask": folder / "mask.png"}
    names |= {"edits": folder / "edits.json"}

    def draw(*arguments, out="out"):
        given = [str(names.get(each, each)) for each in arguments]
        own = ["--model", folder / "model", "--rerank-model", folder / "clip", "--steps", 4]
        sample.main(given + [str(each) for each in (*own, "--out", tmp_path / out)])
        return tmp_path / out

    return draw


def ranked_by_hand(folder, prompt, seeds, square=np.s_[:, :]):
    """[(score, seed)] of all pictures, the best first."""
    pipeline, judge = Pipeline.load(folder / "model"), NoisedClip.load(folder / "clip")
    images = [pipeline.text_to_image([prompt], seed=seed)[0][square] for seed in seeds]
    scores = judge.scores(images, [prompt])
    return sorted(zip(scores.tolist(), seeds, strict=True), key=lambda pair: -pair[0])


def test_the_kept_pictures_tell_their_seeds_and_scores(draw, folder):
    out = draw(*PROMPTS, "--num", 2, "--rerank-from", 5, "--seed", 3, "--batch-size", 4)
    told = json.loads((out / "scores.json").read_text())
    assert (told["rerank_from"], told["rerank_model"]) == (5, str(folder / "clip"))
    assert [each["prompt"] for each in told["pictures"]] == [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2
    for row, prompt in enumerate(PROMPTS):
        best = ranked_by_hand(folder, prompt, range(3, 8))[:2]
        for (score, seed), each in zip(best, told["pictures"][2 * row :][:2], strict=True):
            assert (each["file"], each["seed"]) == (f"{row:04d}-{seed}.png", seed)
            assert each["score"] == pytest.approx(score, abs=1e-4)
            settings = read_settings(out / each["file"])
            assert (settings["seed"], settings["scores"]) == (seed, [each["score"]])
            assert settings["prompts"] == [prompt] and settings["rerank_from"] == 5
            with Image.open(out / each["file"]) as image:
                drawn = Pipeline.load(folder / "model").text_to_image([prompt], seed=seed)
                np.testing.assert_array_equal(np.asarray(image), drawn[0])
    assert len(list(out.iterdir())) == 5


def test_of_a_grid_the_scores_lie_beside(draw):
    path = draw(PROMPTS[0], "--num", 2, "--rerank-from", 4, out="grid.png")
    told = json.loads((path.parent / "grid-scores.json").read_text())["pictures"]
    settings = read_settings(path)
    assert settings["seeds"] == [each["seed"] for each in told] and len(told) == 2
    assert settings["scores"] == [each["score"] for each in told]


def test_of_inpainting_the_part_around_the_hole_counts(draw, folder):
    asked = [PROMPTS[0], "--image", "picture", "--mask", "mask", "--rerank-from", 6]
    (found,) = json.loads((draw(*asked) / "scores.json").read_text())["pictures"]
    score, seed = ranked_by_hand(folder, PROMPTS[0], range(6), np.s_[1:7, 1:7])[0]
    assert found["seed"] == seed and found["score"] == pytest.approx(score, abs=1e-4)


def test_each_edit_goes_on_from_the_best_of_the_one_before(draw, folder):
    out = draw("--image", "picture", "--edits", "edits", "--rerank-from", 4)
    told = json.loads((out / "scores.json").read_text())["pictures"]
    best = [
        ranked_by_hand(folder, prompt, range(first, first + 4), np.s_[1:7, 1:7])[0]
        for first, prompt in enumerate(PROMPTS)
    ]
    assert [each["seed"] for each in told] == [seed for _, seed in best]
    assert [each["file"] for each in told] == ["0000-0.png", "0001-0.png"]
    assert read_settings(out / "0001-0.png")["seeds"] == [seed for _, seed in best]


parse = partial(cli.parse, sample.Arguments, prog="sample.py", description="")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--guide", "cfg", "--clip-scale", "5"], "--clip-scale is 5.0, but no CLIP guides"),
        (["--guide", "none", "--clip-model", "x"], "--clip-model is 'x', but no CLIP guides"),
        (
            ["--guide", "clip", "--guidance-scale", "5"],
            "--guidance-scale is 5.0, but --guide is 'clip': say --guide cfg or both, or leave it",
        ),
        (["--guide", "none", "--negative-prompt", "x"], "--negative-prompt is 'x', but --guide is"),
        (["--rerank-model", "x"], "--rerank-model is 'x', but there is nothing to rank: give"),
        (["--rerank-from", "0"], "--rerank-from is 0; it must be 1 or more"),
        (["--guide", "clap"], "invalid choice 'clap'"),
    ],
)
def test_options_without_a_use_are_refused_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        parse(["x", *options])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "scale", "clip"),
    [
        ([], 3.0, None),
        (["--clip-model", "mine"], 3.0, "mine"),
        (["--guide", "clip"], 1.0, "shapes-clip"),
        (["--guide", "both", "--guidance-scale", "2"], 2.0, "shapes-clip"),
        (["--guide", "none"], 1.0, None),
    ],
)
def test_what_guides(options, scale, clip):
    parsed = parse(["x", *options])
    assert (parsed.settings()["guidance_scale"], parsed.guiding_model) == (scale, clip)
    assert parsed.ranking_model is None
    ranked = parse(["x", *options, "--rerank-from", "8"])
    assert ranked.judges(lambda name: [name]) == (clip and [clip], ["shapes-clip-clean"])


def test_a_clip_that_leads_alone_needs_no_second_branch(folder, tmp_path, monkeypatch):
    runs = []

    def run(carry, rows, whole, *, guided, judge, **static):
        runs.append((guided, judge and judge[0]))
        return carry

    monkeypatch.setattr(sampling, "_run", run)
    options = ["--model", str(folder / "model"), "--steps", "4", "--out", str(tmp_path / "out")]
    for guide in ("cfg", "clip", "both", "none"):
        led = ["--clip-model", str(folder / "clip")] if guide in ("clip", "both") else []
        sample.main(["x", "--guide", guide, *led, *options])
    assert runs == [(True, None), (False, CLIP), (True, CLIP), (False, None)]
