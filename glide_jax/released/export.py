"""A model's weights for PyTorch: python -m glide_jax.released export DIR --out model.pt

They have the names and layouts of the published models' code, in the precision of the folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from glide_jax import checkpoint, config, model_folder
from glide_jax.released import torch_file
from glide_jax.released.names import CLIP_LOGIT_SCALE, to_pytorch

WEIGHTS = "params.safetensors"
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
    print(*export(arguments.model, arguments.out), sep="\n")


def export(name_or_folder, path):
    """Writes the state dict of a model, as the published code has it.

    A folder that `convert.convert` made gives its checkpoint's state dict back, bit for bit.

    Args:
        name_or_folder: see `model_folder.find_model`; of a training run its end or, where it has
            not ended, its newest checkpoint.
        path: of the file, whose suffix says the format: see `torch_file.write`. A CLIP goes into
            two, NAME_image_enc and NAME_text_enc.

    Returns:
        The files.

    Raises:
        ValueError: there is no such model, or the published code cannot have it.
        OSError: the file cannot be written.
    """
    folder = model_folder.find_model(name_or_folder)
    model, _ = model_folder.load_description(folder, kind=None)
    if isinstance(model, config.Clip):
        return _export_clip(model_folder.read_params(folder / WEIGHTS, model), Path(path))
    if isinstance(model, config.Classifier | config.Tagger):
        title = model_folder.KINDS[model_folder.kind_of(model)].title
        raise ValueError(f"{folder} holds {title}, which the published code does not know")
    for name, value in FIXED.items():
        if getattr(model.unet, name) != value:
            raise ValueError(
                f"UNet.{name} of {folder} is {getattr(model.unet, name)}; the published code knows "
                f"{value} only"
            )
    if (folder / WEIGHTS).exists():
        params = model_folder.read_params(folder / WEIGHTS, model)
    else:
        _, _, params = checkpoint.load_model(folder)
    torch_file.write(path, to_pytorch(params))
    return [path]


def _export_clip(params, path):
    if np.float32(params["logit_scale"]) != np.log(np.float32(CLIP_LOGIT_SCALE)):
        raise ValueError(
            f"the logit scale is {np.exp(params['logit_scale']):g}; the published code knows "
            f"{CLIP_LOGIT_SCALE:g} only"
        )
    paths = {tower: path.with_stem(f"{path.stem}_{tower}_enc") for tower in ("image", "text")}
    for tower, file in paths.items():
        torch_file.write(file, to_pytorch(params[tower]))
    return list(paths.values())
