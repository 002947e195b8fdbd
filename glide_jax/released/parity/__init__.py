"""Are our figures the published models'? Exit code 1 where one is farther off than its limit."""

import itertools
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from glide_jax.cli import check_folder
from glide_jax.files import written_whole
from glide_jax.released.parity import clip, networks, processes, tokens
from glide_jax.released.parity.measure import Row, compare, table

# The files of figures, and whether they are of models at full size.
FILES = {
    "respacing.json": False,
    "diffusion.npz": False,
    "tokens.json": False,
    "unet_tiny.npz": False,
    "clip_tiny.npz": False,
    "unet_full.npz": True,
    "clip_full.npz": True,
}


@dataclass(frozen=True)
class Arguments:
    """What `python -m glide_jax.released parity` takes."""

    fixtures: Path
    """The folder of the published figures; those of its files that are there are compared."""
    salt: str = ""
    """What was put before the names that weights and inputs are drawn by."""
    full: bool = False
    """The models at full size, too: minutes, and several GB of memory."""
    vocab: Path | None = None
    """The folder of the published vocabularies, by default the figures' own."""
    dump: Path | None = None
    """A .npz file for our figures, under the keys and in the layout of the published ones."""


def run(arguments):
    """Measures every figure that the folder has and prints the table; exits 1 over a limit."""
    folder = arguments.fixtures
    if not folder.is_dir():
        raise ValueError(f"--fixtures is {str(folder)!r}; that is no folder")
    if arguments.dump:
        check_dump(arguments.dump)
    rows, outputs = [], {}
    for row, found in measured(folder, arguments.salt, arguments.full, arguments.vocab):
        print(*table([row], head=not rows), sep="\n", flush=True)
        rows.append(row)
        outputs |= found
    if not rows:
        raise ValueError(f"--fixtures is {str(folder)!r}, which holds no published figures")
    if arguments.dump:
        write(arguments.dump, outputs)
    wanted = [file for file, is_full in FILES.items() if arguments.full or not is_full]
    if missing := [file for file in wanted if not (folder / file).exists()]:
        print(f"not compared, for {folder} has it not: {', '.join(missing)}")
    over = [row.name for row in rows if row.share > 1]
    if over:
        print(f"over the limit: {', '.join(over)}")
        raise SystemExit(1)


def measured(folder, salt="", full=False, vocab=None) -> Iterator[tuple[Row, dict]]:
    """(Row, our figures) of each group of figures that a folder has."""
    try:
        for check in itertools.chain(
            processes.checks(folder, salt),
            tokens.checks(folder, vocab),
            networks.checks(folder, salt, full),
            clip.checks(folder, salt, full),
        ):
            with jax.default_matmul_precision("highest"):
                found = compare(check)
            yield found
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} has a file that is not whole: {error}") from error


def check_dump(path):
    """Raises a ValueError, before the work, where the file could not be written."""
    if path.suffix != ".npz":
        raise ValueError(f"--dump is {str(path)!r}; allowed: names that end in .npz")
    check_folder("--dump", path.parent)


def write(path, arrays):
    """An .npz file, whole or not at all."""
    with written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)
