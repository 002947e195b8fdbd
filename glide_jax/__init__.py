"""GLIDE, text-guided diffusion (Nichol et al. 2021, arXiv 2112.10741), in JAX."""

import importlib

_HOMES = {"Pipeline": "pipeline", "NoisedClip": "noised_clip", "rerank": "reranking"}
__version__ = "0.1.0"


def __getattr__(name):
    # Loaded at first use: the command lines' --help and the configs need not wait for JAX.
    if name in _HOMES:
        return getattr(importlib.import_module(f"glide_jax.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
