"""The train state and one step of it: pure, and one device's program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from glide_jax.config import Recipe


class TrainState(NamedTuple):
    """Everything that training changes: arrays only."""

    step: jax.Array  # int32, steps made
    params: Any  # float32
    ema_params: Any  # float32: in bfloat16 a decay of 0.9999 would round to 1
    opt_state: Any
    timestep_stats: Any = ()  # for samplers of t that learn; uniform ones have none


def make_learning_rate(recipe: Recipe):
    """Step to learning rate: a linear warm-up, then a cosine to its final fraction.

    A run that is shorter than its warm-up warms up to its last step.
    """
    optim = recipe.optim
    warmup_steps = min(optim.warmup_steps, recipe.steps - 1)
    return optax.warmup_cosine_decay_schedule(
        init_value=optim.learning_rate / (warmup_steps + 1),
        peak_value=optim.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=recipe.steps,
        end_value=optim.learning_rate * optim.final_fraction,
    )


def make_optimizer(recipe: Recipe):
    """AdamW after clipping by the global norm; only matrices decay."""
    optim = recipe.optim
    adamw = optax.adamw(
        make_learning_rate(recipe),
        b1=optim.beta1,
        b2=optim.beta2,
        weight_decay=optim.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adamw)


def init_state(params, optimizer):
    """The state before the first step."""
    ema_params = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema_params, optimizer.init(params))


def ema_decay_at(step, ema_decay):
    """The decay after `step` steps, warmed up so that the first weights are soon forgotten."""
    return jnp.minimum(ema_decay, (1 + step) / (10 + step))


def make_step(loss, optimizer, ema_decay, axis_name=None):
    """One step of training, `(state, batch, key) -> (state, metrics)`.

    Args:
        loss: (params, batch, key) to (scalar, metrics by name).
        optimizer: an optax transformation.
        ema_decay: of the moving average of the weights, once warm.
        axis_name: the mapped axis to average gradients and metrics over, where the step is one
            device's program; with None its arrays are global.
    """

    def step(state, batch, key):
        key = jax.random.fold_in(key, state.step)
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, batch, key)
        if axis_name is not None:
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay_at(state.step, ema_decay)
        ema_params = jax.tree.map(
            lambda ema, new: decay * ema + (1 - decay) * new, state.ema_params, params
        )
        metrics = metrics | {"grad_norm": optax.tree.norm(grads)}
        new = TrainState(state.step + 1, params, ema_params, opt_state, state.timestep_stats)
        return new, metrics

    return step
