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
TOWERS = ("image", "text")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to export, and where to."""

    model: Annotated[str, tyro.conf.Positional]
    """A model's name, a model folder or a training run."""
    out: Path
    """A .pt or .safetensors file."""


def run(arguments: Arguments):
    """Exports, and prints where the file is."""
    model, _ = model_folder.load_description(model_folder.find_model(arguments.model), kind=None)
    for path in _files(model, arguments.out):
        if path.exists():
            raise ValueError(f"--out gives {str(path)!r}, which is there already; remove it")
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
    if isinstance(model, config.Classifier | config.Tagger):
        title = model_folder.KINDS[model_folder.kind_of(model)].title
        raise ValueError(f"{folder} holds {title}, which the published code does not know")
    if isinstance(model, config.Diffusion):
        _check_fixed(model, folder)
    files, params = _files(model, Path(path)), _params(folder, model)
    parts = _towers(params) if isinstance(model, config.Clip) else [params]
    for file, part in zip(files, parts, strict=True):
        torch_file.write(file, to_pytorch(part))
    return files


def _files(model, path):
    """The files that a model is exported to: one, or of a CLIP one for each tower."""
    if isinstance(model, config.Clip):
        return [path.with_stem(f"{path.stem}_{tower}_enc") for tower in TOWERS]
    return [path]


def _params(folder, model):
    """The parameters of a model folder in its precision, or those of a training run."""
    if (folder / WEIGHTS).exists():
        return model_folder.read_params(folder / WEIGHTS, model)
    _, _, params = checkpoint.load_model(folder, kind=model_folder.kind_of(model))
    return params


def _check_fixed(model, folder):
    """Raises a ValueError where a UNet differs in what the published code leaves no choice in."""
    for name, value in FIXED.items():
        if getattr(model.unet, name) != value:
            raise ValueError(
                f"UNet.{name} of {folder} is {getattr(model.unet, name)}; the published code knows "
                f"{value} only"
            )


def _towers(params):
    """The parameters of a CLIP's towers; a ValueError where its scale is not the published one."""
    if np.float32(params["logit_scale"]) != np.log(np.float32(CLIP_LOGIT_SCALE)):
        raise ValueError(
            f"the logit scale is {np.exp(params['logit_scale']):g}; the published code knows "
            f"{CLIP_LOGIT_SCALE:g} only"
        )
    return [params[tower] for tower in TOWERS]
