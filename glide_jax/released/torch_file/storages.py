"""Tensors as views of the storages that a file holds."""

import math
from typing import NamedTuple

import ml_dtypes
import numpy as np

# The names under which PyTorch's pickles refer to the types of storages.
DTYPES = {
    "torch FloatStorage": np.dtype(np.float32),
    "torch DoubleStorage": np.dtype(np.float64),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}
MOST_AXES = 32


class Storage(NamedTuple):
    """A part of a storage: `numel` elements from `first`, of the storage that `key` names."""

    dtype: np.dtype
    key: str
    first: int
    numel: int


def identified(identity):
    """The storage that a pickle's persistent id names; a ValueError says what is wrong with it.

    The id is ("storage", type, key, device, numel), before torch 1.6 with None after it or with
    what a view is: (its key, first, numel).
    """
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("its pickle refers to something outside that is no storage")
    _, dtype, key, _, numel, *view = identity
    if not (isinstance(dtype, np.dtype) and type(key) is str and _is_count(numel)):
        raise ValueError("its pickle has a storage without a type, a name or a size")
    if view in ([], [None]):
        return Storage(dtype, key, 0, numel)
    (view,) = view
    if not (type(view) is tuple and len(view) == 3 and all(map(_is_count, view[1:]))):
        raise ValueError("its pickle has a view of a storage that does not say which part")
    _, first, length = view
    if first + length > numel:
        raise ValueError(f"its pickle has a view beyond the end of its storage {key!r:.40}")
    return Storage(dtype, key, first, length)


def view(mapped, places, storage, offset, size, stride):
    """A tensor as a read-only array on a mapped file, nothing copied.

    Args:
        mapped: the file's bytes, `mmap` read-only.
        places: {key: (start, length)} of the storages in them, bytes.
        storage: the `Storage` that it is a view of.
        offset: its first element, counted from the storage's first.
        size, stride: of each axis, in elements. All three come from the file, unchecked.

    Raises:
        ValueError: the file lacks the storage, or the tensor does not lie within it.
    """
    if storage.key not in places:
        raise ValueError(f"it lacks the storage {storage.key!r:.40} of a tensor")
    start, length = places[storage.key]
    itemsize = storage.dtype.itemsize
    declared = (storage.first + storage.numel) * itemsize
    if declared > length:
        raise ValueError(
            f"its storage {storage.key!r:.40} has {length:,} bytes, and not the {declared:,} that "
            "it says: fetch the file again"
        )
    _check_layout(size, stride, offset)
    shown = f"a tensor [{', '.join(map(str, size))}]"
    # An expanded tensor may be larger than its storage; one that outgrows the file is no weight.
    if math.prod(n or 1 for n in size) * itemsize > len(mapped):
        raise ValueError(f"it has {shown}, larger than the whole file")
    if 0 in size:
        return np.ndarray(size, storage.dtype, mapped)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= storage.numel:
        raise ValueError(f"it has {shown} beyond the end of its storage {storage.key!r:.40}")
    strides = [step * itemsize if n > 1 else itemsize for n, step in zip(size, stride, strict=True)]
    begin = start + (storage.first + offset) * itemsize
    return np.ndarray(size, storage.dtype, mapped, begin, strides)


def _check_layout(size, stride, offset):
    """Raises unless size, stride and offset are what they have to be, without looking where."""
    if not (type(size) is type(stride) is tuple and len(size) == len(stride) <= MOST_AXES):
        raise ValueError(f"it has a tensor without a size and a stride for up to {MOST_AXES} axes")
    if not all(map(_is_count, (*size, *stride, offset))):
        raise ValueError("it has a tensor whose size, stride or offset is no count of elements")


def _is_count(number):
    """Whether a value from a pickle is a number of elements; True and False are none."""
    return type(number) is int and 0 <= number < 2**63
