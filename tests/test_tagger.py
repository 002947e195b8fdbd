"""The tagger: its tags, loss and runs, the trainings that start from it, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from etils import epath

from glide_jax import checkpoint, model_folder
from glide_jax.config import Data, Recipe, Tagger, from_dict, to_dict
from glide_jax.data import pipeline as data
from glide_jax.data import scenes, shapes, tags
from glide_jax.data.captions import NUMBERS, Phrase
from glide_jax.models import tagger
from glide_jax.training import loop, runs
from glide_jax.training.log import read_metrics
from glide_jax.training.tasks import task_of
from tests import tiny
from tests.one_step import distance, one_step
from train import CONFIGS, load_recipe

pytestmark = pytest.mark.long  # trainings, or much to compile

MODEL = Tagger(tiny.MODEL.text)
RECIPE = Recipe(
    "x",
    model=MODEL,
    batch_size=8,
    steps=4,
    log_every=2,
    checkpoint_every=2,
    sample_every=4,
    optim=dataclasses.replace(tiny.RECIPE.optim, warmup_steps=1),
)
SIDES = (None, "left", "right", "above", "below")


def test_spans_are_the_phrases_and_tell_what_they_claim():
    sides = set()
    for index in range(300):
        scene, caption = shapes.describe(index, seed=5)
        found = tags.spans(scene, caption)
        for phrase, (start, stop, own) in zip(scene.claims, found, strict=True):
            first, *size, colour, noun = caption[start:stop].split()
            assert (
                first == NUMBERS[phrase.count] if phrase.count > 1 else first in ("a", "an", "one")
            )
            assert (colour, noun.startswith(phrase.shape)) == (phrase.colour, True)
            assert list(scenes.COLOURS)[own[0]] == colour
            assert scenes.SHAPES[own[1]] == phrase.shape
            assert (None, "small", "big")[own[2]] == phrase.size and bool(size) == bool(own[2])
            assert own[3] == phrase.count - 1
            sides.add(SIDES[own[4]])
        assert (scene.relation is None) == all(own.tags[4] == 0 for own in found)
    assert sides == {*SIDES}


@pytest.mark.parametrize(
    ("caption", "relation", "sides"),
    [
        ("a red star left of two blue squares", "left", ("left", "right")),
        ("two blue squares with a red star above it", "above", ("above", "below")),
        ("a red star and two blue squares", None, (None, None)),
    ],
)
def test_the_other_object_is_on_the_other_side(caption, relation, sides):
    star, squares = Phrase("star", "red", None, 1), Phrase("square", "blue", None, 2)
    scene = scenes.Scene((), (0, 0, 0), 2, (star, squares), relation)
    spans = tags.spans(scene, caption)
    assert [caption[s.start : s.stop] for s in spans] == ["a red star", "two blue squares"]
    assert tuple(SIDES[s.tags[4]] for s in spans) == sides


def test_tokens_have_the_tags_of_the_span_that_they_are_in():
    red, blue = tags.Span(0, 10, (1, 2, 0, 0, 3)), tags.Span(14, 24, (4, 5, 1, 1, 0))
    offsets = [(0, 1), (1, 5), (5, 10), (10, 12), (12, 14), (14, 17), (17, 24)]
    found = tags.token_tags([red, blue], offsets, context=8)
    none = (tags.UNSAID,) * 5
    expected = [red.tags, red.tags, red.tags, none, none, blue.tags, blue.tags, none]
    assert [*map(tuple, found)] == expected
    cut = tags.token_tags([red, blue], offsets, context=4)
    assert [*map(tuple, cut)] == expected[:4]


def test_offsets_cut_a_caption_into_its_tokens():
    own = tiny.tokenizer()
    for caption in ("a big red circle", "A red  circle"):
        (offsets,), (tokens, _) = own.offsets([caption]), own.encode([caption])
        assert len(offsets) == np.sum(tokens != own.padding)
        words = " ".join(caption[start:stop].strip() for start, stop in offsets)
        assert words.replace(" ", "") == caption.replace(" ", "")


def batches(start, stop, size=8):
    reader = tags.Tagged(tiny.tokenizer())
    source = data.open_source(RECIPE.data, MODEL.image_size)
    drawn = data.batches(RECIPE.data, source, start, stop, size, MODEL.image_size, reader)
    return [{name: each[name] for name in ("tokens", "mask", "tags", "row")} for each in drawn]


@pytest.fixture(scope="module")
def batch():
    return batches(0, 1)[0]


@pytest.fixture(scope="module")
def params():
    return tiny.random_params(4, MODEL)


def test_batches_carry_the_tags_of_their_captions():
    (batch,) = batches(1, 2, size=4)
    for row in range(4):
        scene, caption = shapes.describe(4 + row)
        (offsets,) = tiny.tokenizer().offsets([caption])
        expected = tags.token_tags(tags.spans(scene, caption), offsets, MODEL.text.context)
        np.testing.assert_array_equal(batch["tags"][row], expected)
        assert not np.any(batch["mask"][row] < (expected[:, 0] != tags.UNSAID))


def test_the_loss_is_the_cross_entropy_of_the_tokens_that_name(batch, params):
    loss, (metrics, _) = task_of(RECIPE).loss(params, batch, jax.random.key(0))
    logits = tagger.apply(MODEL, params, batch["tokens"], batch["mask"])
    losses, right = np.zeros(8), np.zeros(8)
    for row in range(8):
        named = [k for k in range(MODEL.text.context) if batch["tags"][row, k, 0] >= 0]
        for k in named:
            for number, own in enumerate(logits):
                tag, z = batch["tags"][row, k, number], np.float64(own[row, k])
                losses[row] += (np.log(np.exp(z).sum()) - z[tag]) / len(named)
                right[row] += (z.argmax() == tag) / len(named) / 5
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    accuracy = metrics["accuracy"]
    np.testing.assert_allclose(accuracy.total / accuracy.count, right.mean(), rtol=1e-5)


def test_a_caption_is_right_where_all_of_its_tags_are(batch, monkeypatch):
    true = [
        9 * np.eye(n)[np.maximum(batch["tags"][..., i], 0)] for i, n in enumerate(MODEL.classes)
    ]
    monkeypatch.setattr(tagger, "apply", lambda *_, dtype: true)
    found = task_of(RECIPE).evaluate({}, batch, None)
    np.testing.assert_allclose([found["accuracy"], found["captions_right"]], 1, rtol=1e-6)
    named = batch["tags"][0, :, 0] >= 0
    true[4][0, named.argmax()] *= -1
    found = task_of(RECIPE).evaluate({}, batch, None)
    np.testing.assert_allclose(found["accuracy"], 1 - 1 / 8 / 5 / named.sum(), rtol=1e-6)
    assert found["captions_right"] == 7 / 8


def test_two_devices_make_the_step_of_one(batch, params):
    expected = one_step(task_of(RECIPE), batch, params)
    found = one_step(task_of(RECIPE), batch, params, over="pmap")
    assert jax.local_device_count() == 2
    assert distance(found.gradient, expected.gradient) < 1e-5
    np.testing.assert_allclose(found.means["loss"], expected.means["loss"], rtol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("tagger") / "run"
    loop.train(RECIPE, run)
    return run


def test_a_run_ends_as_a_taggers_folder(finished):
    model, tokenizer, params = checkpoint.load_model(finished, kind="tagger")
    assert model == MODEL and params.keys() == {"text_encoder", "tags"}
    assert tokenizer.encode(["a red circle"])[1].sum() >= 3
    assert len(model_folder.model_hash(model, tokenizer, params)) == 16
    rows = read_metrics(finished / "metrics.jsonl")
    assert [row["step"] for row in rows if "accuracy" in row and "loss" in row] == [2, 4]
    (judged,) = (row for row in rows if "eval_loss" in row)
    assert judged.keys() == {"step", "eval_loss", "accuracy", "captions_right"}
    with pytest.raises(ValueError, match="holds a tagger, which goes to --text-from"):
        checkpoint.load_model(finished)


@pytest.mark.long
def test_a_diffusion_model_starts_with_its_text_encoder(finished, tmp_path, monkeypatch):
    begun, run = [], epath.Path(tmp_path / "run")

    def begin(recipe, programs, state, *more):
        begun.append(state)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "run_steps", begin)
    recipe = dataclasses.replace(tiny.RECIPE, seed=3, text_from=str(finished))
    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, run)
    _, tokenizer = model_folder.load_description(run)
    _, own_tokenizer, parent = checkpoint.load_model(finished, kind="tagger")
    assert tokenizer.to_json() == own_tokenizer.to_json()
    fresh = jax.jit(task_of(recipe).init)(jax.random.split(jax.random.key(3))[0])
    for params in (begun[0].params, begun[0].ema_params["0.99"]):
        params = jax.device_get(params)
        project = params["text_encoder"].pop("project")
        assert distance(params["text_encoder"], parent["text_encoder"]) < 1e-6
        # The rest is as it would be without.
        assert distance(project, fresh["text_encoder"]["project"]) < 1e-6
        assert distance(params["unet"], fresh["unet"]) < 1e-6
    # Once there is a checkpoint it goes on without the tagger.
    monkeypatch.setattr(runs, "_has_checkpoint", lambda run: True)
    assert runs.adopt_model(recipe, run) == (recipe, None)


def test_text_encoders_that_do_not_fit_are_refused(finished, tmp_path):
    text = dataclasses.replace(tiny.MODEL.text, layers=3)
    model = dataclasses.replace(tiny.MODEL, text=text)
    recipe = dataclasses.replace(tiny.RECIPE, model=model, text_from=str(finished))
    message = f"model.text.layers is 3, but {finished}, .* has {tiny.MODEL.text.layers}: say the sa"
    with pytest.raises(ValueError, match=message):
        loop.train(recipe, tmp_path / "run")
    with pytest.raises(
        ValueError, match="text_from is shapes-clip, a CLIP, whose text encoder is n"
    ):
        loop.train(dataclasses.replace(recipe, text_from="shapes-clip"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="text_from is 'x'; allowed: none .--text-from None., f"):
        dataclasses.replace(recipe, init_from="shapes32", text_from="x")


def test_the_recipe_is_of_the_text_encoder_that_shapes32_has():
    recipe, _ = load_recipe(CONFIGS / "shapes_text.py")
    child, _ = load_recipe(CONFIGS / "shapes32.py")
    assert recipe.model.text == child.model.text and recipe.data.seed != child.data.seed
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    assert recipe.model.classes == (len(scenes.COLOURS), len(scenes.SHAPES), 3, 3, len(SIDES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": Data(source="folder", path="x")}, "for a tagger learns what captions claim, whi"),
        ({"text_from": "shapes32"}, "is 'shapes32'; allowed: None, for the training of a tagger"),
        ({"remat": "blocks"}, "Recipe.remat is 'blocks'; allowed: none, for a tagger is small"),
        (
            {"model": {"classes": (8, 1)}},
            r"Tagger.classes is \(8, 1\); allowed: one number of 2 or",
        ),
    ],
)
def test_what_a_tagger_has_no_use_for_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        if isinstance(change.get("model"), dict):
            change = {"model": dataclasses.replace(MODEL, **change["model"])}
        dataclasses.replace(RECIPE, **change)
