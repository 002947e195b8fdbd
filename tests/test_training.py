"""One step of training: against closed forms, and many devices against one."""

import dataclasses
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glide_jax import parallel
from glide_jax.config import Optim, Recipe
from glide_jax.data import pipeline as data
from glide_jax.training import tasks
from glide_jax.training.log import MetricsLog, Window, read_metrics
from glide_jax.training.optimizer import (
    make_learning_rate,
    make_optimizer,
    nonfinite_steps,
    trained_parameters,
)
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


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (Optim(freeze=("text",)), "Optim.freeze is 'text', which no parameter's path matches"),
        (Optim(no_weight_decay=("*bia",)), "Optim.no_weight_decay is '\\*bia'"),
        (Optim(freeze=("unet", "text_encoder")), "which leaves nothing to train"),
    ],
)
def test_patterns_that_mean_nothing_are_refused(optim, message, params):
    with pytest.raises(ValueError, match=message):
        trained_parameters(params, optim)


def test_parameters_are_frozen_by_name_and_by_pattern(params):
    trained = trained_parameters(params, Optim(freeze=("text_encoder", "unet/*/in_norm/*")))
    assert not any(jax.tree.leaves(trained["text_encoder"]))
    names = {
        "/".join(k.key for k in keys): value
        for keys, value in jax.tree_util.tree_flatten_with_path(trained["unet"])[0]
    }
    assert {name for name, value in names.items() if not value} == {
        name for name in names if "/in_norm/" in name
    }
    assert not all(names.values()) and any(names.values())


def test_learning_rate_warms_up_and_goes_on_as_asked():
    optim = Optim(learning_rate=1.0, warmup_steps=9, decay="cosine", final_fraction=0.2)
    rate = make_learning_rate(Recipe("x", optim=optim, steps=109))
    np.testing.assert_allclose([rate(0), rate(4), rate(9)], [0.1, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose([rate(59), rate(109)], [0.6, 0.2], rtol=1e-5)
    linear = make_learning_rate(
        Recipe("x", optim=dataclasses.replace(optim, decay="linear"), steps=109)
    )
    np.testing.assert_allclose([linear(9), linear(34), linear(109)], [1, 0.8, 0.2], rtol=1e-5)
    # A run that is shorter than its warm-up warms up to its end.
    short = make_learning_rate(Recipe("x", optim=optim, steps=5))
    np.testing.assert_allclose([short(0), short(3), short(4)], [0.2, 0.8, 1.0], rtol=1e-6)
    constant = dataclasses.replace(optim, decay="constant")
    assert make_learning_rate(Recipe("x", optim=constant, steps=109))(100) == 1.0


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


def test_a_window_stops_a_run_that_is_not_finite_once_too_often():
    def metrics(nonfinite):
        return {"loss": Mean(np.float32(2), np.float32(4)), "nonfinite": Mean(nonfinite, 1.0)}

    window = Window(batch_size=4, nonfinite=1, tolerated=2)
    for step, nonfinite in enumerate((0, 1, 0), 1):
        window.add(step, metrics(nonfinite))
    assert window.read()["nonfinite"] == 2
    window.add(4, metrics(1))
    with pytest.raises(ValueError, match="not finite at step 4, .* --optim.skip-nonfinite N"):
        window.check()


def test_a_window_s_means_are_over_its_steps():
    window = Window(batch_size=8)
    for step, (total, count) in enumerate(((3.0, 1.0), (0.0, 0.0), (5.0, 3.0))):
        few = {"loss_q0": Mean(total, count), "loss_q1": Mean(0.0, 0.0)}
        window.add(step, few | {"loss": Mean(float(step), 1.0), "nonfinite": Mean(0.0, 1.0)})
    with window.timed("data_seconds"):
        time.sleep(0.06)
    row = window.read()
    assert row["loss_q0"] == 2 and row["loss"] == 1 and "loss_q1" not in row
    assert row["data_seconds"] >= 0.02 and row["compute_seconds"] < row["data_seconds"]
    rate = 8 / (row["data_seconds"] + row["compute_seconds"])
    assert row["images_per_second"] == pytest.approx(rate)


def test_only_matrices_decay_and_gradients_are_clipped():
    optim = Optim(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=1e-9)
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)
    grads = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.zeros(2)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    # Adam's step is at most the learning rate; a norm of 1e-9 is below its epsilon of 1e-8.
    assert np.abs(updates["kernel"] + 0.05).max() < 0.01


def test_muon_moves_a_kernel_by_an_orthogonal_matrix_and_all_else_as_adamw_does():
    optim = Optim(
        "muon", learning_rate=0.01, warmup_steps=0, weight_decay=0.5, no_weight_decay=("conv",)
    )
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (3, 3, 8, 24), "bias": (24,)}, "embedding": (5, 7)}
    draw = lambda shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    params, gradient = (
        jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple)) for _ in range(2)
    )
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    # 72 inputs to 24 outputs: all singular values alike, as near as five iterations bring them.
    kernel = np.asarray(updates["conv"]["kernel"], np.float64).reshape(72, 24)
    values = np.linalg.svd(kernel, compute_uv=False) / (0.01 * 0.2 * np.sqrt(72))
    assert 0.6 < values.min() < values.max() < 1.3
    before = np.linalg.svd(gradient["conv"]["kernel"].reshape(72, 24), compute_uv=False)
    assert before.max() / before.min() > 3
    assert np.trace(kernel.T @ gradient["conv"]["kernel"].reshape(72, 24)) < 0
    # AdamW's first step is the sign; what is named does not decay, nor do gains and biases.
    signs = jax.tree.map(lambda g: -0.01 * np.sign(g), gradient)
    np.testing.assert_allclose(updates["conv"]["bias"], signs["conv"]["bias"], rtol=1e-4)
    decayed = signs["embedding"] - 0.01 * 0.5 * params["embedding"]
    np.testing.assert_allclose(updates["embedding"], decayed, rtol=1e-3, atol=1e-6)


def test_matrices_that_are_named_do_not_decay():
    optim = Optim(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, no_weight_decay=("text/*",))
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    params = {"text": {"table": jnp.ones((2, 2))}, "unet": {"kernel": jnp.ones((2, 2))}}
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["text"]["table"], 0)
    np.testing.assert_allclose(updates["unet"]["kernel"], -0.05, rtol=1e-5)


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
    assert jax.jit(task.evaluate)(params, batch, jax.random.key(1))["caption_gap"] == 0


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
        return {"text": jnp.mean(mask, axis=1) + jnp.mean(tokens, axis=1)}

    def denoise(model, params, x, t, cond, dtype, remat, dropout_key):
        return jnp.broadcast_to(cond["text"][:, None, None, None], (*x.shape[:3], 6))

    def hybrid_loss(network, schedule, x_0, t, eps, mse_weights):
        seen.update(x_0=x_0)
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
    assert task.evaluate({}, stub_batch(), jax.random.key(0))["caption_gap"] == 4


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


@pytest.mark.long
def test_devices_and_parts_together_make_the_step_of_one(batch):
    # The sampler of timesteps that learns, so that its history is compared, too.
    recipe, batch = tiny.made_smaller(batch)
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


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size is 7; it must be a multiple of the 2 devices"):
        parallel.check_batch_size(7)


def test_batches_are_a_function_of_their_number(tokenizer):
    stream = tiny.batches(2, 4, tokenizer)
    again = tiny.batches(3, 4, tokenizer)[0]
    jax.tree.map(np.testing.assert_array_equal, stream[1], again)
    assert (stream[0]["image"] != stream[1]["image"]).any()
    assert tiny.batches(3, 3, tokenizer) == []


def test_metrics_of_lost_steps_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (1, 2, 3):
        log.write(step, {"loss": step / 2})
    MetricsLog(path, start=2).write(3, {"loss": 9.0})
    assert [row["loss"] for row in read_metrics(path)] == [0.5, 1.0, 9.0]
