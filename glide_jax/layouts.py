"""How a training lies on all devices: whole on each of them, or spread over them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from glide_jax.parallel import AXIS, global_mesh, local_mesh, replicate, spread

# Numbers that a leaf must have for its being spread to be worth the messages.
FEWEST_SPREAD = 2**11


class Layout(NamedTuple):
    """How a training lies on all devices of all processes."""

    axis_name: str | None  # that one device's step averages over; None of a step of global arrays
    state: Callable  # the shapes of a state -> the same with shardings, or without: all on each
    made: Callable  # (a function that makes a state, its shapes) -> it, that lays the state out
    step: Callable  # a one-device step, the state's shapes, compiler options -> it, compiled
    batch: Callable  # this process's rows [B, ...] by name -> what the step takes, on its way
    whole: Callable  # a tree, such as a key, that all processes have -> the same on every device


def pmap_step(step, compiler_options=None):
    """A one-device `(state, batch, key) -> (state, metrics)` on all devices of all processes.

    The state and the metrics are the same on every device and have no device axis; the batch leads
    with the local one (see `split_batch`). The state that goes in is donated: use the one that
    comes out.
    """
    mapped = jax.pmap(
        step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=(0,)
    )
    return _compiled_with(compiler_options, mapped) if compiler_options else mapped


def _compiled_with(compiler_options, function):
    """What `jax.jit` has an argument for and `jax.pmap` has none."""
    programs = {}

    def call(*given):
        leaves, tree = jax.tree.flatten(given)
        shapes = tree, *((leaf.aval, leaf.sharding) for leaf in leaves)
        if shapes not in programs:
            programs[shapes] = function.lower(*given).compile(compiler_options)
        return programs[shapes](*given)

    return call


def fsdp_step(step, shapes, compiler_options=None):
    """A `(state, batch, key) -> (state, metrics)` of global arrays, shared out by the compiler.

    The state is laid out, and donated, as the shardings of `shapes` say; rows of the batch are
    spread over all devices.
    """
    state, mesh = _shardings(shapes), global_mesh()
    rows, whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        step,
        in_shardings=(state, rows, whole),
        out_shardings=(state, whole),
        donate_argnums=(0,),
        compiler_options=compiler_options,
    )


def _shardings(shapes):
    return jax.tree.map(lambda leaf: leaf.sharding, shapes)


def fsdp_shapes(shapes):
    """The shapes of a train state, each with the sharding that `shard_spec` says."""
    mesh = global_mesh()

    def laid_out(keys, leaf):
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        spec = shard_spec(path, leaf.shape, mesh.size)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(laid_out, shapes)


def shard_spec(path, shape, devices):
    """The PartitionSpec of a train state's leaf, by its path (params/unet/...) and shape alone.

    The largest dimension that the devices divide is spread over them, of several the last. Leaves
    that are small, or that they do not divide, are whole on every device, and so is what is neither
    parameters nor made like them.
    """
    root = path.split("/")[0]
    divided = [(size, axis) for axis, size in enumerate(shape) if size % devices == 0]
    is_spread = root in ("params", "ema_params", "opt_state") and math.prod(shape) >= FEWEST_SPREAD
    if not divided or not is_spread:
        return PartitionSpec()
    _, axis = max(divided)
    return PartitionSpec(*[None] * axis, AXIS)


def split_batch(batch):
    """Each leaf [B, ...] of this process's rows as [local devices, B / devices, ...], on them."""
    mesh = local_mesh()
    return spread(
        jax.tree.map(lambda leaf: leaf.reshape(mesh.size, -1, *leaf.shape[1:]), batch), mesh
    )


def join_batch(batch):
    """Each leaf [B / processes, ...] of this process's rows as its part of a global [B, ...]."""
    rows = NamedSharding(global_mesh(), PartitionSpec(AXIS))
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(rows, leaf), batch)


def everywhere(tree):
    """A copy of what all processes have on every device of all of them."""
    # `device_put` takes no devices of other processes.
    whole = NamedSharding(global_mesh(), PartitionSpec())
    return jax.jit(lambda tree: tree, out_shardings=whole)(tree)


LAYOUTS = {
    "pmap": Layout(
        axis_name=AXIS,
        state=lambda shapes: shapes,
        made=lambda make, shapes: lambda given: replicate(make(given)),
        step=lambda step, shapes, compiler_options=None: pmap_step(step, compiler_options),
        batch=split_batch,
        whole=replicate,
    ),
    "fsdp": Layout(
        axis_name=None,
        state=fsdp_shapes,
        made=lambda make, shapes: jax.jit(make, out_shardings=_shardings(shapes)),
        step=fsdp_step,
        batch=join_batch,
        whole=everywhere,
    ),
}
