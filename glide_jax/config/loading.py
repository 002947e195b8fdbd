"""Recipes from the files of configs/."""

import difflib
import importlib.util
from pathlib import Path

from glide_jax.config.recipe import Recipe

CONFIGS = Path(__file__).parents[2] / "configs"


def load_recipe(path):
    """The recipe that a config file's get_config() gives, and the file's docstring."""
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        known = sorted(file.name for file in CONFIGS.glob("[!_]*.py"))
        near = difflib.get_close_matches(path.name, known, n=1)
        hint = f"did you mean configs/{near[0]}?" if near else f"configs has {', '.join(known)}"
        raise ValueError(f"there is no recipe {str(path)!r}; {hint}")
    try:
        module = load_module(path)
        recipe = module.get_config()
    except Exception as error:
        raise ValueError(f"{path} is no recipe that can be read: {error!r}") from error
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{path} is no recipe: its get_config() gives {recipe!r}")
    return recipe, module.__doc__


def load_module(path):
    """A Python file, run as a module of its own."""
    path = Path(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
