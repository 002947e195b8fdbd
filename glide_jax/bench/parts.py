"""The parts of a recipe's work that are timed, each a callable with what it has to compute."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax import compiling, config, model_folder, parallel
from glide_jax.data import pipeline as data
from glide_jax.diffusion.guidance import classifier_free
from glide_jax.models import text2im
from glide_jax.sampling import Given, Network, sample_batch
from glide_jax.settings import Settings
from glide_jax.text import tokenizer as text
from glide_jax.training import dry_run
from glide_jax.training.programs import make_programs

PARTS = ("sample-step", "sample", "train", "data")
TOKENIZER_CAPTIONS = 500


class Part(NamedTuple):
    """Something to time."""

    call: Callable  # () -> arrays to wait for
    pictures: int = 0  # that a call makes or reads
    flops: float | None = None  # of a call by direct arithmetic, as the compiler counts them


def make_parts(recipe: config.Recipe, names, pictures, steps, scale):
    """Parts by name.

    Args:
        recipe: of a diffusion model.
        names: of PARTS.
        pictures: that are sampled at a time.
        steps: of a whole sampling.
        scale: of the guidance; 1 computes the captioned branch alone.
    """
    params = random_params(recipe.model)
    made = {}
    for name in names:
        if name == "train":
            made[name] = training_step(recipe, params)
        elif name == "data":
            made[name] = reading(recipe)
        elif name == "sample":
            made[name] = sampling(ready(recipe, params), pictures, steps, scale)
        else:
            made[name] = sampling_step(ready(recipe, params), pictures, scale)
    return made


def random_params(model: config.Diffusion):
    """Parameters that make numbers of a usual size: speed hangs on shapes alone."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        # On the device at once: twice, they would be most of the memory that is told.
        return jnp.asarray(np.float32(0.02) * rng.standard_normal(leaf.shape, np.float32))

    return jax.tree.map(draw, model_folder.param_shapes(model))


def ready(recipe, params):
    """The model as `Pipeline` samples it, on all local devices."""
    mesh = parallel.local_mesh()
    dtype, backend = parallel.default_dtype(recipe.dtype), jax.default_backend()
    params = text2im.prepare(recipe.model, parallel.replicate(params, mesh), dtype, backend)
    return Network(recipe.model, params, dtype, mesh)


def captions(model, number):
    """Tokens and mask of captions that fill the context."""
    shape = (number, model.text.context)
    return np.zeros(shape, np.int32), np.ones(shape, bool)


def called(network, scale, params, rows):
    """One call of the network; rows are x, t and the condition, or where it is guided a pair."""
    denoise = partial(text2im.denoise, network.model, params, dtype=network.dtype)
    return denoise(*rows) if scale == 1 else classifier_free(denoise, scale)(*rows)


def sampling_step(network, pictures, scale):
    """What a step of sampling computes, the text encoded before: both branches, where guided."""
    model = network.model
    x, t, given = text2im.example_inputs(model, pictures)
    encode = jax.jit(partial(text2im.encode_text, model, dtype=network.dtype))
    cond = encode(network.params, *captions(model, pictures)) | given
    rows = parallel.spread((x, t, cond if scale == 1 else (cond, cond)), network.mesh)
    options = compiling.for_sampling(network.mesh)
    over_rows = parallel.over_rows(partial(called, network, scale), network.mesh)
    step = jax.jit(over_rows, compiler_options=options)
    return Part(partial(step, network.params, rows), pictures, step_flops(network, scale, rows))


def step_flops(network, scale, rows):
    """What one call computes directly, whatever the layers do for this backend."""
    direct = model_folder.param_shapes(network.model)
    shapes = jax.eval_shape(lambda: rows)
    return dry_run.direct_flops(partial(called, network, scale), direct, shapes)


def sampling(network, pictures, steps, scale):
    """A whole sampling from captions' tokens to pictures."""
    model, settings = network.model, Settings(guidance_scale=scale, steps=steps)
    trajectory = settings.trajectory(model)
    own = captions(model, pictures)
    inputs = jax.tree.map(np.asarray, text2im.example_inputs(model, pictures)[2])
    seeds = np.arange(pictures, dtype=np.uint32)
    given = own, own, Given(inputs), seeds, settings, trajectory, lambda steps, x: None
    flops = sampling_step(network, pictures, scale).flops * len(trajectory.t)
    return Part(partial(sample_batch, network, *given), pictures, flops)


def training_step(recipe, params):
    """A step of training on pictures of noise, from their place in memory on."""
    programs, rows = make_programs(recipe), recipe.batch_size
    side = recipe.model.image_size
    tokens, mask = captions(recipe.model, rows)
    image = np.random.default_rng(0).integers(0, 256, (rows, side, side, 3), np.uint8)
    row = np.arange(rows, dtype=np.int32)
    batch = programs.place({"image": image, "tokens": tokens, "mask": mask, "row": row})
    key = programs.whole(jax.random.key(0))
    state = programs.begin(params)

    def step():
        nonlocal state
        state, metrics = programs.step(state, batch, key)
        return metrics

    return Part(step, rows, dry_run.step_flops(recipe))


def reading(recipe):
    """One batch read, scaled and tokenized by one thread; a training reads with several."""
    size, rows = recipe.model.image_size, recipe.batch_size
    source = data.open_source(recipe.data, size)
    tokenizer = text.train(data.captions(source, TOKENIZER_CAPTIONS), recipe.model.text)
    stream = data.make_stream(recipe.data, source, size)
    numbers = iter(range(recipe.steps))

    def read():
        return data.make_batch(stream, range(rows), rows, tokenizer, next(numbers))

    return Part(read, rows)


def matrix_product(size, dtype):
    """A square matrix product on each local device."""
    mesh = parallel.local_mesh()
    shape = (mesh.size, size, size)
    # Of equal numbers a GPU makes a faster product than of those that a network has.
    a = parallel.spread(jax.random.normal(jax.random.key(0), shape, dtype), mesh)
    product = jax.jit(parallel.over_rows(lambda _, a: (a[0] @ a[0])[None], mesh))
    return Part(partial(product, (), a), flops=2.0 * mesh.size * size**3)
