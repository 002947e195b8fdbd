"""Safetensors checked by its library, and mapped, which for numpy the library does not do."""

import json

import ml_dtypes
import numpy as np
import safetensors

DTYPES = {
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def read(path, mapped):
    """{name: array} of a file whose bytes are mapped, each array a view of them."""
    try:
        # Checks the header, and that the tensors lie in the file one behind the other.
        with safetensors.safe_open(path, framework="numpy"):
            pass
    except safetensors.SafetensorError as error:
        raise ValueError(f"it is no complete safetensors file ({error})") from None
    begin = 8 + int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8:begin])
    header.pop("__metadata__", None)
    return {name: _view(mapped, begin, name, entry) for name, entry in header.items()}


def _view(mapped, begin, name, entry):
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"its tensor {name!r:.80} is of the type {entry['dtype']!r:.20}")
    first, _ = entry["data_offsets"]
    return np.ndarray(entry["shape"], DTYPES[entry["dtype"]], mapped, begin + first)
