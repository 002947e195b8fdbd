"""Blocks that are computed anew in the gradient: which, and that it stays the gradient."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import compiling, parallel
from glide_jax.layouts import pmap_step
from glide_jax.training.tasks import Clip, Diffusion
from tests import tiny
from tests.one_step import distance
from tests.programs import equations


def computed_anew(program):
    """How many parts of a traced program are."""
    return sum(eqn.primitive.name == "remat2" for eqn in equations(program.jaxpr))


def gradient(task):
    return jax.grad(lambda params, batch: task.loss(params, batch, jax.random.key(0))[0])


@pytest.fixture(scope="module")
def case(tokenizer):
    """A recipe, parameters and a batch of the smallest model."""
    recipe, batch = tiny.made_smaller(tiny.batches(0, 1, tokenizer)[0])
    return recipe, tiny.random_params(model=tiny.SMALLER), batch


# Of the tiny UNet: two residual blocks in the middle, one before and two behind; one attention.
@pytest.mark.parametrize(
    ("remat", "number"), [("none", 0), ("attention", 1), ("blocks", 5 + 1 + 1)]
)
def test_the_layers_that_are_asked_for_are_computed_anew(case, remat, number):
    recipe, params, batch = case
    task = Diffusion(replace(recipe, remat=remat))
    program = jax.make_jaxpr(lambda p: task.loss(p, batch, jax.random.key(0))[0])(params)
    assert computed_anew(program) == number


def test_of_a_clip_they_are_the_blocks_of_both_towers(tokenizer):
    task = Clip(replace(tiny.RECIPE, model=tiny.CLIP, remat="blocks"))
    params, (batch,) = tiny.random_params(3, tiny.CLIP), tiny.batches(0, 1, tokenizer)
    program = jax.make_jaxpr(lambda p: task.loss(p, batch, jax.random.key(0))[0])(params)
    assert computed_anew(program) == tiny.CLIP.image.layers + tiny.CLIP.text.layers
    with pytest.raises(ValueError, match="Recipe.remat is 'attention'; allowed: none or blocks"):
        replace(tiny.RECIPE, model=tiny.CLIP, remat="attention")


LAYERS, SIDE, ROWS = 8, 16, 4096


def deep_step(weights, x, _):
    """A step of weights that each keep three values a number, which they need not."""

    @jax.checkpoint
    def layer(x, w):
        return x + jnp.tanh(jnp.sin(jnp.tanh(x @ w) @ w))

    def loss(weights):
        h = x
        for w in weights:
            h = layer(h, w)
        return jnp.mean(h**2)

    gradient = jax.lax.pmean(jax.grad(loss)(weights), parallel.AXIS)
    return weights - gradient, loss(weights)


def test_a_cpu_s_compiler_is_told_to_compute_them_anew():
    options = compiling.for_gradients("cpu", "blocks")
    weights, rows = np.full((LAYERS, SIDE, SIDE), 0.1, np.float32), np.ones((ROWS, SIDE))
    given = jax.device_put((weights, rows[None].astype(np.float32), jax.random.key(0)))
    lowered = pmap_step(deep_step).lower(*given)
    kept, anew = (
        lowered.compile(own).memory_analysis().temp_size_in_bytes for own in (None, options)
    )
    assert anew < 0.6 * kept
    assert compiling.for_gradients("cpu", "none") is None
    assert compiling.for_gradients("gpu", "blocks") is None


def test_a_step_that_is_compiled_so_takes_batches_of_any_size():
    step = pmap_step(deep_step, compiling.for_gradients("cpu", "blocks"))
    weights = np.full((LAYERS, SIDE, SIDE), 0.1, np.float32)
    for rows in (4, 8):
        x = np.full((1, rows, SIDE), 0.5, np.float32)
        own, other = (
            run(*jax.device_put((weights, x, jax.random.key(0))))
            for run in (step, pmap_step(deep_step))
        )
        np.testing.assert_allclose(own[0], other[0], rtol=1e-5)


@pytest.mark.long
def test_the_gradient_stays_what_it_was(case):
    recipe, params, batch = case
    unet = replace(recipe.model.unet, dropout=0.3)  # of the same draws both times
    recipe = replace(recipe, model=replace(recipe.model, unet=unet))
    kept, anew = (
        jax.jit(gradient(Diffusion(replace(recipe, remat=remat))))(params, batch)
        for remat in ("none", "blocks")
    )
    assert distance(anew, kept) < 1e-6
