"""One step of SGD on a model, for tests that compare devices, and how far two trees are apart."""

from typing import Any, NamedTuple

import jax
import optax

from glide_jax import parallel
from glide_jax.training.step import TrainState, init_state, make_step


class Made(NamedTuple):
    """What a step made."""

    state: TrainState
    gradient: Any
    means: dict[str, Any]


def one_step(task, batch, params, *, mapped, accumulate=1):
    """A step over all devices, or left to one."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    axis_name = parallel.AXIS if mapped else None
    step = make_step(task, optimizer, accumulate=accumulate, axis_name=axis_name)
    state = init_state(params, optimizer, (0.9,), timestep_stats=task.init_stats())
    if mapped:
        step, batch = parallel.pmap_step(step), parallel.split_batch(batch)
        state = parallel.replicate(state)
    else:
        step = jax.jit(step)
    state, metrics = step(state, batch, jax.random.key(2))
    means = {name: mean.total / mean.count for name, mean in metrics.items()}
    # The momentum is at first the gradient.
    return Made(*jax.device_get((state, state.opt_state[0].trace, means)))


def distance(one, other):
    """The norm of the difference of two trees, relative to that of the second."""
    difference = jax.tree.map(lambda a, b: a - b, one, other)
    return float(optax.tree.norm(difference) / optax.tree.norm(other))
