"""GLIDE, text-guided diffusion (Nichol et al. 2021, arXiv 2112.10741), in JAX."""

__version__ = "0.1.0"


def __getattr__(name):
    # Loaded at first use: the command lines' --help and the configs need not wait for JAX.
    if name == "Pipeline":
        from glide_jax.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
