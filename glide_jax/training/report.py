"""What shows during training how well captions are followed: sample grids and the caption gap."""

import jax

from glide_jax import config
from glide_jax.data import pipeline as data
from glide_jax.images import enlarge, make_grid, save_png
from glide_jax.parallel import on_one_device
from glide_jax.pipeline import Pipeline

GRID_CAPTIONS = 16
GRID_SETTINGS = {"sampler": "ancestral", "steps": 25, "guidance_scale": 3.0, "seed": 0}
GAP_EXAMPLES = 128


class Report:
    """Grids of fixed captions, and the caption gap on fixed examples and noise.

    Args:
        recipe: the training.
        task: what it trains, with `caption_gap`.
        tokenizer: its captions'.
        folder: where `samples/STEP.png` go.
        source: of the examples.
    """

    def __init__(self, recipe: config.Recipe, task, tokenizer, folder, source):
        self.recipe, self.tokenizer, self.folder = recipe, tokenizer, folder / "samples"
        size = recipe.model.unet.image_size
        self.batch, captions = data.fixed_batch(source, GAP_EXAMPLES, size, tokenizer)
        self.captions = captions[:GRID_CAPTIONS]
        self.caption_gap = jax.jit(task.caption_gap)
        self.key = jax.random.key(0)

    def write(self, ema_params, step):
        """Saves a grid and returns the caption gap, {"caption_gap": ...}."""
        ema_params = on_one_device(ema_params)
        pipeline = Pipeline(self.recipe.model, ema_params, self.tokenizer, self.recipe.dtype)
        images = pipeline.text_to_image(self.captions, batch_size=GRID_CAPTIONS, **GRID_SETTINGS)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"prompts": self.captions, "step": step} | GRID_SETTINGS
        save_png(self.folder / f"{step:08d}.png", enlarge(make_grid(images), 512), settings)
        return {"caption_gap": float(self.caption_gap(ema_params, self.batch, self.key))}
