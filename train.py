"""Trains a recipe: python train.py configs/shapes32.py [--run DIR] [--steps N] [--help]"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glide_jax import cli
from glide_jax.config import Classifier, Clip, Diffusion, Recipe, Tagger
from glide_jax.config.loading import CONFIGS as CONFIGS
from glide_jax.config.loading import load_recipe

# What comes after a training, before the run's name.
USES = {
    Diffusion: 'python sample.py "..." --model',
    Clip: "python -m glide_jax.evaluation.retrieval --model",
    Classifier: "a classifier, whose features metrics take, is in",
    Tagger: "a text encoder, which a training with --text-from starts from, is in",
}
USAGE = "usage: train.py configs/NAME.py [--run DIR] [--FIELD VALUE ...]; with --help it lists all"


@dataclass(frozen=True)
class Arguments:
    """A recipe's fields, and where its run lives."""

    recipe: Annotated[Recipe, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands]
    run: str | None = None
    """The run's folder; by default runs/NAME. A run that is there goes on."""
    coordinator: str | None = None
    """HOST:PORT of the first of several processes, or auto on a cluster that says it."""
    num_processes: int | None = None
    """How many processes train together."""
    process_id: int | None = None
    """This process's number, from 0 on."""
    dry_run: bool = False
    """Trains nothing, but says what the training takes of each device's memory."""
    devices: int | None = None
    """How many a dry run counts with; by default those that are here."""
    device_memory: str | None = None
    """Of each device, such as 16GiB: a dry run that needs more says what to change."""


def dry_run(parsed):
    """Prints what a training takes; a ValueError says what to change where it does not fit."""
    import jax

    from glide_jax.training import dry_run

    if parsed.devices is not None and parsed.devices < 1:
        raise ValueError(f"--devices is {parsed.devices}; it must be 1 or more")
    memory = parsed.device_memory and dry_run.parse_bytes(parsed.device_memory)
    needs = dry_run.estimate(parsed.recipe, parsed.devices or jax.device_count())
    print(dry_run.table(needs))
    if memory:
        dry_run.check_fits(needs, memory)


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
    if parsed.dry_run:
        dry_run(parsed)
        return
    if parsed.devices is not None or parsed.device_memory is not None:
        raise ValueError("--devices and --device-memory are a dry run's; give --dry-run, too")

    # After parsing: --help need not wait for JAX.
    from etils import epath

    from glide_jax import parallel
    from glide_jax.released.ready import ready
    from glide_jax.training.loop import train
    from glide_jax.training.stop import Stopped

    run = parsed.run or str(Path("runs") / parsed.recipe.name)
    if not (epath.Path(run) / "config.json").exists():
        for parent in filter(None, (parsed.recipe.init_from, parsed.recipe.text_from)):
            ready(parent)
    parallel.start(parsed.coordinator, parsed.num_processes, parsed.process_id)
    try:
        train(parsed.recipe, run)
    except Stopped as stopped:
        print(f"train.py: {stopped}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    print(f"done: {USES[type(parsed.recipe.model)]} {run}", file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "train.py")
