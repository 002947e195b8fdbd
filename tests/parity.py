"""Weights and inputs drawn by name, the same on any machine: fixtures hold outputs only.

What is too big for a fixture is in a folder beside the repository, where there is one.
"""

import os
import pathlib
import zlib

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = pathlib.Path(os.environ.get("GLIDE_JAX_PARITY", ROOT.parent / "shared" / "parity"))


def tensor(name, shape, salt=""):
    """float32, seeded by `salt + name`; matrices scaled by 1/sqrt(fan_in), gains around 1."""
    rng = np.random.RandomState(zlib.crc32((salt + name).encode()) & 0x7FFFFFFF)
    x = rng.standard_normal(shape).astype(np.float32)
    if name.startswith("input:"):
        return x
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        if "embedding" in name or ".w_voc" in name or ".w_pos" in name or ".w_t" in name:
            return x * np.float32(0.5)
        return x * np.float32(1.0 / np.sqrt(fan_in))
    if name.endswith((".weight", ".g")):
        return np.float32(1.0) + np.float32(0.1) * x
    return np.float32(0.1) * x
