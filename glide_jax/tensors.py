"""Safetensors written array by array: the library would hold all of them twice."""

import json

import numpy as np

from glide_jax.files import written_whole

CODES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
ALIGNMENT = 8  # bytes, of the first array


def write_safetensors(path, arrays):
    """Writes a safetensors file, whole or not at all; one array at a time is made contiguous.

    Args:
        path: a path of this machine or of a cloud.
        arrays: {name: array}, each of a type in `CODES`; the widest types come first, so that all
            are aligned.
    """
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    with written_whole(path) as beside, beside.open("wb") as file:
        file.write(_header({name: arrays[name] for name in order}))
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))


def _header(arrays):
    """Its length as a uint64, then JSON: of each array its type, its shape and its bytes' place."""
    entries, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        code, shape = CODES[str(array.dtype)], list(array.shape)
        entries[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
    described = json.dumps(entries, separators=(",", ":")).encode()
    described += b" " * (-len(described) % ALIGNMENT)
    return len(described).to_bytes(8, "little") + described
