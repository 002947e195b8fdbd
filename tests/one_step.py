"""Steps of SGD on a model, for tests that compare devices, and how far two trees are apart."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from glide_jax.layouts import LAYOUTS
from glide_jax.training.programs import make_programs
from glide_jax.training.step import TrainState, init_state, make_step

OPTIMIZER = optax.sgd(0.1, momentum=0.9)


class Made(NamedTuple):
    """What one or more steps made."""

    state: TrainState  # after the last
    gradient: Any  # of the first
    means: dict[str, Any]  # of the first
    curve: Any  # every step's loss


def one_step(task, batch, params, *, over=None, accumulate=1, optimizer=OPTIMIZER, steps=1):
    """Steps over all devices, in a layout of `LAYOUTS`, or left to one."""
    layout = LAYOUTS.get(over)
    axis_name = layout and layout.axis_name
    step = make_step(task, optimizer, accumulate=accumulate, axis_name=axis_name)

    def begin(params):
        return init_state(params, optimizer, (0.9,), timestep_stats=task.init_stats())

    if layout:
        shapes = layout.state(jax.eval_shape(begin, params))
        state, batch = layout.made(begin, shapes)(params), layout.batch(batch)
        step = layout.step(step, shapes)
    else:
        state, step = begin(params), jax.jit(step)
    means = []
    for number in range(steps):
        state, metrics = step(state, batch, jax.random.key(2))
        means.append({name: mean.total / mean.count for name, mean in metrics.items()})
        if number == 0:  # the momentum is at first the gradient
            gradient = jax.device_get(optax.tree.get(state.opt_state, "trace"))
    curve = np.array([each["loss"] for each in means])
    return Made(jax.device_get(state), gradient, jax.device_get(means[0]), curve)


def first_step(recipe, batch, params):
    """The means of a training's first step, as its compiled programs make it."""
    programs = make_programs(recipe)
    state = programs.begun(params, jax.random.key(0))
    _, metrics = programs.step(state, programs.place(batch), programs.whole(jax.random.key(2)))
    return {name: mean.total / mean.count for name, mean in jax.device_get(metrics).items()}


def distance(one, other):
    """The norm of the difference of two trees, relative to that of the second."""
    difference = jax.tree.map(lambda a, b: a - b, one, other)
    return float(optax.tree.norm(difference) / optax.tree.norm(other))
