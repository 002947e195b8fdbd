"""PyTorch's checkpoints, read and written without PyTorch, and safetensors beside them."""

import mmap
from pathlib import Path

import numpy as np

from glide_jax.files import written_whole
from glide_jax.released.torch_file import archive, legacy, safetensors_file, writing
from glide_jax.tensors import write_safetensors

WEB_PAGE = (b"<!doctype", b"<html")
WRAPPERS = ("ema_params", "ema", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel, of torch.compile
KEYS_SHOWN = 20


def read(path):
    """The object that a checkpoint holds, its tensors as arrays.

    The file is mapped: arrays are read-only views of it, whatever their strides, and tensors that
    share a storage share memory. A pickle is taken for what it says about tensors; names
    that tensors do not need are refused, and nothing in it is ever run.

    Args:
        path: a local file of `torch.save`, of the zip format or of the one before torch 1.6; with
            the suffix .safetensors one of those.

    Returns:
        Dictionaries, lists and tuples of arrays (bfloat16 by `ml_dtypes`) and plain values.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is broken or cut off, or holds what is not needed for tensors.
    """
    mapped = _map(path)
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors_file.read(path, mapped)
        return _format_of(mapped).read(mapped)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _map(path):
    try:
        with Path(path).open("rb") as file:
            if not file.seek(0, 2):
                raise ValueError(f"{path} cannot be read: it is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from error


def _format_of(mapped):
    """The module that reads a mapped file."""
    if mapped[:512].lstrip().lower().startswith(WEB_PAGE):
        raise ValueError("it is a web page, not a checkpoint: fetch the file that it links to")
    for form in (archive, legacy):
        if mapped[: len(form.SIGNATURE)] == form.SIGNATURE:
            return form
    raise ValueError("it is of neither format of torch.save")


def write(path, state_dict):
    """Writes a state dict, whole or not at all.

    Args:
        path: a local file; the suffix .safetensors or .pt (.pth, .ckpt, .bin) says the format. The
            latter is one that `torch.load(path, weights_only=True)` takes.
        state_dict: {name: array}, of floats (bfloat16 by `ml_dtypes`), ints or bools.

    Raises:
        ValueError: names the suffix, or the entry that is no such array.
        OSError: the file cannot be written, say because the disk is full.
    """
    path = Path(path)
    forms = {".safetensors": write_safetensors}
    forms |= dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), writing.write)
    if path.suffix not in forms:
        raise ValueError(f"{path} has none of the suffixes {', '.join(forms)}")
    arrays = {name: _checked(name, value) for name, value in state_dict.items()}
    try:
        with written_whole(path) as beside:
            forms[path.suffix](Path(beside), arrays)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error


def _checked(name, value):
    """An entry's array, which must be of a type that torch has."""
    array = np.asarray(value)
    if not isinstance(name, str) or array.dtype not in writing.STORAGE_TYPES:
        raise ValueError(
            f"the entry {name!r} is of type {array.dtype}, which is none of "
            f"{', '.join(str(dtype) for dtype in writing.STORAGE_TYPES)}"
        )
    return array


def unwrap(checkpoint):
    """The state dict within what training scripts save around it.

    Taken is the checkpoint itself if all its values are arrays; otherwise the first of its entries
    `ema_params`, `ema`, `state_dict` and `model` that holds a state dict, wrapped again or not: so
    the moving averages where there are any. The prefixes that `torch.compile` and
    DistributedDataParallel give to all names, `_orig_mod.` and `module.`, are taken off.

    Args:
        checkpoint: what `read` gives.

    Returns:
        {name: array}.

    Raises:
        ValueError: there is no state dict; names the entries that there are.
    """
    found = _state_dict(checkpoint)
    if found is None:
        raise ValueError(
            f"the checkpoint holds no state dict, which is looked for in itself and in its entries "
            f"{', '.join(WRAPPERS)}: it is {_described(checkpoint)}"
        )
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): array for name, array in found.items()}
    return found


def _state_dict(value):
    """The first dictionary of arrays by name, from the outside in; None where there is none."""
    if not isinstance(value, dict):
        return None
    if value and all(type(k) is str and isinstance(a, np.ndarray) for k, a in value.items()):
        return value
    inner = (_state_dict(value.get(name)) for name in WRAPPERS)
    return next((found for found in inner if found is not None), None)


def _described(checkpoint):
    if not isinstance(checkpoint, dict):
        return f"a {type(checkpoint).__name__}"
    keys = [f"{key!r:.80}" for key in list(checkpoint)[:KEYS_SHOWN]]
    more = "" if len(checkpoint) <= KEYS_SHOWN else f" and {len(checkpoint) - KEYS_SHOWN} more"
    return f"a dictionary of {', '.join(keys) or 'nothing'}{more}"
