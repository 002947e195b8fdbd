"""A train state spread over devices: by which rule, and that it trains and is stored as a whole."""

from dataclasses import replace
from functools import lru_cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from glide_jax import checkpoint, parallel
from glide_jax.config import Optim, Recipe
from glide_jax.layouts import LAYOUTS, shard_spec
from glide_jax.training import loop
from glide_jax.training.optimizer import joined, make_optimizer
from glide_jax.training.programs import make_programs
from glide_jax.training.step import Mean, init_state, make_step
from glide_jax.training.tasks import Seen
from glide_jax.training.timesteps import empty_history, update
from tests import tiny

ROWS, WIDTH = 8, 64


@pytest.mark.parametrize(
    ("path", "shape", "devices", "spec"),
    [
        ("params/unet/in_conv/kernel", (3, 3, 512, 1024), 64, (None, None, None, "batch")),
        ("params/unet/in_conv/kernel", (3, 3, 1024, 512), 64, (None, None, "batch")),
        ("params/unet/in_conv/kernel", (3, 3, 512, 512), 64, (None, None, None, "batch")),
        ("ema_params/0.9999/text_encoder/token_embedding", (50257, 2048), 64, (None, "batch")),
        ("opt_state/mu/text_encoder/token_embedding", (50304, 2048), 64, ("batch",)),
        ("params/unet/out_conv/kernel", (3, 3, 192, 6), 8, (None, None, "batch")),
        ("params/unet/in_norm/scale", (1920,), 8, ()),  # small
        ("params/clip/projection", (65, 63), 8, ()),  # not divisible
        ("timestep_stats/losses", (1000, 10), 8, ()),  # not made like parameters
        ("step", (), 8, ()),
        ("params/unet/in_conv/kernel", (3, 3, 512, 512), 1, (None, None, None, "batch")),
    ],
)
def test_the_largest_dimension_that_divides_is_spread(path, shape, devices, spec):
    assert shard_spec(path, shape, devices) == PartitionSpec(*spec)


class Regression:
    """A row's loss is how far the matrix takes it from its target; t counts what was seen."""

    def loss(self, params, batch, key, timestep_stats):
        errors = jnp.tanh(batch["x"] @ params["kernel"] + params["bias"][None]) - batch["y"]
        losses = jnp.mean(jnp.square(errors), axis=1)
        return jnp.mean(losses), Seen({"loss": Mean.of(losses)}, {"t": batch["t"], "loss": losses})

    def update_stats(self, timestep_stats, examples):
        return update(timestep_stats, examples["t"], examples["loss"])


PARAMS = {
    "kernel": np.random.default_rng(0).standard_normal((WIDTH, WIDTH), np.float32) / 8,
    "bias": np.zeros(WIDTH, np.float32),
}


def batches(number):
    """Rows whose timesteps occur more than once."""
    rng = np.random.default_rng(1)
    for _ in range(number):
        x, y = rng.standard_normal((2, ROWS, WIDTH), np.float32)
        yield {"x": x, "y": np.tanh(y), "t": rng.integers(0, 4, ROWS, np.int32)}


def trained(over, optimizer, accumulate=1, steps=6, labels=None):
    """The state and its metrics after some steps, and the shapes that lay it out."""
    layout = LAYOUTS[over]

    def begin(params):
        return init_state(params, optimizer, (0.9,), None, empty_history(5), labels)

    shapes = layout.state(jax.eval_shape(begin, PARAMS))
    state = layout.made(begin, shapes)(PARAMS)
    how = {"labels": labels, "accumulate": accumulate, "axis_name": layout.axis_name}
    step = layout.step(make_step(Regression(), optimizer, **how), shapes)
    metrics = None
    for batch in batches(steps):
        state, metrics = step(state, layout.batch(batch), jax.random.key(0))
    return state, metrics, shapes


@lru_cache
def whole_by(name):
    """What each device makes that has the whole state."""
    return trained("pmap", optimizer_of(name), labels=joined(PARAMS, optim_of(name)))[:2]


def optim_of(name):
    return Optim(optimizer=name, learning_rate=0.02, warmup_steps=0, clip_norm=0.05)


def optimizer_of(name):
    return make_optimizer(Recipe("x", optim=optim_of(name), steps=10))


def close(one, other, rtol=1e-4):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6), one, other)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_spread_or_whole_the_state_becomes_the_same(name, accumulate):
    assert jax.device_count() == 2
    whole, means = whole_by(name)
    spread, found, shapes = trained(
        "fsdp", optimizer_of(name), accumulate, labels=joined(PARAMS, optim_of(name))
    )
    close(jax.device_get(spread), jax.device_get(whole))
    close(found["loss"].total / found["loss"].count, means["loss"].total / means["loss"].count)
    assert np.abs(whole.params["kernel"] - PARAMS["kernel"]).max() > 0.01
    # Clipping had something to clip, and every example is in the history, in order.
    assert found["grad_norm"].total > 0.05
    assert spread.timestep_stats.seen.sum() == 6 * ROWS
    # Half of the matrix, of its average and of its moments lies on each device, before and after.
    large = [leaf for leaf in jax.tree.leaves(spread) if leaf.size == WIDTH**2]
    assert len(large) == 4
    assert all(leaf.addressable_data(0).size == WIDTH**2 // 2 for leaf in large)
    assert [leaf.sharding for leaf in jax.tree.leaves(spread)] == [
        leaf.sharding for leaf in jax.tree.leaves(shapes)
    ]


def test_a_checkpoint_moves_between_layouts(tmp_path):
    optimizer = optax.sgd(0.1, momentum=0.9)
    states = {over: trained(over, optimizer) for over in LAYOUTS}
    for over, (state, _, _) in states.items():
        with checkpoint.Checkpoints(tmp_path / over) as checkpoints:
            checkpoints.save(state)
        for other, (_, _, shapes) in states.items():
            with checkpoint.Checkpoints(tmp_path / over) as checkpoints:
                restored = checkpoints.restore(shapes)
            jax.tree.map(np.testing.assert_array_equal, restored, state)
            parts = 2 if other == "fsdp" else 1
            assert restored.params["kernel"].addressable_data(0).size == WIDTH**2 // parts


def test_a_training_begins_with_what_is_bound_to_one_device(params):
    programs = make_programs(replace(tiny.RECIPE, parallel="fsdp"))
    parent = jax.device_put(params, jax.devices()[1])  # as a checkpoint of a model is read
    state = programs.begun(parent, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    assert state.params["unet"]["time_embed_0"]["kernel"].sharding.num_devices == 2


def test_a_tree_that_is_spread_is_whole_on_one_device():
    state, _, _ = trained("fsdp", optax.sgd(0.1), steps=1)
    alone = parallel.on_one_device(state.params)
    jax.tree.map(np.testing.assert_array_equal, alone, state.params)
    assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(alone)} == {1}


class Silent:
    """A report of nothing, which from the second step on allows no transfer that is not asked for.

    At each step it notes how many batches had been placed.
    """

    run = "a run"

    def __init__(self, placed):
        self.placed, self.seen = placed, []

    def after_step(self, done, state, window, bar, is_stopping):
        self.seen.append(len(self.placed))
        jax.config.update("jax_transfer_guard", "disallow")


@pytest.mark.parametrize("over", LAYOUTS)
def test_the_next_batch_is_on_its_way_and_nothing_else_is_moved_in_the_loop(over):
    layout, optimizer, placed, steps = LAYOUTS[over], optimizer_of("adamw"), [], 4
    state, _, shapes = trained(over, optimizer, steps=0)
    step = make_step(Regression(), optimizer, axis_name=layout.axis_name)
    programs = SimpleNamespace(
        step=layout.step(step, shapes),
        place=lambda batch: placed.append(0) or layout.batch(batch),
        whole=layout.whole,
    )
    stream = (batch | {"replaced": np.zeros(ROWS, int)} for batch in batches(steps))
    report, requests = Silent(placed), SimpleNamespace(asked_at=lambda done: None)
    recipe = Recipe("x", batch_size=ROWS, steps=steps)
    before = jax.config.jax_transfer_guard
    try:
        state = loop.run_steps(recipe, programs, state, jax.random.key(0), stream, report, requests)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            programs.step(state, next(batches(1)), jax.random.key(0))
    finally:
        jax.config.update("jax_transfer_guard", before)
    assert report.seen == [2, 3, 4, 4]
    close(jax.device_get(state), jax.device_get(trained(over, optimizer, steps=steps)[0]))
