"""The train state and one step of it: pure, and one device's program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from glide_jax.training.packing import pack, unpack
from glide_jax.training.paths import combine, partition


class TrainState(NamedTuple):
    """Everything that training changes: arrays only."""

    step: jax.Array  # int32, steps made
    params: Any  # float32
    ema_params: dict[str, Any]  # by decay; float32: in bfloat16 a decay of 0.9999 would be 1
    opt_state: Any  # of `optimizer.make_optimizer`, for the parameters that are trained
    timestep_stats: Any = ()  # for samplers of t that learn; uniform ones have none


class Mean(NamedTuple):
    """A mean as what it is made of, so that means of parts add up."""

    total: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, values, where=True):
        """Of those of values [B] where the mask holds."""
        values = values.astype(jnp.float32)
        where = jnp.broadcast_to(where, values.shape)
        return cls(jnp.sum(jnp.where(where, values, 0)), jnp.sum(where, dtype=jnp.float32))


class Seen(NamedTuple):
    """What a loss found out on its way."""

    metrics: dict[str, Mean]
    examples: dict[str, jax.Array]  # [B], what the task's statistics are made of


def init_state(params, optimizer, ema_decays, trained=None, timestep_stats=(), labels=None):
    """The state before the first step.

    Args:
        params: the parameters.
        optimizer: an optax transformation.
        ema_decays: names of the moving averages, as numbers.
        trained: the tree of booleans that says which parameters are; by default all.
        timestep_stats: the task's.
        labels: of the parameters that the optimizer sees joined, see `packing`; by default none.
    """
    ema_params = {str(decay): jax.tree.map(jnp.copy, params) for decay in ema_decays}
    opt_state = optimizer.init(_moving(params, _or_all(trained, params), labels))
    return TrainState(jnp.zeros((), jnp.int32), params, ema_params, opt_state, timestep_stats)


def _or_all(trained, params):
    return jax.tree.map(lambda _: True, params) if trained is None else trained


def _moving(params, trained, labels):
    """The parameters that are trained, packed."""
    moving, _ = partition(params, trained)
    return pack(moving, labels and partition(labels, trained)[0])


def _moved(moving, params, trained, labels):
    """The parameters with others in place of those that `_moving` takes."""
    like, frozen = partition(params, trained)
    return combine(unpack(moving, labels and partition(labels, trained)[0], like), frozen)


def ema_decay_at(step, ema_decay):
    """The decay after `step` steps, warmed up so that the first weights are soon forgotten."""
    return jnp.minimum(ema_decay, (1 + step) / (10 + step))


def make_step(task, optimizer, *, trained=None, labels=None, accumulate=1, axis_name=None):
    """One step of training, `(state, batch, key) -> (state, metrics)`.

    Args:
        task: has `loss(params, batch, key, timestep_stats) -> (scalar, Seen)` and
            `update_stats(timestep_stats, seen)`; see `tasks`.
        optimizer: an optax transformation.
        trained: the tree of booleans that says which parameters are; by default all.
        labels: as `init_state` had them.
        accumulate: equal parts that the batch is taken in, one after the other.
        axis_name: the mapped axis to average gradients and metrics over, where the step is one
            device's program; with None its arrays are global.

    Returns:
        The step. Its metrics are a Mean by name. Where the loss is not finite the gradients are
        not either, for the optimizer to refuse, and the metrics count nothing.
    """

    def step(state, batch, key):
        key = jax.random.fold_in(key, state.step)
        is_trained = _or_all(trained, state.params)
        moving, frozen = partition(state.params, is_trained)

        def loss(moving, part):
            return task.loss(combine(moving, frozen), part, key, state.timestep_stats)

        grads, seen = accumulated_gradients(loss, moving, batch, accumulate)
        metrics, examples = seen
        grads = _moving(grads, is_trained, labels)
        if axis_name is not None:
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
            examples = jax.lax.all_gather(examples, axis_name, tiled=True)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(metrics["loss"].total) & jnp.isfinite(norm)
        grads = jax.tree.map(lambda leaf: jnp.where(finite, leaf, jnp.nan), grads)
        moving = _moving(state.params, is_trained, labels)
        updates, opt_state = optimizer.update(grads, state.opt_state, moving)
        moving = optax.apply_updates(moving, updates)
        new = TrainState(
            state.step + 1,
            _moved(moving, state.params, is_trained, labels),
            _averages(state, moving, is_trained, labels),
            opt_state,
            task.update_stats(state.timestep_stats, examples),
        )
        metrics = metrics | {"grad_norm": Mean(norm, jnp.ones(()))}
        metrics = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0), metrics)
        return new, metrics | {"nonfinite": Mean(1 - finite.astype(jnp.float32), jnp.ones(()))}

    return step


def accumulated_gradients(loss, params, batch, parts):
    """The gradient of a loss's mean over equal parts of a batch, and what the loss saw, joined.

    Args:
        loss: (params, batch) -> (scalar, (metrics by name, examples)), each metric a Mean.
        params: what to differentiate by.
        batch: leaves [B, ...].
        parts: how many; B must be a multiple.

    Returns:
        The gradient, and (the metrics summed, the examples' leaves [B, ...]).
    """
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        (_, seen), grads = value_and_grad(params, batch)
        return grads, seen
    # Every parts-th row, so that devices that share the rows out have the same number of each part.
    batch = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total, part):
        (_, (metrics, examples)), grads = value_and_grad(params, part)
        return jax.tree.map(lambda sum, g: sum + g / parts, total, grads), (metrics, examples)

    grads, (metrics, examples) = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), batch)
    metrics = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), metrics)
    examples = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), examples)
    return grads, (metrics, examples)


def _averages(state, moving, is_trained, labels):
    """The moving averages, each a step further; what is frozen stays to the last bit."""

    def average(decay, ema_params):
        decay = ema_decay_at(state.step, float(decay))
        old = _moving(ema_params, is_trained, labels)
        new = jax.tree.map(lambda ema, leaf: decay * ema + (1 - decay) * leaf, old, moving)
        return _moved(new, ema_params, is_trained, labels)

    return {decay: average(decay, tree) for decay, tree in state.ema_params.items()}
