"""The published models: python -m glide_jax.released COMMAND [--help]"""

import importlib

from glide_jax import cli

# Each is a module of this package with the dataclass `Arguments` and the function `run`.
COMMANDS = {
    "fetch": "brings the published checkpoints into a cache",
    "convert": "makes a model folder of a PyTorch checkpoint",
    "export": "writes a model's weights for PyTorch",
}
USAGE = "\n".join(
    (
        "usage: python -m glide_jax.released COMMAND [--help]",
        *(f"  {name}: {what}" for name, what in COMMANDS.items()),
    )
)


def main(arguments):
    """Parses, and runs the command."""
    if set(arguments[:1]) & {"-h", "--help"}:
        print(USAGE)
        return
    name = arguments[0] if arguments else None
    if name not in COMMANDS:
        given = "the command comes first" if name is None else f"there is no command {name!r}"
        raise ValueError(f"{given}; known: {', '.join(COMMANDS)}")
    # Only the one that is asked for: some need JAX, and --help need not wait for it.
    command = importlib.import_module(f"glide_jax.released.{name}")
    prog = f"python -m glide_jax.released {name}"
    command.run(cli.parse(command.Arguments, arguments[1:], prog, command.__doc__))


if __name__ == "__main__":
    cli.entry_point(main, "released")
