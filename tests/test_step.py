"""One step of training: against closed forms, and many devices against one."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glide_jax.config import Optim, Recipe
from glide_jax.training.optimizer import make_optimizer, nonfinite_steps, trained_parameters
from glide_jax.training.step import Mean, ema_decay_at, init_state, make_step
from glide_jax.training.tasks import Diffusion, Seen
from tests import tiny
from tests.one_step import distance, one_step

NO_KEY = jax.random.key(0)


class Quadratic:
    """Half the squared distance from w to each x; its gradient is w - mean(x)."""

    def loss(self, params, batch, key, timestep_stats):
        losses = 0.5 * jnp.square(params["w"][None] - batch["x"])[:, 0]
        if "offset" in params:
            losses += 0.5 * jnp.square(params["offset"])
        return jnp.mean(losses), Seen({"loss": Mean.of(losses)}, {})

    def update_stats(self, timestep_stats, examples):
        return timestep_stats


def test_moving_averages_follow_their_closed_form():
    step = jax.jit(make_step(Quadratic(), optax.sgd(0.05)))
    state = init_state({"w": jnp.zeros(1)}, optax.sgd(0.05), (0.9, 0.5))
    w, ema = 0.0, {0.9: 0.0, 0.5: 0.0}
    for n in range(30):
        state, _ = step(state, {"x": jnp.ones((4, 1))}, NO_KEY)
        w += 0.05 * (1 - w)
        for rate in ema:
            decay = min(rate, (1 + n) / (10 + n))
            ema[rate] = decay * ema[rate] + (1 - decay) * w
    assert int(state.step) == 30
    for rate in ema:
        np.testing.assert_allclose(state.ema_params[str(rate)]["w"], ema[rate], rtol=1e-5)
    assert ema[0.9] != pytest.approx(ema[0.5], rel=1e-2)
    assert float(ema_decay_at(10**6, 0.9999)) == np.float32(0.9999)


def test_parts_one_after_the_other_make_the_step_of_the_whole():
    batch = {"x": jnp.arange(6.0)[:, None]}
    optimizer = optax.sgd(1.0)
    for parts in (1, 2, 3, 6):
        step = jax.jit(make_step(Quadratic(), optimizer, accumulate=parts))
        state, metrics = step(init_state({"w": jnp.zeros(1)}, optimizer, (0.9,)), batch, NO_KEY)
        np.testing.assert_allclose(state.params["w"], 2.5, rtol=1e-6)
        np.testing.assert_allclose(metrics["loss"].total, 0.5 * 55, rtol=1e-6)
        assert metrics["loss"].count == 6


def test_what_is_frozen_stays_to_the_last_bit():
    params = {"w": jnp.zeros(1), "offset": jnp.float32(0.3)}
    optim = Optim(freeze=("offset",), learning_rate=0.1, warmup_steps=0)
    trained = trained_parameters(params, optim)
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    state = init_state(params, optimizer, (0.7,), trained)
    step = jax.jit(make_step(Quadratic(), optimizer, trained=trained))
    for _ in range(5):
        state, metrics = step(state, {"x": jnp.ones((4, 1))}, jax.random.key(0))
    assert state.params["offset"] == state.ema_params["0.7"]["offset"] == np.float32(0.3)
    assert state.params["w"] > 0.3
    # Two moments of w alone: what is frozen takes no memory in the optimizer.
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == (1,)]
    assert len(moments) == 2 and len(jax.tree.leaves(state.opt_state)) == 7
    # Nor does it count in the gradient's norm, which is |w - 1|.
    assert metrics["grad_norm"].total < 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_is_counted(bad):
    optim = Optim(learning_rate=0.1, warmup_steps=0)
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    step = jax.jit(make_step(Quadratic(), optimizer))
    state = init_state({"w": jnp.ones(1)}, optimizer, (0.5,))
    state, _ = step(state, {"x": jnp.zeros((4, 1))}, jax.random.key(0))
    after, metrics = step(state, {"x": jnp.full((4, 1), bad)}, jax.random.key(0))
    assert after.params["w"] == state.params["w"] < 1
    moments = lambda s: jax.tree.leaves(s.opt_state.inner_state)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, moments(after), moments(state))
    assert int(after.step) == 2 and nonfinite_steps(after) == 1 and nonfinite_steps(state) == 0
    assert metrics["nonfinite"].total == 1 and metrics["loss"].count == 0
    again, metrics = step(after, {"x": jnp.zeros((4, 1))}, jax.random.key(0))
    assert again.params["w"] < after.params["w"] and metrics["nonfinite"].total == 0


def test_each_step_draws_anew():
    class Drawing(Quadratic):
        def loss(self, params, batch, key, timestep_stats):
            loss = jax.random.uniform(key) + 0 * params["w"]
            return loss[0], Seen({"loss": Mean.of(loss)}, {})

    step = jax.jit(make_step(Drawing(), optax.sgd(0.1)))
    state = init_state({"w": jnp.zeros(1)}, optax.sgd(0.1), (0.9,))
    for number in range(3):
        state, metrics = step(state, {"x": jnp.ones((4, 1))}, NO_KEY)
        expected = jax.random.uniform(jax.random.fold_in(NO_KEY, number))
        np.testing.assert_allclose(metrics["loss"].total, expected, rtol=1e-6)


def test_a_finite_loss_with_a_gradient_that_is_not_is_counted_too():
    class Steep(Quadratic):
        def loss(self, params, batch, key, timestep_stats):
            loss = jnp.sqrt(params["w"])  # 0 at 0, where it rises without bound
            return loss[0], Seen({"loss": Mean.of(loss)}, {})

    optimizer = make_optimizer(Recipe("x", steps=10))
    state = init_state({"w": jnp.zeros(1)}, optimizer, (0.9,))
    state, metrics = jax.jit(make_step(Steep(), optimizer))(state, {"x": jnp.ones((4, 1))}, NO_KEY)
    assert metrics["nonfinite"].total == 1 and metrics["loss"].count == 0
    assert nonfinite_steps(state) == 1 and state.params["w"] == 0


@pytest.mark.long
def test_devices_and_parts_together_make_the_step_of_one(tokenizer):
    # The sampler of timesteps that learns, so that its history is compared, too.
    recipe, batch = tiny.made_smaller(tiny.batches(0, 1, tokenizer)[0])
    task = Diffusion(dataclasses.replace(recipe, timestep_sampler="loss_second_moment"))
    params = tiny.random_params(model=tiny.SMALLER)
    assert jax.local_device_count() == 2
    expected, expected_gradient, means, _ = one_step(task, batch, params)
    state, gradient, found, _ = one_step(task, batch, params, over="pmap", accumulate=2)
    for name in ("loss", "mse", "vb", "grad_norm"):
        np.testing.assert_allclose(found[name], means[name], rtol=1e-5)
    assert distance(gradient, expected_gradient) < 1e-5
    assert distance(state.params, expected.params) < 1e-5
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5),
        state.timestep_stats,
        expected.timestep_stats,
    )
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
