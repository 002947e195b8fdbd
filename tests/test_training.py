"""One step of training: against closed forms, and many devices against one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glide_jax import parallel
from glide_jax.config import Optim, Recipe
from glide_jax.training import tasks
from glide_jax.training.log import MetricsLog, read_metrics
from glide_jax.training.step import (
    ema_decay_at,
    init_state,
    make_learning_rate,
    make_optimizer,
    make_step,
)
from glide_jax.training.tasks import Diffusion
from tests import tiny


def quadratic(params, batch, key):
    """Half the squared distance from w to the batch's mean; its gradient is w - mean."""
    loss = 0.5 * jnp.mean(jnp.square(params["w"][None] - batch["x"]))
    return loss, {"loss": loss}


def test_moving_average_follows_its_closed_form():
    step = jax.jit(make_step(quadratic, optax.sgd(0.5), ema_decay=0.9))
    state = init_state({"w": jnp.zeros(1)}, optax.sgd(0.5))
    w = ema = 0.0
    for n in range(30):
        state, _ = step(state, {"x": jnp.ones((4, 1))}, jax.random.key(0))
        w += 0.5 * (1 - w)
        decay = min(0.9, (1 + n) / (10 + n))
        ema = decay * ema + (1 - decay) * w
    assert int(state.step) == 30
    np.testing.assert_allclose(state.ema_params["w"], ema, rtol=1e-5)
    assert float(ema_decay_at(10**6, 0.9999)) == np.float32(0.9999)


def test_learning_rate_warms_up_and_decays():
    optim = Optim(learning_rate=1.0, warmup_steps=9, final_fraction=0.2)
    rate = make_learning_rate(Recipe("x", optim=optim, steps=109))
    np.testing.assert_allclose([rate(0), rate(4), rate(9)], [0.1, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose([rate(59), rate(109)], [0.6, 0.2], rtol=1e-5)
    # A run that is shorter than its warm-up warms up to its end.
    short = make_learning_rate(Recipe("x", optim=optim, steps=5))
    np.testing.assert_allclose([short(0), short(3), short(4)], [0.2, 0.8, 1.0], rtol=1e-6)
    constant = dataclasses.replace(optim, final_fraction=1.0)
    assert make_learning_rate(Recipe("x", optim=constant, steps=109))(100) == 1.0


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


def test_a_fresh_model_s_error_is_the_noise_s_variance(task, batch):
    params = jax.jit(task.init)(jax.random.key(0))
    loss, metrics = jax.jit(task.loss)(params, batch, jax.random.key(1))
    np.testing.assert_allclose(metrics["mse"], 1, atol=0.05)
    np.testing.assert_allclose(loss, metrics["mse"] + metrics["vb"], rtol=1e-6)
    assert jax.jit(task.caption_gap)(params, batch, jax.random.key(1)) == 0


def stub_losses(monkeypatch):
    """Makes the network give back its caption, a number; returns what will hold its inputs."""
    seen = {}

    def encode_text(model, params, tokens, mask, dtype):
        return jnp.mean(mask, axis=1) + jnp.mean(tokens, axis=1)

    def denoise(model, params, x, t, cond, dtype, dropout_key):
        return jnp.broadcast_to(cond[:, None, None, None], (*x.shape[:3], 6))

    def hybrid_loss(network, schedule, x_0, t, eps):
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
    assert task.caption_gap({}, stub_batch(), jax.random.key(0)) == 4


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


def test_models_that_are_given_another_picture_are_refused():
    unet = dataclasses.replace(tiny.MODEL.unet, inpaint=True)
    recipe = dataclasses.replace(tiny.RECIPE, model=dataclasses.replace(tiny.MODEL, unet=unet))
    with pytest.raises(ValueError, match="UNet.inpaint is True"):
        Diffusion(recipe)


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


def test_devices_together_make_the_step_of_one(task, batch, params):
    optimizer = make_optimizer(tiny.RECIPE)
    key = jax.random.key(2)
    one = jax.jit(make_step(task.loss, optimizer, 0.9))
    expected, metrics = one(init_state(params, optimizer), batch, key)
    mapped = parallel.pmap_step(make_step(task.loss, optimizer, 0.9, parallel.AXIS))
    state = parallel.replicate(init_state(params, optimizer))
    assert jax.local_device_count() > 1
    state, mapped_metrics = mapped(state, parallel.split_batch(batch), key)
    for name in metrics:
        np.testing.assert_allclose(mapped_metrics[name], metrics[name], rtol=1e-5)
    # Adam's first step is the gradient's sign; its moments show the gradient itself.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)  # noqa: E731
    jax.tree.map(close, state.opt_state[1][0].mu, expected.opt_state[1][0].mu)
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, state.params, params)
    assert all(jax.tree.leaves(moved)), moved


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
