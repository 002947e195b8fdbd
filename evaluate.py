"""How good pictures are: python evaluate.py --model shapes32 --data shapes [--help]

    evaluate.py --images A --reference B    scores pictures that are there
    evaluate.py compare A B ... --reference R    several generators in one table
    evaluate.py sweep    what the settings of sampling do
    evaluate.py reference    makes the statistics of real pictures once
    evaluate.py duel A B    a person chooses between two generators' pictures
    evaluate.py inpainting, upsampling, sdedit    what becomes of given pictures

Each has --help.
"""

import importlib

from glide_jax import cli

# By the command's name, its module in glide_jax.evaluation and the function there.
COMMANDS = {
    "compare": ("scored_pictures", "compare"),
    "sweep": ("drawn_pictures", "sweep"),
    "reference": ("reference", "main"),
    "duel": ("duel", "main"),
    "inpainting": ("edits.inpainting", "main"),
    "upsampling": ("edits.upsampling", "main"),
    "sdedit": ("edits.sdedit", "main"),
}


def load(name, dtype):
    """The Pipeline of a model; a published one is fetched."""
    # After parsing: --help need not wait for JAX.
    from glide_jax import Pipeline
    from glide_jax.released.ready import ready

    return Pipeline.load(ready(name), dtype)


def main(arguments):
    """Runs the command that is asked for."""
    named = arguments[:1] and arguments[0] in COMMANDS
    if named:
        module, function = COMMANDS[arguments[0]]
    elif any(argument.partition("=")[0] == "--images" for argument in arguments):
        module, function = "scored_pictures", "main"
    else:
        module, function = "drawn_pictures", "main"
    command = importlib.import_module(f"glide_jax.evaluation.{module}")
    getattr(command, function)(arguments[bool(named) :], load)


if __name__ == "__main__":
    cli.entry_point(main, "evaluate.py")
