"""The sampler of timesteps that learns: against its definition, one loss at a time."""

import dataclasses
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.training import timesteps
from glide_jax.training.tasks import Diffusion
from tests import tiny

T = 5


def remember(pairs):
    """The last ten losses of each timestep, kept in lists."""
    kept = [[] for _ in range(T)]
    for t, loss in pairs:
        kept[t] = [*kept[t], loss][-10:]
    return kept


def random_pairs(number, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.integers(0, T, number)
    return t.astype(np.int32), (rng.random(number) * (1 + t)).astype(np.float32)


def test_the_history_is_of_the_last_ten_losses_of_each_timestep():
    t, losses = random_pairs(200)
    history = timesteps.empty_history(T)
    for rows in np.split(np.arange(200), 10):  # a batch has each timestep several times
        history = jax.jit(timesteps.update)(history, t[rows], losses[rows])
    kept = remember(zip(t, losses, strict=True))
    np.testing.assert_array_equal(history.seen, np.bincount(t))
    for step in range(T):
        assert sorted(np.asarray(history.losses[step]).tolist()) == sorted(map(float, kept[step]))
    moments = np.array([np.sqrt(np.mean(np.square(k))) for k in kept])
    expected = 0.999 * moments / moments.sum() + 0.001 / T
    np.testing.assert_allclose(timesteps.probabilities(history), expected, rtol=1e-5)


def test_draws_are_even_until_every_timestep_has_ten_losses():
    t = np.repeat(np.arange(T, dtype=np.int32), 10)[:-1]
    history = timesteps.update(timesteps.empty_history(T), t, 1.0 + t)
    np.testing.assert_allclose(timesteps.probabilities(history), 1 / T, rtol=1e-6)
    history = timesteps.update(history, np.array([T - 1]), jnp.array([5.0]))
    expected = 0.999 * np.arange(1, 6) / 15 + 0.001 / T
    np.testing.assert_allclose(timesteps.probabilities(history), expected, rtol=1e-5)


def test_losses_that_are_not_finite_are_not_remembered():
    before = timesteps.update(timesteps.empty_history(T), np.array([1]), jnp.array([2.0]))
    after = timesteps.update(before, np.array([1, 1]), jnp.array([np.nan, np.inf]))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_logit_normal_draws_have_the_shares_of_the_normal_distribution():
    timesteps_, mean, deviation = 8, 0.7, 1.3
    bounds = np.arange(1, timesteps_) / timesteps_
    logits = np.log(bounds / (1 - bounds))
    below = [0.0, *(NormalDist(mean, deviation).cdf(logit) for logit in logits), 1.0]
    p = np.diff(below)
    keys = jax.random.split(jax.random.key(4), 40_000)
    drawn = timesteps.draw_logit_normal(mean, deviation, keys, timesteps_)
    counts = np.bincount(drawn, minlength=timesteps_)
    assert (np.abs(counts - 40_000 * p) < 4 * np.sqrt(40_000 * p * (1 - p))).all()
    assert timesteps.draw_logit_normal(100.0, 1.0, keys[:9], timesteps_).tolist() == [7] * 9


def test_a_recipe_with_a_logit_normal_draws_from_it():
    recipe = dataclasses.replace(
        tiny.RECIPE, timestep_sampler="logit_normal", logit_normal=(1.5, 0.5)
    )
    task, size = Diffusion(recipe), 512
    side = tiny.MODEL.unet.image_size
    batch = {"row": jnp.arange(size), "image": jnp.zeros((size, side, side, 3), jnp.uint8)}
    draws = task.draw(batch, jax.random.key(0))
    logits = jax.scipy.special.logit((draws.t + 0.5) / task.model.timesteps)
    assert abs(jnp.mean(logits) - 1.5) < 4 * 0.5 / size**0.5
    assert abs(jnp.std(logits) - 0.5) < 0.1
    np.testing.assert_array_equal(draws.weight, 1)


def test_draws_have_their_probabilities_and_the_weights_that_undo_them():
    t, losses = random_pairs(400)
    history = timesteps.update(timesteps.empty_history(T), t, losses)
    p = np.asarray(timesteps.probabilities(history))
    keys = jax.random.split(jax.random.key(3), 40_000)
    drawn, weight = jax.jit(timesteps.draw)(keys, history)
    counts = np.bincount(drawn, minlength=T)
    deviation = np.sqrt(40_000 * p * (1 - p))
    assert (np.abs(counts - 40_000 * p) < 4 * deviation).all()
    np.testing.assert_allclose(weight, 1 / (T * p[drawn]), rtol=1e-5)


@pytest.fixture(scope="module")
def task():
    return Diffusion(dataclasses.replace(tiny.RECIPE, timestep_sampler="loss_second_moment"))


def test_the_weighted_loss_has_the_mean_of_even_draws(task, monkeypatch):
    """With a loss of t alone, and one timestep drawn ten times as often as the others."""
    seen = np.arange(1000)
    monkeypatch.setattr(
        task, "_losses", lambda params, batch, draws, dropout_key: {"loss": 1.0 + draws.t}
    )
    losses = np.where(seen == 999, 10.0, 1.0)[:, None] * np.ones((1000, 10))
    history = timesteps.LossHistory(jnp.asarray(losses, jnp.float32), jnp.full(1000, 10))
    rows = np.arange(20_000, dtype=np.int32)
    batch = {"row": rows, "image": np.zeros((1, 1, 1, 3), np.uint8), "mask": np.ones((20_000, 1))}
    batch["mask"] = batch["mask"] > 0
    loss, (metrics, examples) = task.loss({}, batch, jax.random.key(0), history)
    share = np.mean(np.asarray(examples["t"]) == 999)
    assert abs(share - 10 / 1009) < 4 * np.sqrt(0.01 / 20_000)
    # The mean of 1 + t over even draws is 500.5, and its deviation here below 300 / sqrt(20,000).
    assert abs(loss - 500.5) < 4 * 300 / np.sqrt(20_000)
    np.testing.assert_allclose(metrics["loss"].total / 20_000, loss, rtol=1e-4)
    assert examples["loss"].max() == 1000  # what is remembered is not weighted
