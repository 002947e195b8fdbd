"""Trainings that start from another model: what they take over, and what is their own."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from glide_jax import checkpoint, model_folder
from glide_jax.training import loop
from glide_jax.training.log import read_metrics
from glide_jax.training.optimizer import trained_parameters
from tests import tiny
from tests.pictures import fill
from tests.test_cli import ROOT, load_recipe, train

pytestmark = pytest.mark.long  # trainings, or much to compile

CONFIG = str(ROOT / "configs" / "finetune.py")
SHORT = (
    *("--steps", "2", "--batch-size", "4", "--checkpoint-every", "1", "--log-every", "1"),
    *("--sample-every", "2", "--optim.warmup-steps", "1"),
)
PUBLISHED = str(ROOT / "configs" / "finetune_published.py")
CAPTIONS = "Ein grüner Bär", "кот в сапогах", "熊 🐻"


class Begun(Exception):
    """A training was about to take its first step, from a state."""


@pytest.fixture(scope="module")
def parent(tmp_path_factory, tokenizer, params):
    """A model folder whose tokenizer was trained on other captions."""
    folder = tmp_path_factory.mktemp("models") / "parent"
    model_folder.save_model(folder, tiny.MODEL, tokenizer, params)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures whose captions are in words that no model here has seen."""
    folder = fill(tmp_path_factory.mktemp("pictures"), 3)
    for i, caption in enumerate(CAPTIONS):
        (folder / f"{i:03d}.txt").write_text(caption, encoding="utf-8")
    return folder


def finetune(parent, pictures, run, *arguments):
    of_all = ["--init-from", str(parent), "--data.path", str(pictures), "--run", str(run)]
    train.main([CONFIG, *of_all, *SHORT, *arguments])


def beginning(monkeypatch, *arguments):
    """The state that a training would take its first step from; the training ends there."""

    def begin(recipe, step, state, *others):
        raise Begun(state)

    with monkeypatch.context() as patch, pytest.raises(Begun) as begun:
        patch.setattr(loop, "run_steps", begin)
        finetune(*arguments)
    return begun.value.args[0]


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, parent, pictures):
    """A fine-tuning at its end, whose text encoder was frozen."""
    run = tmp_path_factory.mktemp("runs") / "child"
    finetune(parent, pictures, run, "--optim.freeze", "text_encoder")
    return run


@pytest.mark.long
def test_the_model_and_its_tokenizer_are_taken_over(finished, parent, params):
    assert (finished / "tokenizer.json").read_bytes() == (parent / "tokenizer.json").read_bytes()
    model, _, trained = checkpoint.load_model(finished)
    assert model == tiny.MODEL
    assert_same(trained["text_encoder"], params["text_encoder"])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), trained["unet"], params["unet"])
    assert all(jax.tree.leaves(moved))


@pytest.mark.long
def test_optimizer_learning_rate_and_steps_begin_anew(
    monkeypatch, finished, pictures, tmp_path, params
):
    state = beginning(monkeypatch, finished, pictures, tmp_path / "grandchild")
    _, _, trained = checkpoint.load_model(finished)
    assert_same(state.params, trained)
    assert_same(state.ema_params["0.99"], trained)
    assert int(state.step) == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.opt_state) if leaf.dtype != bool)
    rates = [row["learning_rate"] for row in read_metrics(finished / "metrics.jsonl")[:1]]
    assert rates == pytest.approx([3e-4 / 2])  # the first of the warm-up


def test_before_its_first_checkpoint_a_run_begins_with_the_parent_again(
    monkeypatch, parent, pictures, tmp_path, params
):
    for _ in range(2):
        assert_same(beginning(monkeypatch, parent, pictures, tmp_path / "run").params, params)


def test_after_it_a_run_goes_on_by_itself(monkeypatch, finished, pictures, tmp_path, params):
    run, gone = shutil.copytree(finished, tmp_path / "run"), "nowhere/parent"
    recipe = dataclasses.replace(checkpoint.load_recipe(run), init_from=gone)
    checkpoint.save_recipe(run, recipe)
    for name in ("2", "../params.safetensors"):  # as a kill leaves it after the first step
        path = run / "checkpoints" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    state = beginning(monkeypatch, gone, pictures, run, "--optim.freeze", "text_encoder")
    assert int(state.step) == 1
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params["unet"], params["unet"])
    assert all(jax.tree.leaves(moved))


def test_a_run_is_not_gone_on_with_from_another_parent(finished, pictures):
    message = "holds a run with init_from .*parent, not shapes32: choose another --run"
    with pytest.raises(ValueError, match=message):
        finetune("shapes32", pictures, finished, "--optim.freeze", "text_encoder")


def test_dropout_alone_can_be_another_than_the_parent_s(monkeypatch, parent, pictures, tmp_path):
    said = "--model.unet.dropout", "0.3", "--model.text.width", str(tiny.MODEL.text.width)
    beginning(monkeypatch, parent, pictures, tmp_path / "run", *said)
    model, _ = model_folder.load_description(tmp_path / "run")
    assert model.unet == dataclasses.replace(tiny.MODEL.unet, dropout=0.3)
    with pytest.raises(ValueError, match="model.text.width is 64, but .*parent, .* has 32: leave"):
        finetune(parent, pictures, tmp_path / "other", "--model.text.width", "64")
    assert not (tmp_path / "other").exists()


def test_a_parent_without_a_tokenizer_is_refused(parent, pictures, tmp_path):
    mute = shutil.copytree(parent, tmp_path / "mute")
    (mute / "tokenizer.json").unlink()
    with pytest.raises(
        ValueError, match="has no tokenizer, and so no tokens for '.* сапогах', only"
    ):
        finetune(mute, pictures, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_any_caption_can_be_spelled_with_a_shipped_tokenizer():
    _, tokenizer = model_folder.load_description(model_folder.PRETRAINED / "shapes32")
    tokens, mask = tokenizer.encode(CAPTIONS)
    lengths = mask.sum(axis=1).tolist()
    rows = (row[:length].tolist() for row, length in zip(tokens, lengths, strict=True))
    spelled = [tokenizer.encoding.decode(row) for row in rows]
    assert spelled == [caption.lower() for caption in CAPTIONS]


def test_the_published_model_s_recipe_trains_its_unet_alone(params):
    recipe, _ = load_recipe(PUBLISHED)
    assert recipe.init_from == "glide-base"
    trained = trained_parameters(params, recipe.optim)
    assert not any(jax.tree.leaves(trained["text_encoder"]))
    assert all(jax.tree.leaves(trained["unet"]))
