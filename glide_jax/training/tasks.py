"""What a recipe trains: its parameters, its loss, and how well its captions are followed."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from glide_jax.config import Recipe
from glide_jax.diffusion.losses import hybrid_loss
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.models import text2im


class Draws(NamedTuple):
    """What chance decides for each example of a batch."""

    t: jax.Array  # int32 [B]
    eps: jax.Array  # float32 [B, H, W, 3]
    keep_caption: jax.Array  # bool [B]


class Diffusion:
    """A text-guided diffusion model, trained by the hybrid loss (GLIDE §4).

    A batch holds `image` uint8 [B, H, W, 3], `tokens` int32 and `mask` bool [B, ctx], and `row`
    int32 [B], the examples' places in the global batch: an example's draws depend on its row alone,
    not on the number of devices.
    """

    def __init__(self, recipe: Recipe, dtype=jnp.float32):
        unet = recipe.model.unet
        if unet.inpaint or unet.low_res_size:
            raise ValueError(
                f"UNet.inpaint is {unet.inpaint} and UNet.low_res_size is {unet.low_res_size}; "
                "only models that are given no other picture can be trained"
            )
        self.model, self.dtype = recipe.model, dtype
        self.caption_dropout = recipe.caption_dropout
        self.schedule = make_schedule(recipe.model.schedule, recipe.model.timesteps)

    def init(self, key):
        """Fresh float32 parameters."""
        return text2im.init(self.model, key)

    def loss(self, params, batch, key):
        """The mean loss of a batch, and its parts by name."""
        draws = self.draw(batch, key)
        mask = batch["mask"] & draws.keep_caption[:, None]
        # Rows are folded into the key from 0 on; dropout is drawn apart, once for a device.
        dropout_key = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), batch["row"][0])
        dropout_key = dropout_key if self.model.unet.dropout else None
        losses = self._losses(params, batch | {"mask": mask}, draws, dropout_key)
        means = jax.tree.map(jnp.mean, losses)
        return means["loss"], means

    def caption_gap(self, params, batch, key):
        """Mean loss under shuffled captions minus under true ones, on the same noise.

        Zero for a model that ignores its captions. Each picture gets its neighbour's caption.
        """
        draws = self.draw(batch, key)
        shuffled = batch | {name: jnp.roll(batch[name], 1, axis=0) for name in ("tokens", "mask")}
        true, wrong = (self._losses(params, b, draws)["loss"] for b in (batch, shuffled))
        return jnp.mean(wrong - true)

    def draw(self, batch, key):
        """Timestep, noise and the fate of the caption for each row of a batch."""

        def draw_one(row):
            t_key, eps_key, caption_key = jax.random.split(jax.random.fold_in(key, row), 3)
            return Draws(
                jax.random.randint(t_key, (), 0, self.model.timesteps),
                jax.random.normal(eps_key, batch["image"].shape[1:]),
                jax.random.uniform(caption_key) >= self.caption_dropout,
            )

        return jax.vmap(draw_one)(batch["row"])

    def _losses(self, params, batch, draws, dropout_key=None):
        x_0 = batch["image"].astype(jnp.float32) / 127.5 - 1
        encode = partial(text2im.encode_text, self.model, params, dtype=self.dtype)
        denoise = partial(
            text2im.denoise,
            self.model,
            params,
            cond=encode(batch["tokens"], batch["mask"]),
            dtype=self.dtype,
            dropout_key=dropout_key,
        )
        return hybrid_loss(denoise, self.schedule, x_0, draws.t, draws.eps)
