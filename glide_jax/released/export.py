"""A model's weights for PyTorch: python -m glide_jax.released export DIR --out model.pt

They have the names and layouts of the published models' code, in the precision of the folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glide_jax import checkpoint, model_folder
from glide_jax.released import torch_file
from glide_jax.released.names import to_pytorch

# What the published code leaves no choice in.
FIXED = {"patch": 1, "norm_groups": 32}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to export, and where to."""

    model: Annotated[str, tyro.conf.Positional]
    """A model's name, a model folder or a training run."""
    out: Path
    """A .pt or .safetensors file."""


def run(arguments: Arguments):
    """Exports, and prints where the file is."""
    if arguments.out.exists():
        raise ValueError(f"--out is {str(arguments.out)!r}, which is there already; remove it")
    export(arguments.model, arguments.out)
    print(arguments.out)


def export(name_or_folder, path):
    """Writes the state dict of a model, as the published code has it.

    A folder that `convert.convert` made gives its checkpoint's state dict back, bit for bit.

    Args:
        name_or_folder: see `model_folder.find_model`; of a training run its end or, where it has
            not ended, its newest checkpoint.
        path: of the file, whose suffix says the format: see `torch_file.write`.

    Raises:
        ValueError: there is no such model, or the published code cannot have it.
        OSError: the file cannot be written.
    """
    folder = model_folder.find_model(name_or_folder)
    model, _ = model_folder.load_description(folder)
    for name, value in FIXED.items():
        if getattr(model.unet, name) != value:
            raise ValueError(
                f"UNet.{name} of {folder} is {getattr(model.unet, name)}; the published code knows "
                f"{value} only"
            )
    weights = folder / "params.safetensors"
    if weights.exists():
        params = model_folder.read_params(weights, model)
    else:
        _, _, params = checkpoint.load_model(folder)
    torch_file.write(path, to_pytorch(params))
