"""The pictures that show how a training gets on, and the settings that they were drawn with."""

import jax
import numpy as np

from glide_jax import config
from glide_jax.config.checks import require
from glide_jax.images import make_grid, to_uint8
from glide_jax.pipeline import Pipeline
from glide_jax.training.given import given_pictures


def check(recipe: config.Recipe):
    """Raises a ValueError where a recipe asks for grids that could not be drawn."""
    if isinstance(recipe.model, config.Diffusion):
        most = recipe.model.timesteps
        allowed = f"1 to {most}, the model's timesteps"
        require(recipe.sample_steps <= most, "Recipe.sample_steps", recipe.sample_steps, allowed)


def draw_grid(pipeline: Pipeline, recipe: config.Recipe, images, captions):
    """Pictures of captions; where the model is given a picture, beside what it was given of it.

    Args:
        pipeline: the model.
        recipe: its training; what an inpainting model is not shown is drawn as it says, but for
            each place always the same.
        images: uint8 [N, H, W, 3], what the captions are of.
        captions: N strings.

    Returns:
        The grid, uint8 [H', W', 3], and the settings by name.
    """
    unet = pipeline.model.unet
    keys = jax.random.split(jax.random.key(0), len(captions))
    given = given_pictures(unet, recipe.erase, config.LowRes(), images, keys)
    how = {"sampler": "ancestral", "guidance_scale": 3.0, "seed": 0, "steps": recipe.sample_steps}
    masks = np.asarray(given["inpaint_mask"] == 1) if unet.inpaint else None
    known = (images, masks[..., 0]) if unet.inpaint else None
    if unet.low_res_size:
        how |= {"guidance_scale": 1.0} | ({} if unet.inpaint else {"sampler": "ddim"})
        small = to_uint8(given["low_res"])
        drawn = pipeline.upsample(small, captions, known=known, **how)
        factor = unet.image_size // unet.low_res_size
        shown = small.repeat(factor, 1).repeat(factor, 2)
    elif unet.inpaint:
        drawn = pipeline.inpaint(*known, captions, batch_size=len(captions), **how)
        shown = np.where(masks, images, 128)
    else:
        return make_grid(pipeline.text_to_image(captions, batch_size=len(captions), **how)), how
    return _side_by_side(shown, drawn), how


def _side_by_side(shown, drawn):
    """A grid of four pairs a row."""
    pairs = np.stack([shown, drawn], axis=1)  # [N, 2, H, W, 3]
    return make_grid(np.uint8(pairs.reshape(-1, *drawn.shape[1:])), columns=8)
