"""Devices: how a step is mapped over them and how batches are laid out on them."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def replicate(tree):
    """A copy of each leaf on every local device, laid out as `pmap_step` gives it back.

    The first step would otherwise be compiled twice, for the layout that goes in differs.
    """
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def on_one_device(tree):
    """A replicated tree's copy on the first local device, for work that one device does alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def pmap_step(step):
    """A one-device `(state, batch, key) -> (state, metrics)` on all local devices.

    The state and the metrics are the same on every device and have no device axis; the batch leads
    with one (see `split_batch`). The state that goes in is donated: use the one that comes out.
    """
    return jax.pmap(
        step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=(0,)
    )


def check_batch_size(size):
    """Raises a ValueError where a batch does not divide evenly over the local devices."""
    devices = jax.local_device_count()
    if size % devices:
        raise ValueError(f"batch_size is {size}; it must be a multiple of the {devices} devices")


def split_batch(batch):
    """Each leaf [B, ...] as [devices, B / devices, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)


def default_dtype(name):
    """The dtype of matrix products: "auto" is float32 on a CPU and bfloat16 elsewhere."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jax.numpy.dtype(name)
