"""Checkpoints as the published ones, but tiny: their names, shapes and weights."""

import json

import numpy as np

from glide_jax import config
from glide_jax.released import torch_file
from glide_jax.released.known import Untold
from tests.parity import tensor
from tests.stand_ins import FIXTURES

MANIFESTS = json.loads((FIXTURES / "manifest_tiny.json").read_text())
TOLD = Untold(
    image_size=16, head_channels=16, text_heads=4, low_res_size=None, schedule="squaredcos_cap_v2"
)
TOLD_UPSAMPLER = Untold(
    image_size=32, head_channels=16, text_heads=4, low_res_size=16, schedule="linear"
)
TOLD_CLIP = Untold(head_channels=16, text_heads=2, schedule="squaredcos_cap_v2")
TOLD_OF = {
    "tiny-text2im": TOLD,
    "tiny-superres": TOLD_UPSAMPLER,
    "tiny-inpaint": TOLD,
    "tiny-superres_inpaint": TOLD_UPSAMPLER,
}


def model_of(name):
    """The config that the parity figures of a tiny model were made with, at our picture's size."""
    told = TOLD_OF[name]
    return config.Diffusion(
        config.UNet(
            image_size=told.image_size,
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(told.image_size // 2,),
            head_channels=16,
            inpaint="inpaint" in name,
            low_res_size=told.low_res_size,
        ),
        config.TextEncoder(context=12, vocab_size=64, width=32, layers=2, heads=4),
        told.schedule,
    )


def state_dict(name, dtype=np.float32):
    """The weights of a tiny model."""
    return {
        key: tensor(f"{name}/{key}", shape).astype(dtype) for key, shape in MANIFESTS[name].items()
    }


def checkpoint(path, name="tiny-text2im", **changed):
    """A file with the weights of a tiny model, some of them changed, or None to leave them out."""
    weights = state_dict(name) | changed
    torch_file.write(path, {key: array for key, array in weights.items() if array is not None})
    return path


def clip_model():
    """The config that the parity figures of the tiny CLIP were made with."""
    return config.Clip(
        config.ClipImage(image_size=16, patch=4, width=32, layers=2, heads=2),
        config.TextEncoder(12, 64, 32, layers=2, heads=2, cleaning="clip"),
        embedding=24,
    )


def flags(told):
    """What a model's shapes do not tell, for the command line."""
    given = {name: value for name, value in vars(told).items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]
