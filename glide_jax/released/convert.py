"""A model folder of PyTorch checkpoints: python -m glide_jax.released convert base.pt --out DIR

What the shapes of its weights do not tell is known of the published models; of others it is given.
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro

from glide_jax import model_folder
from glide_jax.files import cache_folder
from glide_jax.models import text2im
from glide_jax.released import torch_file, vocabulary
from glide_jax.released.infer import infer, infer_clip
from glide_jax.released.known import NOTHING, Untold, recall
from glide_jax.released.names import clip_from_pytorch, from_pytorch

PARAMS = "params.safetensors"


@dataclass(frozen=True, kw_only=True)
class Arguments(Untold):
    """What to convert, and what its shapes do not tell."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The checkpoint, .pt or .safetensors; of CLIP both, clip_image_enc.pt and clip_text_enc.pt."""
    out: Path
    """The model folder to make."""
    vocab: Path | None = None
    """The folder of the published vocabulary; by default the cache, or else the model hub."""
    cache: Path | None = None
    """By default $GLIDE_JAX_CACHE or ~/.cache/glide_jax."""


def run(arguments: Arguments):
    """Converts, and prints where the model is."""
    out, number = arguments.out, len(arguments.files)
    if number not in (1, 2):
        raise ValueError(f"there are {number} files to convert; give one, or CLIP's two")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out is {str(out)!r}, which is a file; give a folder that is new")
    # Of a conversion that was stopped there may be anything but the config, which comes last.
    if out.exists() and {path.name for path in out.glob("[!.]*")} - {PARAMS, "tokenizer.json"}:
        raise ValueError(f"--out is {str(out)!r}, which is not empty; give a folder that is new")
    untold = Untold(**{field.name: getattr(arguments, field.name) for field in fields(Untold)})
    model = convert(arguments.files, out, untold, arguments.vocab, arguments.cache)
    parameters = text2im.count_parameters(model_folder.param_shapes(model))
    print(f"{parameters:,} parameters", file=sys.stderr)
    print(out)


def convert(paths, out, untold=NOTHING, vocab=None, cache=None):
    """Makes a model folder of checkpoints; the weights stay in its precision, float16 or float32.

    The checkpoints are mapped, and one weight after the other is written. The config comes last: a
    folder without one is no model yet.

    Args:
        paths: one file that `torch_file.read` takes, of a state dict as `torch_file.unwrap` finds
            it; or of CLIP two, its towers.
        out: the folder, made if need be.
        untold: what the shapes do not tell; what is None in it is known of published models.
        vocab, cache: where its vocabulary is, see `vocabulary.tokenizer_for`.

    Returns:
        The model's config.

    Raises:
        ValueError: says what about the file is not GLIDE's, or what must be given.
        OSError: a file cannot be read or written.
    """
    state_dicts = [torch_file.unwrap(torch_file.read(path)) for path in paths]
    try:
        model, params = (_clip if len(paths) == 2 else _diffusion)(untold, *state_dicts)
    except ValueError as error:
        what = " and ".join(map(str, paths))
        raise ValueError(f"{what} cannot be converted: {error}") from None
    tokenizer = vocabulary.tokenizer_for(model.text, vocab, cache or cache_folder())
    Path(out).mkdir(parents=True, exist_ok=True)
    model_folder.save_params(Path(out) / PARAMS, params, dtype=None)
    model_folder.save_description(out, model, tokenizer)
    return model


def _diffusion(untold, state_dict):
    """A diffusion model's config and parameters."""
    shapes = _shapes(state_dict)
    model = infer(shapes, untold.over(recall(shapes)))
    return model, from_pytorch(_weights(state_dict), model_folder.param_shapes(model))


def _clip(untold, *towers):
    """A noised CLIP's config and parameters, of its towers in either order."""
    image, text = sorted(towers, key=lambda tower: "blocks.input.w_voc" in tower)
    shapes = _shapes(image), _shapes(text)
    model = infer_clip(*shapes, untold.over(recall(shapes[0]).over(recall(shapes[1]))))
    target = model_folder.param_shapes(model)
    return model, clip_from_pytorch(_weights(image), _weights(text), target)


def _shapes(state_dict):
    return {name: array.shape for name, array in state_dict.items()}


def _weights(state_dict):
    """In a precision that model folders have: float16 and float32 stay as they are."""
    for name, array in state_dict.items():
        if not jax.numpy.issubdtype(array.dtype, np.floating):
            raise ValueError(f"its {name} is of type {array.dtype}, which is not that of weights")
    kept = (np.float16, np.float32)
    return {
        name: array if array.dtype in kept else array.astype(np.float32)
        for name, array in state_dict.items()
    }
