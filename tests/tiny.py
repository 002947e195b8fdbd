"""A model small enough to compile in seconds, which the tests share."""

from dataclasses import replace

import jax
import numpy as np

from configs.tiny import get_config
from glide_jax import model_folder
from glide_jax.config import Clip, ClipImage
from glide_jax.data import pipeline as data
from glide_jax.text import tokenizer as text

RECIPE = get_config()
MODEL = RECIPE.model
# For programs that take long to compile: one level, and half the side.
SMALLER = replace(MODEL, unet=replace(MODEL.unet, image_size=16, channel_mult=(1,)))
UPSAMPLER = replace(
    MODEL, unet=replace(MODEL.unet, low_res_size=16, image_size=32), schedule="linear"
)
SIDE = MODEL.unet.image_size
CLIP = Clip(ClipImage(SIDE, patch=8, width=32, layers=2, heads=2), MODEL.text, embedding=16)
SOURCE = data.open_source(RECIPE.data, SIDE)


def tokenizer():
    """A byte-pair encoding trained on a few captions."""
    return text.train(data.captions(SOURCE, 500), MODEL.text)


def batches(start, stop, tokenizer, size=4):
    """Batches of four or another number, as the trainer gives them to a step."""
    drawn = list(data.batches(RECIPE.data, SOURCE, start, stop, size, SIDE, tokenizer))
    return [{name: batch[name] for name in batch.keys() - {"replaced"}} for batch in drawn]


def made_smaller(batch):
    """The recipe with the smaller model, and a batch whose pictures fit it."""
    side = SMALLER.unet.image_size
    return replace(RECIPE, model=SMALLER), batch | {"image": batch["image"][:, :side, :side]}


def random_params(seed=0, model=MODEL):
    """Parameters drawn at random: at the start of training the last layers are zero."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        values = rng.standard_normal(leaf.shape, np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return 1 + 0.1 * values if leaf.ndim == 1 else values / np.sqrt(fan_in, dtype=np.float32)

    return jax.tree.map(draw, model_folder.param_shapes(model))
