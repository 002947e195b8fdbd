"""The compiled programs of a training, made once for all recipes that need the same ones."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from glide_jax import compiling, config, parallel
from glide_jax.layouts import LAYOUTS
from glide_jax.training.optimizer import joined, make_optimizer, trained_parameters
from glide_jax.training.paths import overlaid
from glide_jax.training.step import TrainState, init_state, make_step
from glide_jax.training.tasks import task_of


class Programs(NamedTuple):
    """What a training runs; each is traced and compiled when it is first called."""

    fresh: Callable  # key -> fresh parameters
    init: Callable  # key -> the TrainState before the first step, of fresh parameters, laid out
    begin: Callable  # parameters -> the same of these
    place: Callable  # this process's rows of a batch -> what the step takes; see `layouts.Layout`
    whole: Callable  # a key -> what the step takes
    step: Callable  # see `layouts.pmap_step` and `layouts.fsdp_step`
    evaluate: Callable  # (params, batch, key) -> numbers by name; see `tasks`
    state: TrainState  # the shapes of one, and how it is laid out

    def restored(self, checkpoints):
        """The newest train state of a run's Checkpoints that can be read."""
        return checkpoints.restore(self.state)

    def begun(self, parent, key):
        """A state at step 0, on all devices.

        Args:
            parent: the parameters to start from, all or some of them, or None.
            key: of the others, which are fresh.
        """
        if parent is None:
            return self.init(key)
        if jax.tree.structure(parent) != jax.tree.structure(self.state.params):
            parent = overlaid(self.fresh(key), parent)
        # A checkpoint's are bound to the device that they were read to.
        parent = jax.tree.map(np.asarray, parent)
        return self.begin(parent)


def make_programs(recipe: config.Recipe) -> Programs:
    """The programs of a recipe, those that were made before where one needed the same.

    Tracing and compiling take longer than a short training: a notebook or a test that trains again
    need not wait twice.

    Raises a ValueError for a model that cannot be trained, and for patterns of parameters that
    nothing matches.
    """
    optim = dataclasses.replace(recipe.optim, skip_nonfinite=0)
    needs = config.Recipe(
        name="",
        model=recipe.model,
        optim=optim,
        timestep_sampler=recipe.timestep_sampler,
        logit_normal=recipe.logit_normal,
        loss_weighting=recipe.loss_weighting,
        caption_dropout=recipe.caption_dropout,
        erase=recipe.erase,
        low_res=recipe.low_res,
        parallel=recipe.parallel,
        remat=recipe.remat,
        steps=recipe.steps,
    )
    return programs_of(needs, parallel.default_dtype(recipe.dtype))


@lru_cache(maxsize=8)
def programs_of(recipe: config.Recipe, dtype: Any) -> Programs:
    """As `make_programs`, of a recipe that says nothing but what the programs depend on."""
    layout = LAYOUTS[recipe.parallel]
    task = task_of(recipe, dtype, layout.axis_name)
    optimizer = make_optimizer(recipe)
    # Of a jitted function the shapes are found by the trace that a call then uses again.
    init = jax.jit(task.init)
    shapes = jax.eval_shape(init, jax.random.key(0))
    trained = trained_parameters(shapes, recipe.optim)
    labels = joined(shapes, recipe.optim)

    @jax.jit
    def begin(params):
        stats = task.init_stats()
        return init_state(params, optimizer, recipe.optim.ema_decays, trained, stats, labels)

    step = make_step(
        task,
        optimizer,
        trained=trained,
        labels=labels,
        accumulate=recipe.optim.accumulate,
        axis_name=layout.axis_name,
    )
    state = layout.state(jax.eval_shape(begin, shapes))
    options = compiling.for_gradients(jax.default_backend(), recipe.remat)
    return Programs(
        init,
        layout.made(lambda key: begin(init(key)), state),
        layout.made(begin, state),
        layout.batch,
        layout.whole,
        layout.step(step, state, options),
        jax.jit(task.evaluate),
        state,
    )
