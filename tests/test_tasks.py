"""A diffusion model's loss: its draws, its parts, and the caption gap."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.config import Recipe
from glide_jax.data import pipeline as data
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.training import tasks
from glide_jax.training.tasks import Diffusion, task_of
from tests import tiny


@pytest.fixture(scope="module")
def task():
    return Diffusion(tiny.RECIPE)


@pytest.fixture(scope="module")
def batch(tokenizer):
    return tiny.batches(0, 1, tokenizer)[0]


def test_draws_depend_on_the_row_alone(task, batch):
    draw = jax.jit(task.draw)
    whole = draw(batch, jax.random.key(3))
    last = draw(jax.tree.map(lambda leaf: leaf[2:], batch), jax.random.key(3))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2:], b), whole, last)


def test_draws_cover_every_timestep_and_drop_their_share_of_captions(task, batch):
    rows = {"row": np.arange(40_000, dtype=np.int32), "image": np.zeros((1, 2, 2, 3), np.uint8)}
    draws = jax.jit(task.draw)(rows, jax.random.key(0))
    assert draws.t.min() == 0 and draws.t.max() == 999  # each missed with probability e**-40
    dropped = 1 - np.mean(draws.keep_caption)
    assert abs(dropped - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 40_000)
    assert abs(np.mean(draws.eps)) < 0.01 and abs(np.std(draws.eps) - 1) < 0.01


@pytest.mark.long
def test_a_fresh_model_s_error_is_the_noise_s_variance(task, batch):
    params = jax.jit(task.init)(jax.random.key(0))
    loss, seen = jax.jit(task.loss)(params, batch, jax.random.key(1))
    means = {name: mean.total / mean.count for name, mean in seen.metrics.items()}
    np.testing.assert_allclose(means["mse"], 1, atol=0.05)
    np.testing.assert_allclose(loss, means["mse"] + means["vb"], rtol=1e-6)


def test_losses_are_told_apart_by_how_much_noise_there_was(task, params, tokenizer):
    batch, _ = data.fixed_batch(tiny.SOURCE, 16, tiny.SIDE, tokenizer)
    _, seen = jax.jit(task.loss)(params, batch, jax.random.key(1))
    t, losses = (np.asarray(seen.examples[name]) for name in ("t", "loss"))
    for q in range(4):
        inside = (250 * q <= t) & (t < 250 * (q + 1))
        mean = seen.metrics[f"loss_q{q}"]
        assert mean.count == inside.sum() > 0
        np.testing.assert_allclose(mean.total, losses[inside].sum(), rtol=1e-5)


def stub_losses(monkeypatch):
    """Makes the network give back its caption, a number; returns what will hold its inputs."""
    seen = {}

    def encode_text(model, params, tokens, mask, dtype, remat):
        seen.update(text_dtype=dtype)
        return {"text": jnp.mean(mask, axis=1) + jnp.mean(tokens, axis=1)}

    def denoise(model, params, x, t, cond, dtype, remat, dropout_key):
        seen.update(dtype=dtype)
        return jnp.broadcast_to(cond["text"][:, None, None, None], (*x.shape[:3], 6))

    def hybrid_loss(network, schedule, x_0, t, eps, mse_weights):
        seen.update(x_0=x_0, mse_weights=mse_weights)
        caption = network(x_0, t)[:, 0, 0, 0]
        return {"loss": jnp.square(caption - jnp.mean(x_0, axis=(1, 2, 3)))}

    monkeypatch.setattr(tasks.text2im, "encode_text", encode_text)
    monkeypatch.setattr(tasks.text2im, "denoise", denoise)
    monkeypatch.setattr(tasks, "hybrid_loss", hybrid_loss)
    return seen


def stub_batch():
    """Two pictures, black and white, and captions that say so: the tokens' mean is the pixels'."""
    image = np.zeros((2, 4, 4, 3), np.uint8) + np.array([0, 255], np.uint8)[:, None, None, None]
    tokens = np.array([[-1, -1], [1, 1]], np.int32)
    return {"image": image, "tokens": tokens, "mask": tokens > 5, "row": np.arange(2)}


def test_pictures_are_scaled_to_minus_one_to_one(monkeypatch, task):
    seen = stub_losses(monkeypatch)
    task.loss({}, stub_batch(), jax.random.key(0))
    np.testing.assert_array_equal(np.unique(seen["x_0"]), [-1, 1])


def test_the_caption_gap_is_what_the_neighbour_s_caption_costs(monkeypatch, task):
    stub_losses(monkeypatch)
    # Under its own caption a picture costs nothing, under the other's (1 - -1) ** 2.
    found = task.evaluate({}, stub_batch(), jax.random.key(0))
    assert found == {"eval_loss": 0, "caption_gap": 4}


def test_the_noise_error_is_weighted_as_the_recipe_says(monkeypatch):
    seen = stub_losses(monkeypatch)
    a = make_schedule(tiny.MODEL.schedule, 1000).alphas_cumprod
    snr = a / (1 - a)
    weights = {
        "none": None,
        "min_snr": np.minimum(snr, 5) / snr,  # arXiv 2303.09556, equation 8
        "debiased": np.minimum(1 / np.sqrt(snr), 10),  # arXiv 2310.08442
    }
    for name, expected in weights.items():
        task = Diffusion(dataclasses.replace(tiny.RECIPE, loss_weighting=name))
        task.loss({}, stub_batch(), jax.random.key(0))
        if expected is None:
            assert seen["mse_weights"] is None
        else:
            np.testing.assert_allclose(seen["mse_weights"], expected, rtol=1e-6)


def test_networks_compute_in_the_training_s_precision(monkeypatch):
    seen = stub_losses(monkeypatch)
    task_of(tiny.RECIPE, jnp.bfloat16).loss({}, stub_batch(), jax.random.key(0))
    assert seen["dtype"] == seen["text_dtype"] == jnp.bfloat16
    clip = task_of(Recipe("x", model=tiny.CLIP), jnp.bfloat16, "devices")
    assert clip.traced["dtype"] == jnp.bfloat16 and clip.axis_name == "devices"


@pytest.mark.parametrize(("caption_dropout", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_share_of_captions_is_emptied(monkeypatch, caption_dropout, expected):
    stub_losses(monkeypatch)
    task = Diffusion(dataclasses.replace(tiny.RECIPE, caption_dropout=caption_dropout))
    grey = np.full((2, 4, 4, 3), 127.5, np.float32)
    batch = stub_batch() | {
        "image": grey,
        "tokens": np.zeros((2, 2)),
        "mask": np.ones((2, 2), bool),
    }
    assert task.loss({}, batch, jax.random.key(0))[0] == expected


def test_dropout_differs_from_device_to_device_and_step_to_step(batch, params):
    unet = dataclasses.replace(tiny.MODEL.unet, dropout=0.5)
    recipe = dataclasses.replace(tiny.RECIPE, model=dataclasses.replace(tiny.MODEL, unet=unet))
    draws = Diffusion(recipe).draw(batch, jax.random.key(0))

    @jax.jit
    def loss(params, rows, key):
        """The loss on the same noise whatever the rows and the key: only dropout differs."""
        task = Diffusion(recipe)
        task.draw = lambda *_: draws
        return task.loss(params, batch | {"row": rows}, key)[0]

    key, rows = jax.random.key(0), batch["row"]
    first = loss(params, rows, key)
    assert first == loss(params, rows, key)
    assert first != loss(params, rows + 4, key)
    assert first != loss(params, rows, jax.random.key(1))
