"""What a recipe can say: frozen, hashable dataclasses, static to jit, to and from JSON."""

from glide_jax.config.dicts import from_dict, to_dict
from glide_jax.config.models import (
    Classifier,
    Clip,
    ClipImage,
    Diffusion,
    Model,
    Tagger,
    TextEncoder,
    UNet,
)
from glide_jax.config.recipe import Data, Erase, LowRes, Optim, Recipe

__all__ = [
    "Classifier",
    "Clip",
    "ClipImage",
    "Data",
    "Diffusion",
    "Erase",
    "LowRes",
    "Model",
    "Optim",
    "Recipe",
    "Tagger",
    "TextEncoder",
    "UNet",
    "from_dict",
    "to_dict",
]
