"""Trains a recipe: python train.py configs/shapes32.py [--run DIR] [--steps N] [--help]"""

import difflib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glide_jax import cli
from glide_jax.config import Recipe

USAGE = "usage: train.py configs/NAME.py [--run DIR] [--FIELD VALUE ...]; with --help it lists all"


@dataclass(frozen=True)
class Arguments:
    """A recipe's fields, and where its run lives."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    run: str | None = None
    """The run's folder; by default runs/NAME. A run that is there goes on."""


def load_recipe(path):
    """The recipe that a config file's get_config() gives."""
    path = Path(path)
    if not path.is_file():
        known = sorted(str(file) for file in Path("configs").glob("*.py"))
        near = difflib.get_close_matches(str(path), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no recipe {str(path)!r}; {hint}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{str(path)!r} is no recipe: it has no function get_config()")
    return module.get_config(), module.__doc__


def main(arguments):
    """Parses, builds, runs."""
    if not arguments or arguments[0].startswith("-"):
        if set(arguments) & {"-h", "--help"}:
            print(USAGE)
            return
        raise ValueError(f"the recipe comes first; {USAGE}")
    recipe, description = load_recipe(arguments[0])
    prog = f"train.py {arguments[0]}"
    parsed = cli.parse(Arguments, arguments[1:], prog, description, Arguments(recipe))

    from glide_jax.training.loop import train  # after parsing: --help need not wait for JAX

    run = parsed.run or str(Path("runs") / parsed.recipe.name)
    train(parsed.recipe, run)
    print(f'done: python sample.py "..." --model {run}', file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "train.py")
