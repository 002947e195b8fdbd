"""The classifier of Shapes: its labels, loss and runs, and what its recipe refuses."""

import dataclasses

import jax
import numpy as np
import pytest

from glide_jax import checkpoint, model_folder
from glide_jax.config import Classifier, Data, Recipe, from_dict, to_dict
from glide_jax.data import pipeline as data
from glide_jax.data import shapes
from glide_jax.models import classifier
from glide_jax.models.text2im import count_parameters
from glide_jax.training import loop
from glide_jax.training.log import read_metrics
from glide_jax.training.tasks import task_of
from tests import tiny
from tests.one_step import distance, first_step, one_step
from train import CONFIGS, load_recipe

MODEL = Classifier(channels=(4, 8, 8), features=16)
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


def batches(start, stop, size=8):
    source = data.open_source(RECIPE.data, 32)
    drawn = data.batches(RECIPE.data, source, start, stop, size, 32, None)
    return [{name: each[name] for name in ("image", "label", "row")} for each in drawn]


def test_labels_are_the_kinds_of_the_objects_from_left_to_right():
    assert (MODEL.objects, MODEL.classes) == (shapes.MOST_OBJECTS, shapes.NOTHING + 1)
    seen = set()
    for index in range(200):
        scene = shapes.describe(index, seed=5)[0]
        label = shapes.label(index, seed=5)
        expected = [(o.colour, o.shape) for o in sorted(scene.objects, key=lambda o: o.x)]
        named = [shapes.OBJECT_KINDS[kind] for kind in label if kind != shapes.NOTHING]
        assert named == expected and len(label) == 3
        assert label[len(named) :] == [shapes.NOTHING] * (3 - len(named))
        seen |= {*named}
    assert not seen & shapes.HELD_OUT and len(seen) == len(shapes.OBJECT_KINDS) - 8


def test_batches_carry_the_labels_of_their_pictures():
    (batch,) = batches(1, 2, size=4)
    for row in range(4):
        example = shapes.example(4 + row)
        np.testing.assert_array_equal(batch["image"][row], example.image)
        assert batch["label"][row].tolist() == shapes.label(4 + row)
    fixed, texts = data.fixed_batch(data.open_source(RECIPE.data, 32), 3, 32, None)
    assert fixed.keys() == {"image", "label", "row"} and len(texts) == 3
    # The test split's, whose order is the index.
    np.testing.assert_array_equal(fixed["label"][2], shapes.label(2, split="test"))


@pytest.fixture(scope="module")
def batch():
    return batches(0, 1)[0]


@pytest.fixture(scope="module")
def params():
    return tiny.random_params(4, MODEL)


def test_the_loss_is_the_cross_entropy_of_each_object(batch, params):
    loss, (metrics, _) = task_of(RECIPE).loss(params, batch, jax.random.key(0))
    x = batch["image"] / np.float32(127.5) - 1
    logits = np.float64(classifier.apply(MODEL, params, x)[1])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = np.take_along_axis(p, batch["label"][..., None], axis=-1)
    np.testing.assert_allclose(loss, -np.log(own).mean(), rtol=1e-5)
    right = (p.argmax(-1) == batch["label"]).mean()
    np.testing.assert_allclose(metrics["accuracy"].total / metrics["accuracy"].count, right)


def test_even_logits_cost_log_49_and_the_labels_own_cost_nothing(batch, monkeypatch):
    answers = {"even": np.zeros((8, 3, 49)), "right": 99 * np.eye(49)[batch["label"]]}
    for name, expected in (("even", np.log(49)), ("right", 0)):
        answer = (None, np.float32(answers[name]))
        monkeypatch.setattr(classifier, "apply", lambda *_, a=answer, dtype: a)
        found = task_of(RECIPE).evaluate({}, batch, None)
        np.testing.assert_allclose(found["eval_loss"], expected, rtol=1e-6)
    assert found["accuracy"] == found["scene_accuracy"] == 1


def test_a_training_s_programs_make_the_step_of_one_device(batch, params):
    expected = one_step(task_of(RECIPE), batch, params)
    assert jax.local_device_count() == 2
    found = first_step(RECIPE, batch, params)
    for name in ("loss", "accuracy", "grad_norm"):
        np.testing.assert_allclose(found[name], expected.means[name], rtol=1e-5)


@pytest.mark.long
def test_a_run_ends_as_a_classifiers_folder(tmp_path):
    run = tmp_path / "run"
    loop.train(RECIPE, run)
    model, tokenizer, params = checkpoint.load_model(run, kind="classifier")
    assert model == MODEL and tokenizer is None
    assert not (run / "tokenizer.json").exists() and not (run / "samples").exists()
    assert len(model_folder.model_hash(model, tokenizer, params)) == 16
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "accuracy" in row and "loss" in row] == [2, 4]
    (judged,) = (row for row in rows if "eval_loss" in row)
    assert judged.keys() == {"step", "eval_loss", "accuracy", "scene_accuracy"}
    with pytest.raises(ValueError, match="holds a classifier, which goes to --features"):
        checkpoint.load_model(run)
    child = dataclasses.replace(RECIPE, model=Classifier(), init_from=str(run), steps=1)
    loop.train(child, tmp_path / "child")
    after = checkpoint.load_model(tmp_path / "child", kind="classifier")[2]
    assert 0 < distance(after, params) < 0.1


def test_the_recipe_has_the_size_that_is_said():
    recipe, _ = load_recipe(CONFIGS / "shapes_features.py")
    # Convolutions and their norms, then two dense layers.
    kernels = 9 * (3 * 32 + 32 * 64 + 64 * 96 + 96 * 96) + 3 * (32 + 64 + 96 + 96)
    dense = (4 * 4 * 96 + 1) * 128 + 129 * 3 * 49
    assert count_parameters(model_folder.param_shapes(recipe.model)) == kernels + dense < 500_000
    assert recipe.model == Classifier() and from_dict(Recipe, to_dict(recipe)) == recipe
    models = {load_recipe(CONFIGS / f"{n}.py")[0].data.seed for n in ("shapes32", "shapes_clip")}
    assert recipe.data.seed not in models


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"data": Data(source="folder", path="x")},
            "Data.source is 'folder'; allowed: 'shapes'",
        ),
        ({"caption_dropout": 0.1}, "is 0.1; allowed: 0.2, for the training of a classifier"),
        ({"keep_best": "caption_gap"}, "or eval_loss, for a classifier has no caption gap"),
    ],
)
def test_what_a_classifier_has_no_use_for_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": ()}, r"Classifier.channels is \(\)"),
        ({"image_size": 36}, "Classifier.image_size is 36; allowed: multiples of 8, for 4 conv"),
        ({"classes": 1}, "Classifier.classes is 1; allowed: 2 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Classifier(**fields)
    with pytest.raises(ValueError, match="takes pictures"):
        classifier.apply(MODEL, {}, np.zeros((1, 16, 16, 3), np.float32))
