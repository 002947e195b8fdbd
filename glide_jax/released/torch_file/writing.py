"""The zip format as `torch.load` takes it: a pickle of names and shapes, then aligned storages."""

import math
import pickle
import zipfile

import numpy as np

from glide_jax.released.torch_file.archive import LOCAL_HEADER
from glide_jax.released.torch_file.storages import DTYPES

ALIGNMENT = 64  # bytes
ZIP64_FIELD = 20  # bytes that a local header takes more where the entry may pass 2 GiB
STORAGE_TYPES = {dtype: name for name, dtype in DTYPES.items()}


def write(path, arrays):
    """Writes {name: array} as torch.save writes a state dict."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        _add(file, archive, "data.pkl", pickled(arrays))
        _add(file, archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            # One array at a time is in memory, where its last axis is not the fastest.
            _add(file, archive, f"data/{key}", np.ravel(array).view(np.uint8))
        _add(file, archive, "version", b"3\n")


def _add(file, archive, name, content):
    """An entry whose bytes start at a multiple of 64, by a field that pads its header."""
    entry = zipfile.ZipInfo(f"archive/{name}")
    taken = file.tell() + LOCAL_HEADER.size + len(entry.filename) + 4
    if len(content) * 1.05 > zipfile.ZIP64_LIMIT:
        taken += ZIP64_FIELD
    padding = -taken % ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
    archive.writestr(entry, content)


_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def pickled(arrays):
    """The pickle: an OrderedDict of tensors, each alone on its storage.

    By the opcodes and names of torch.save's own, which are all that `weights_only=True` allows.
    """
    items = (_literal(name) + _tensor(key, a) for key, (name, a) in enumerate(arrays.items()))
    return b"\x80\x02" + _ORDERED_DICT + b"(" + b"".join(items) + b"u."


def _tensor(key, array):
    """What calls _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())."""
    storage_type = "c{}\n{}\n".format(*STORAGE_TYPES[array.dtype].split()).encode()
    storage = _literal("storage") + storage_type + _literal(str(key)) + _literal("cpu")
    stride = tuple(math.prod(n or 1 for n in array.shape[axis + 1 :]) for axis in range(array.ndim))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + (storage + _literal(array.size) + b"tQ")
        + (_literal(0) + _literal(array.shape) + _literal(stride))
        + (b"\x89" + _ORDERED_DICT + b"tR")
    )


def _literal(value):
    """What puts a plain value on a pickle's stack: its own pickle without the head and the stop."""
    return pickle.dumps(value, protocol=2)[2:-1]
