"""Weights and inputs drawn by name, the same on any machine: fixtures hold outputs only."""

import json
import zlib

import numpy as np


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


def read_manifest(path, *models):
    """{model: {PyTorch name: shape}}.

    Raises:
        ValueError: there is no such file beside the figures, or it lacks one of the models.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: it says which weights the figures beside it have")
    manifest = json.loads(path.read_text())
    for model in models:
        if model not in manifest:
            raise ValueError(f"{path} does not have {model}, of which there are figures beside it")
    return manifest


def draw(model, manifest, salt=""):
    """{PyTorch name: array} of a model, drawn."""
    return {key: tensor(f"{model}/{key}", shape, salt) for key, shape in manifest.items()}


def nhwc(images):
    """The reference's [..., C, H, W] as [..., H, W, C]."""
    return np.moveaxis(np.asarray(images), -3, -1)


def nchw(images):
    """Ours, [..., H, W, C], as the reference has them."""
    return np.moveaxis(np.asarray(images), -1, -3)


def thinned(array, shape):
    """Every n-th entry of each axis, as the large figures are kept, to be of this shape."""
    array = np.asarray(array)
    steps = (-(-ours // kept) for ours, kept in zip(array.shape, shape, strict=True))
    return array[tuple(slice(None, None, step) for step in steps)]
