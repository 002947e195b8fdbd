"""What a training would take of each device, from shapes alone: `train.py RECIPE --dry-run`."""

import dataclasses
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp

from glide_jax import compiling, config, model_folder, parallel
from glide_jax.layouts import shard_spec
from glide_jax.models.text2im import count_parameters
from glide_jax.training.optimizer import trained_parameters
from glide_jax.training.paths import combine, partition
from glide_jax.training.programs import make_programs
from glide_jax.training.runs import own_model
from glide_jax.training.tasks import task_of

UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Needs(NamedTuple):
    """What a training takes."""

    recipe: config.Recipe  # with its own model
    devices: int
    rows: int  # pictures that a device has at a time
    parameters: int
    flops: float  # a step, of all devices together
    parts: dict[str, int]  # bytes of each device's memory, by what they are for
    source: str  # of the activations' figure

    @property
    def total(self):
        """Bytes of each device's memory."""
        return sum(self.parts.values())


def parse_bytes(text):
    """A size such as 16GiB or 80GB, in bytes; a ValueError for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", text)
    if not found or found[2] not in UNITS or float(found[1]) == 0:
        raise ValueError(
            f"--device-memory is {text!r}; it must be a number above 0 and one of "
            f"{', '.join(UNITS)}, such as 16GiB"
        )
    return int(float(found[1]) * UNITS[found[2]])


def estimate(recipe: config.Recipe, devices) -> Needs:
    """The Needs of a recipe on so many devices, which need not be here; no array is made.

    Raises a ValueError for a batch that does not divide, or a model to start from that is not here.
    """
    if recipe.init_from is not None:
        kind = model_folder.kind_of(recipe.model)
        parent = model_folder.load_description(model_folder.find_model(recipe.init_from), kind)[0]
        recipe = dataclasses.replace(recipe, model=own_model(recipe, parent))
    accumulate = recipe.optim.accumulate
    parallel.check_batch_size(recipe.batch_size, accumulate, devices)
    rows = recipe.batch_size // devices // accumulate
    state = make_programs(dataclasses.replace(recipe, parallel="pmap")).state
    loss, arguments = _loss(recipe, state, rows)
    gradient = jax.grad(loss)
    flops = direct_flops(gradient, *arguments) * accumulate * devices
    activations, source = _activations(recipe, jax.jit(gradient).lower(*arguments))
    parts = _exact_parts(recipe, state, devices) | {"activations": activations}
    return Needs(recipe, devices, rows, count_parameters(state.params), flops, parts, source)


def step_flops(recipe: config.Recipe) -> float:
    """The floating-point operations of a step, of all devices that are here together."""
    state = make_programs(recipe).state
    loss, arguments = _loss(recipe, state, recipe.batch_size)
    return direct_flops(jax.grad(loss), *arguments)


def direct_flops(function, *arguments):
    """The floating-point operations of a function, whatever a backend's layers make of it.

    They are counted as if for a TPU: of a CPU's loops over pictures one turn would be counted, of
    a GPU's flash attention nothing. Only JAX's CPU backend can count before it compiles; a
    ValueError where JAX_PLATFORMS leaves it out.
    """
    try:
        counter = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise ValueError(
            f"JAX_PLATFORMS is {jax.config.jax_platforms!r}, without the cpu that counts "
            f"operations: give {jax.config.jax_platforms},cpu"
        ) from None
    with jax.default_device(counter):
        lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))
        return lowered.cost_analysis()["flops"]


def _exact_parts(recipe, state, devices):
    """Bytes of each device that follow from the shapes and the rule of the layout."""
    trained = trained_parameters(state.params, recipe.optim)
    held = state._asdict()
    held["gradients"] = partition(state.params, trained)[0]

    def size(name, path=None):
        leaves = jax.tree.leaves(held[name])
        return sum(_bytes(recipe, path or name, leaf, devices) for leaf in leaves)

    parts = {
        "parameters": size("params"),
        "moving averages": size("ema_params"),
        "optimizer": size("opt_state"),
        # The sum of the parts before, and that of the part in hand.
        "gradients": size("gradients", "params") * min(recipe.optim.accumulate, 2),
    }
    if recipe.parallel == "fsdp":
        parts["parameters gathered, at most"] = 4 * count_parameters(state.params)
    return parts


def _bytes(recipe, path, leaf, devices):
    size = math.prod(leaf.shape) * leaf.dtype.itemsize
    is_spread = recipe.parallel == "fsdp" and any(shard_spec(path, leaf.shape, devices))
    return size // devices if is_spread else size


def _activations(recipe, gradient):
    """Bytes that a loss's gradient takes beside what goes in and comes out, and who says so."""
    backend = jax.default_backend()
    compiled = gradient.compile(compiling.for_gradients(backend, recipe.remat))
    estimate = compiled.memory_analysis().temp_size_in_bytes
    return estimate, f"the compiler's estimate on this backend, {backend}"


def _batch(model, rows):
    """The shapes of a device's rows of a batch, see `data.pipeline.batches`."""
    side = model.image_size
    shapes = {"image": ((side, side, 3), jnp.uint8), "row": ((), jnp.int32)}
    if isinstance(model, config.Classifier):
        shapes["label"] = (model.objects,), jnp.int32
    else:
        context = model.text.context
        shapes |= {"tokens": ((context,), jnp.int32), "mask": ((context,), jnp.bool)}
    if isinstance(model, config.Tagger):
        shapes["tags"] = (context, len(model.classes)), jnp.int32
    return {name: jax.ShapeDtypeStruct((rows, *own), d) for name, (own, d) in shapes.items()}


def _loss(recipe, state, rows):
    """The loss on a device's rows, and its arguments' shapes, the trained parameters first."""
    task = task_of(recipe, parallel.default_dtype(recipe.dtype))
    batch = _batch(recipe.model, rows)
    moving, frozen = partition(state.params, trained_parameters(state.params, recipe.optim))

    def loss(moving, frozen, batch, key, timestep_stats):
        return task.loss(combine(moving, frozen), batch, key, timestep_stats)[0]

    key = jax.eval_shape(jax.random.key, 0)
    return loss, (moving, frozen, batch, key, state.timestep_stats)


def table(needs: Needs):
    """The needs as lines of text."""
    recipe, gib = needs.recipe, 2**30
    dtype = parallel.default_dtype(recipe.dtype).name
    notes = {"activations": f"  ({needs.source})"}
    whole = needs.parameters * 4 / gib
    return "\n".join(
        (
            f"{recipe.name} on {needs.devices} devices: {needs.rows} pictures of each at a time, "
            f"{dtype}, parallel {recipe.parallel}, remat {recipe.remat}",
            f"{needs.parameters:,} parameters",
            f"{needs.flops:.3g} FLOPs a step, {needs.flops / recipe.batch_size:.3g} a picture",
            "GiB of each device's memory:",
            *(
                f"{bytes / gib:9.2f}  {name}{notes.get(name, '')}"
                for name, bytes in needs.parts.items()
            ),
            f"{needs.total / gib:9.2f}  in all",
            f"{whole:9.2f}  more on the first host's while samples are drawn and evaluated",
        )
    )


def check_fits(needs: Needs, memory):
    """Raises a ValueError, which says what to change, where devices have less memory in bytes."""
    if needs.total > memory:
        given, taken = memory / 2**30, needs.total / 2**30
        raise ValueError(
            f"--device-memory is {given:.1f} GiB, and {needs.recipe.name} takes {taken:.1f} GiB "
            f"of each of {needs.devices} devices: {_remedy(needs, memory)}"
        )


def _remedy(needs, memory):
    recipe, activations = needs.recipe, needs.parts["activations"]
    room = memory - (needs.total - activations)
    if room <= 0:
        return "give --parallel fsdp" if recipe.parallel == "pmap" else "take more devices"
    if recipe.remat != "blocks":
        return "give --remat blocks"
    if isinstance(recipe.model, config.Clip):
        return "give a smaller --batch-size, or take more devices"
    fits = [n for n in range(2, needs.rows + 1) if needs.rows % n == 0 and activations <= n * room]
    if fits:
        return f"give --optim.accumulate {fits[0] * recipe.optim.accumulate}"
    return "give --parallel fsdp, or take a smaller model"
