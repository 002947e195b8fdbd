"""Devices and processes: how arrays are laid out on them, and come back from them."""

import os

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def start(coordinator, num_processes=None, process_id=None):
    """Joins this process to those of a training on several hosts, before JAX is used.

    What is None is taken from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
        coordinator: HOST:PORT of the first process, or "auto" where the cluster says it (TPU pods,
            Slurm, Kubernetes); none for a training of one process.
        num_processes: how many there are.
        process_id: this one's number, from 0 on.

    Raises a ValueError where the processes cannot be joined.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    num_processes = _or_environment(num_processes, "JAX_NUM_PROCESSES")
    process_id = _or_environment(process_id, "JAX_PROCESS_ID")
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("there is no --coordinator; give it with the number of processes")
        return
    known = (coordinator, num_processes, process_id) if coordinator != "auto" else ()
    try:
        jax.distributed.initialize(*known)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the processes cannot be joined at {coordinator!r}: {reason}; give --coordinator "
            "HOST:PORT, --num-processes and --process-id, or auto on a cluster that says them"
        ) from error


def _or_environment(number, name):
    if number is not None or name not in os.environ:
        return number
    if not os.environ[name].isdecimal():
        raise ValueError(f"{name} is {os.environ[name]!r}; it must be a whole number, 0 or more")
    return int(os.environ[name])


def is_lead():
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def place():
    """This process's number, and how many there are: which rows of a batch are its own."""
    return jax.process_index(), jax.process_count()


def sum_over_processes(number):
    """The sum of a whole number that each process has; all of them must call."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).sum())


def wait_for_all(name):
    """Returns once every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def local_mesh(devices=None):
    """A mesh of this host's devices: all of them, or those that are given."""
    return Mesh(np.array(jax.local_devices() if devices is None else devices), (AXIS,))


def global_mesh():
    """A mesh of all devices of all processes."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def replicate(tree, mesh=None):
    """A copy of each leaf on every device of a mesh, by default of all local ones.

    So `layouts.pmap_step` lays out what it gives back: were the layout that goes in another one,
    the first step would be compiled twice.
    """
    return jax.device_put(tree, NamedSharding(mesh or local_mesh(), PartitionSpec()))


def spread(tree, mesh):
    """The rows of each leaf [B, ...] spread over a mesh's devices, of which B is a multiple."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def over_rows(function, mesh):
    """A `(whole, rows) -> rows` with each device of a mesh at work on its own rows.

    Args:
        function: takes a tree that every device has whole and one whose leaves lead with the rows;
            what it gives leads with them too, and each row of it depends on that row alone.
        mesh: from `local_mesh`.
    """
    # Left to the compiler, joining the branches of guidance would pass rows between the devices.
    whole, rows = PartitionSpec(), PartitionSpec(AXIS)
    return jax.shard_map(function, mesh=mesh, in_specs=(whole, rows), out_specs=rows)


def on_one_device(tree):
    """A tree's whole copy on the first local device, for work that one device does alone.

    Where its leaves are spread over several processes, all of them must call.
    """
    first = jax.local_devices()[0]

    def copy(leaf):
        return leaf.addressable_data(0) if leaf.is_fully_replicated else on_host(leaf)

    return jax.device_put(jax.tree.map(copy, tree), first)


def on_host(leaf):
    """All of an array, wherever its parts are; where in several processes, all of them must call.

    Returns:
        A numpy array, which may share an array's memory.
    """
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    return multihost_utils.process_allgather(leaf, tiled=True)


def to_global(tree):
    """A tree, whole in each process or spread over all devices, as a checkpoint takes it.

    Of one process these are copies on the host, which orbax writes in half of the time; of several
    they are arrays of all processes' devices.
    """
    if jax.process_count() == 1:
        return jax.tree.map(lambda leaf: np.array(on_host(leaf)), tree)
    return multihost_utils.host_local_array_to_global_array(tree, global_mesh(), PartitionSpec())


def global_shapes(tree):
    """The shapes of a tree (see `layouts.Layout`) as `to_global` lays its arrays out."""
    whole = NamedSharding(global_mesh(), PartitionSpec())
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or whole),
        tree,
    )


def from_global(tree, shapes):
    """What `to_global` gave, where `shapes` say that it lies: whole in each process by default."""
    if jax.process_count() == 1 or jax.tree.leaves(shapes)[0].sharding is not None:
        return tree
    return replicate(
        multihost_utils.global_array_to_host_local_array(tree, global_mesh(), PartitionSpec())
    )


def check_batch_size(size, accumulate=1, devices=None):
    """Raises a ValueError where a batch does not divide evenly over devices and their parts."""
    devices = devices or jax.device_count()
    if size % (devices * accumulate):
        parts = f", in {accumulate} parts each (Optim.accumulate)" if accumulate > 1 else ""
        raise ValueError(
            f"batch_size is {size}; it must be a multiple of the {devices} devices{parts}"
        )


def peak_memory():
    """The most bytes that the first local device has held, or None where it does not say (CPU)."""
    stats = jax.local_devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None


def default_dtype(name):
    """The dtype of matrix products: "auto" is float32 on a CPU and bfloat16 elsewhere."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jax.numpy.dtype(name)
