"""CLIP's training: its loss and draws, many devices against one, whole runs, what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import NoisedClip, checkpoint, model_folder
from glide_jax.config import Clip, ClipImage, LowRes, Optim, Recipe, from_dict, to_dict
from glide_jax.training import loop, tasks
from glide_jax.training.contrastive import contrastive_losses
from glide_jax.training.log import read_metrics
from glide_jax.training.optimizer import make_optimizer, trained_parameters
from tests import tiny
from tests.one_step import distance, first_step, one_step

pytestmark = pytest.mark.long  # trainings, or much to compile

MODEL = Clip(ClipImage(tiny.SIDE, 16, width=16, layers=1, heads=2), tiny.MODEL.text, embedding=8)
RECIPE = dataclasses.replace(
    tiny.RECIPE,
    model=MODEL,
    steps=4,
    log_every=2,
    checkpoint_every=2,
    sample_every=4,
    optim=dataclasses.replace(tiny.RECIPE.optim, warmup_steps=1),
)
CLEAN = dataclasses.replace(RECIPE, model=dataclasses.replace(MODEL, timesteps=0))


@pytest.fixture(scope="module")
def batch(tokenizer):
    return tiny.batches(0, 1, tokenizer, size=8)[0]


@pytest.fixture(scope="module")
def clip_params():
    return tiny.random_params(3, MODEL) | {"logit_scale": jnp.log(jnp.float32(5))}


def plain_losses(image, text, scale):
    """As `contrastive_losses`, pair by pair in float64."""
    image, text = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (image, text))
    logits = scale * np.float64(image) @ np.float64(text).T
    return [
        -0.5 * (np.log(np.exp(logits[i, i]) / each.sum()) + np.log(np.exp(logits[i, i]) / other))
        for i, (each, other) in enumerate(zip(np.exp(logits), np.exp(logits).sum(0), strict=True))
    ]


def test_the_loss_is_the_mean_of_both_directions_cross_entropies():
    image, text = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    params = {"logit_scale": np.log(np.float32(7))}
    found = contrastive_losses(params, 3 * image, text)
    np.testing.assert_allclose(found, plain_losses(image, text, 7), rtol=1e-5)
    assert not np.allclose(found, contrastive_losses(params, image[::-1], text))


def test_pairs_that_cannot_be_told_apart_cost_log_n():
    same = np.ones((6, 4), np.float32)
    losses = contrastive_losses({"logit_scale": np.float32(3)}, same, same)
    np.testing.assert_allclose(losses, np.log(6), rtol=1e-6)
    # Orthogonal ones: log(1 + (n - 1) exp(-scale)).
    losses = contrastive_losses({"logit_scale": np.float32(0)}, *2 * [np.eye(6, dtype=np.float32)])
    np.testing.assert_allclose(losses, np.log(1 + 5 / np.e), rtol=1e-6)


@pytest.mark.long
def test_a_training_s_programs_tell_the_whole_batch_apart_and_make_the_step_of_one_device(
    batch, clip_params
):
    assert jax.local_device_count() == 2
    expected = one_step(tasks.Clip(RECIPE), batch, clip_params)
    found = first_step(RECIPE, batch, clip_params)
    for name in ("loss", "logit_scale", "grad_norm"):
        np.testing.assert_allclose(found[name], expected.means[name], rtol=1e-5)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected.gradient))


def test_draws_are_even_and_depend_on_the_row_alone():
    draw = jax.jit(tasks.Clip(RECIPE).draw)
    rows = {"row": np.arange(40_000, dtype=np.int32), "image": np.zeros((1, 2, 2, 3), np.uint8)}
    t, eps = draw(rows, jax.random.key(0))
    last = draw(rows | {"row": rows["row"][-2:]}, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, (t[-2:], eps[-2:]), last)
    assert t.min() == 0 and t.max() == 999  # each missed with probability e**-40
    assert abs(np.mean(t) - 499.5) < 4 * 1000 / np.sqrt(12 * 40_000)
    assert abs(np.std(eps) - 1) < 0.01 and abs(np.corrcoef(t, eps[:, 0, 0, 0])[0, 1]) < 0.02


@pytest.mark.parametrize(("recipe", "is_noised"), [(RECIPE, True), (CLEAN, False)])
def test_the_loss_is_of_noised_pictures_or_of_clean_ones(recipe, is_noised, batch, monkeypatch):
    seen = []

    def image_embedding(model, params, x_t, t, dtype, remat):
        seen.append((x_t, t))
        return jnp.eye(len(x_t))

    monkeypatch.setattr(tasks.clip, "image_embedding", image_embedding)
    monkeypatch.setattr(tasks.clip, "text_embedding", lambda *_, dtype, remat: jnp.eye(8))
    params, key = {"logit_scale": jnp.zeros(())}, jax.random.key(0)
    loss, (metrics, _) = tasks.Clip(recipe).loss(params, batch, key)
    np.testing.assert_allclose(loss, np.log(1 + 7 / np.e), rtol=1e-5)
    ((x_t, t),) = seen
    x_0 = batch["image"] / 127.5 - 1
    if is_noised:
        drawn, eps = tasks.Clip(recipe).draw(batch, key)
        np.testing.assert_array_equal(t, drawn)
        # squaredcos_cap_v2's alphas_cumprod, closed form (arXiv 2102.09672, equation 17).
        f = lambda t: np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
        kept = (f(np.asarray(t, float) + 1) / f(0)).reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(x_t, np.sqrt(kept) * x_0 + np.sqrt(1 - kept) * eps, atol=2e-4)
        assert sum(metrics[f"loss_q{q}"].count for q in range(4)) == 8
    else:
        np.testing.assert_allclose(x_t, x_0, atol=1e-6)
        assert not np.any(t) and metrics.keys() == {"loss", "logit_scale"}


def test_a_step_never_takes_the_logit_scale_over_log_100():
    optim = Optim(learning_rate=0.5, warmup_steps=0, weight_decay=0.5)
    optimizer = make_optimizer(Recipe("x", model=MODEL, optim=optim, steps=10))
    params = {"logit_scale": jnp.log(jnp.float32(90)), "other": jnp.float32(8)}
    state = optimizer.init(params)
    for sign, expected in ((-1, np.log(100)), (-1, np.log(100)), (1, None)):
        gradient = jax.tree.map(lambda leaf, s=sign: s * jnp.ones_like(leaf), params)
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        if expected:
            np.testing.assert_allclose(params["logit_scale"], expected, rtol=1e-6)
    assert params["other"] > 8.5
    # It comes back down: the gradient at the cap is not lost.
    for _ in range(3):
        updates, state = optimizer.update({k: jnp.float32(1) for k in params}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    assert params["logit_scale"] < np.log(100) - 0.1


@pytest.mark.long
@pytest.mark.parametrize("name", ["shapes_clip", "shapes_clip_eval", "noised_clip"])
def test_gains_biases_and_embeddings_never_decay(name):
    from train import CONFIGS, load_recipe

    recipe, _ = load_recipe(CONFIGS / f"{name}.py")
    shapes = model_folder.param_shapes(recipe.model)
    params = jax.tree.map(lambda leaf: jnp.ones((1,) * leaf.ndim), shapes)
    trained_parameters(params, recipe.optim)  # every pattern matches
    optimizer = make_optimizer(recipe)
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        is_kernel = path[-1].key == "kernel"
        assert (np.abs(update).max() > 0) == is_kernel, path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "clip"
    loop.train(RECIPE, run)
    return run


def test_a_run_ends_as_a_clip_s_folder_with_its_metrics(finished):
    critic = NoisedClip.load(finished)
    assert critic.network.model == MODEL
    assert json.loads((finished / "config.json").read_text())["kind"] == "clip"
    assert not (finished / "samples").exists()
    rows = read_metrics(finished / "metrics.jsonl")
    losses = [row for row in rows if "loss" in row]
    assert [row["step"] for row in losses] == [2, 4]
    for row in losses:
        assert 0.5 < row["loss"] < 10 and row["logit_scale"] == pytest.approx(14, 0.1)
    (judged,) = (row for row in rows if "eval_loss" in row)
    names = {f"{w}_r{k}_t{n}" for w in ("i2t", "t2i") for k in (1, 5) for n in range(10)}
    assert judged.keys() == names | {"step", "eval_loss"}
    assert all(0 <= judged[name] <= 1 for name in names)
    for name in names:
        if "_r1_" in name:
            assert judged[name] <= judged[name.replace("_r1_", "_r5_")]


def test_a_checkpoint_of_a_run_is_a_clip_too(finished):
    model, _, before = checkpoint.load_model(finished, step=2, kind="clip")
    assert model == MODEL
    assert 0 < distance(before, checkpoint.load_model(finished, kind="clip")[2]) < 0.1


@pytest.mark.long
def test_a_training_starts_from_another_clip(finished, tmp_path):
    child = dataclasses.replace(RECIPE, model=Clip(), init_from=str(finished), steps=1)
    loop.train(child, tmp_path / "child")
    model, tokenizer, params = checkpoint.load_model(tmp_path / "child", kind="clip")
    _, own, before = checkpoint.load_model(finished, kind="clip")
    assert model == MODEL and tokenizer.to_json() == own.to_json()
    moved = distance(params, before)
    assert 0 < moved < 0.05 < distance(tiny.random_params(model=model), before)
    with pytest.raises(ValueError, match="holds a CLIP, .* here a diffusion model is needed"):
        loop.train(dataclasses.replace(tiny.RECIPE, init_from=str(finished)), tmp_path / "other")
    with pytest.raises(ValueError, match="model.embedding is 4, but .* has 8: leave it out"):
        other = dataclasses.replace(child, model=Clip(embedding=4))
        loop.train(other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_of_another_kind_is_not_gone_on_with(finished):
    with pytest.raises(ValueError, match="a run of a CLIP, not of a diffusion model: choose"):
        loop.train(tiny.RECIPE, finished)
    with pytest.raises(ValueError, match="a run with model.embedding 8, not 4"):
        model = dataclasses.replace(MODEL, embedding=4)
        loop.train(dataclasses.replace(RECIPE, model=model), finished)


@pytest.mark.parametrize("recipe", [RECIPE, CLEAN, Recipe("x", model=Clip())])
def test_a_recipe_of_a_clip_survives_json(recipe):
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": Optim(accumulate=2)}, "Optim.accumulate is 2; allowed: 1, for a CLIP tells"),
        ({"caption_dropout": 0.1}, "Recipe.caption_dropout is 0.1; allowed: 0.2, for the training"),
        ({"timestep_sampler": "loss_second_moment"}, "Recipe.timestep_sampler is 'loss_second"),
        ({"low_res": LowRes(noise=0.1)}, "Recipe.low_res is LowRes"),
        ({"keep_best": "caption_gap"}, "Recipe.keep_best is 'caption_gap'; allowed: loss or eval"),
    ],
)
def test_what_a_clip_has_no_use_for_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


def test_the_command_line_reaches_either_kind_of_model(monkeypatch, capsys):
    import train

    seen = []
    monkeypatch.setattr(loop, "train", lambda recipe, run: seen.append((recipe, run)))
    train.main(["configs/shapes_clip.py", "--model.image.width", "64", "--model.timesteps", "500"])
    train.main(["configs/tiny.py", "--model.unet.patch", "2"])
    (small, run), (tiny_recipe, _) = seen
    assert small.model.image.width == 64 and small.model.timesteps == 500
    assert small.model.text.context == 32 and run == "runs/shapes_clip"
    assert tiny_recipe.model.unet.patch == 2
    assert "retrieval --model runs/shapes_clip" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Unrecognized options: --model.unet.patch"):
        train.main(["configs/shapes_clip.py", "--model.unet.patch", "2"])
    with pytest.raises(SystemExit):
        train.main(["configs/shapes_clip.py", "--help"])
    assert "--model.image.width" in capsys.readouterr().out
