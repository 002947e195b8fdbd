"""What a recipe trains: its parameters, its loss, and how well its captions are followed."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from glide_jax import config, retrieval
from glide_jax.config import Erase, LowRes, Recipe
from glide_jax.diffusion.losses import WEIGHTINGS, hybrid_loss
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.images import scaled
from glide_jax.models import clip, text2im
from glide_jax.training import timesteps
from glide_jax.training.classification import Classifier
from glide_jax.training.contrastive import contrastive_losses
from glide_jax.training.given import given_pictures
from glide_jax.training.step import Mean, Seen
from glide_jax.training.tagging import Tagger


class Draws(NamedTuple):
    """What chance decides for each example of a batch."""

    t: jax.Array  # int32 [B]
    weight: jax.Array  # float32 [B], of the loss: 1 where timesteps are drawn evenly
    eps: jax.Array  # float32 [B, H, W, 3]
    keep_caption: jax.Array  # bool [B]
    given: dict[str, jax.Array]  # the condition's pictures, [B, ...]; see `given.given_pictures`


class Diffusion:
    """A text-guided diffusion model, trained by the hybrid loss (GLIDE §4).

    A batch holds `image` uint8 [B, H, W, 3], `tokens` int32 and `mask` bool [B, ctx], and `row`
    int32 [B], the examples' places in the global batch: an example's draws depend on its row alone,
    not on the number of devices.
    """

    def __init__(self, recipe: Recipe, dtype=jnp.float32):
        _check_used(recipe)
        self.given = partial(given_pictures, recipe.model.unet, recipe.erase, recipe.low_res)
        self.model, self.dtype, self.remat = recipe.model, dtype, recipe.remat
        self.caption_dropout = recipe.caption_dropout
        self.learns_timesteps = recipe.timestep_sampler == "loss_second_moment"
        self.draw_timesteps = _draw_evenly
        if recipe.timestep_sampler == "logit_normal":
            self.draw_timesteps = partial(timesteps.draw_logit_normal, *recipe.logit_normal)
        self.schedule = make_schedule(recipe.model.schedule, recipe.model.timesteps)
        weights = WEIGHTINGS.get(recipe.loss_weighting)
        self.mse_weights = weights(self.schedule) if weights else None

    def init(self, key):
        """Fresh float32 parameters."""
        return text2im.init(self.model, key)

    def init_stats(self):
        """What `update_stats` keeps, before training."""
        return timesteps.empty_history(self.model.timesteps) if self.learns_timesteps else ()

    def update_stats(self, timestep_stats, examples):
        """The statistics after a step, from what the loss saw of the whole batch's examples."""
        if not self.learns_timesteps:
            return timestep_stats
        return timesteps.update(timestep_stats, examples["t"], examples["loss"])

    def loss(self, params, batch, key, timestep_stats=()):
        """The mean loss of a batch, weighted as its timesteps were drawn, and what was Seen."""
        draws = self.draw(batch, key, timestep_stats)
        mask = batch["mask"] & draws.keep_caption[:, None]
        # Rows are folded into the key from 0 on; dropout is drawn apart, once for a device.
        dropout_key = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), batch["row"][0])
        dropout_key = dropout_key if self.model.unet.dropout else None
        losses = self._losses(params, batch | {"mask": mask}, draws, dropout_key)
        metrics = {name: Mean.of(draws.weight * values) for name, values in losses.items()}
        examples = {"t": draws.t, "loss": losses["loss"]}
        metrics |= _by_quarter(examples, self.model.timesteps)
        return jnp.mean(draws.weight * losses["loss"]), Seen(metrics, examples)

    def evaluate(self, params, batch, key):
        """How well a model does on given examples and noise.

        Returns:
            `eval_loss`, its mean loss, and `caption_gap`, the mean loss under shuffled captions
            (each picture gets its neighbour's) minus that under true ones: zero for a model that
            ignores its captions.
        """
        draws = self.draw(batch, key, self.init_stats())
        shuffled = batch | {name: jnp.roll(batch[name], 1, axis=0) for name in ("tokens", "mask")}
        # One after the other: half the memory and half the compiling of both side by side.
        pair = jax.tree.map(lambda *both: jnp.stack(both), batch, shuffled)
        true, wrong = jax.lax.map(lambda b: jnp.mean(self._losses(params, b, draws)["loss"]), pair)
        return {"eval_loss": true, "caption_gap": wrong - true}

    def draw(self, batch, key, timestep_stats=()):
        """Timestep, noise, the fate of the caption and what else is given, for each row."""
        row_keys = _row_keys(batch, key)
        keys = jax.vmap(lambda row_key: jax.random.split(row_key, 3))(row_keys)
        if self.learns_timesteps:
            t, weight = timesteps.draw(keys[:, 0], timestep_stats)
        else:
            t = self.draw_timesteps(keys[:, 0], self.model.timesteps)
            weight = jnp.ones(t.shape)
        eps = _draw_noise(keys[:, 1], batch["image"])
        keep_caption = jax.vmap(jax.random.uniform)(keys[:, 2]) >= self.caption_dropout
        return Draws(t, weight, eps, keep_caption, self.given(batch["image"], row_keys))

    def _losses(self, params, batch, draws, dropout_key=None):
        x_0 = scaled(batch["image"])
        traced = {"dtype": self.dtype, "remat": self.remat}
        encode = partial(text2im.encode_text, self.model, params, **traced)
        denoise = partial(
            text2im.denoise,
            self.model,
            params,
            cond=encode(batch["tokens"], batch["mask"]) | draws.given,
            dropout_key=dropout_key,
            **traced,
        )
        return hybrid_loss(denoise, self.schedule, x_0, draws.t, draws.eps, self.mse_weights)


def _check_used(recipe):
    """Raises a ValueError where a recipe says how to make a picture that no one takes."""
    unet = recipe.model.unet
    unused = {} if unet.inpaint else {"erase": Erase()}
    unused |= {} if unet.low_res_size else {"low_res": LowRes()}
    for name, default in unused.items():
        if (value := getattr(recipe, name)) != default:
            raise ValueError(
                f"Recipe.{name} is {value}, but the model is given no such picture: leave it out"
            )


class Clip:
    """A CLIP, which learns whose caption is whose in a batch (arXiv 2103.00020; GLIDE §2.4).

    Its pictures are noised, each at a timestep of its own; an ordinary one's are clean. Batches and
    draws are as for `Diffusion`, but no caption is ever emptied.

    Args:
        recipe: the training.
        dtype: of the matrix products.
        axis_name: the mapped axis that a batch is spread over, where the step is one device's
            program: captions are told from those of all devices.
    """

    def __init__(self, recipe: Recipe, dtype=jnp.float32, axis_name=None):
        self.model, self.axis_name = recipe.model, axis_name
        self.traced = {"dtype": dtype, "remat": recipe.remat}

    def init(self, key):
        """Fresh float32 parameters."""
        return clip.init(self.model, key)

    def init_stats(self):
        """Nothing: timesteps are drawn evenly."""
        return ()

    def update_stats(self, timestep_stats, examples):
        """Nothing still."""
        return timestep_stats

    def loss(self, params, batch, key, timestep_stats=()):
        """The mean loss of a batch, or of a device's share of it, and what was Seen."""
        t, eps = self.draw(batch, key)
        x_t = retrieval.noised(self.model, scaled(batch["image"]), t, eps)
        image = clip.image_embedding(self.model, params, x_t, t, **self.traced)
        losses = contrastive_losses(params, image, self._text(params, batch), self.axis_name)
        scale = jnp.exp(params["logit_scale"])
        metrics = {"loss": Mean.of(losses), "logit_scale": Mean.of(scale[None])}
        if self.model.timesteps:
            metrics |= _by_quarter({"t": t, "loss": losses}, self.model.timesteps)
        return jnp.mean(losses), Seen(metrics, {})

    def evaluate(self, params, batch, key):
        """How well given pictures and captions find each other, at each level of noise.

        Returns:
            `eval_loss`, the mean of the losses at the levels, and the shares that are found among
            the batch: i2t_r1_t0 and so on, by the names of `retrieval.found` and the level.
        """
        text = self._text(params, batch)
        by_noise = retrieval.embeddings_by_noise(
            self.model, params, scaled(batch["image"]), key, dtype=self.traced["dtype"]
        )
        same = retrieval.same_captions(batch["tokens"], batch["mask"])
        losses = jax.vmap(lambda image: contrastive_losses(params, image, text))(by_noise)
        found = retrieval.found(by_noise, text, same)
        return {"eval_loss": jnp.mean(losses)} | {
            f"{name}_t{level}": jnp.mean(one)
            for name, each in found.items()
            for level, one in enumerate(each)
        }

    def draw(self, batch, key):
        """Timestep, int32 [B], and noise, float32 [B, H, W, 3], for each row."""
        keys = jax.vmap(jax.random.split)(_row_keys(batch, key))
        t = _draw_evenly(keys[:, 0], max(self.model.timesteps, 1))
        return t, _draw_noise(keys[:, 1], batch["image"])

    def _text(self, params, batch):
        tokens, mask = batch["tokens"], batch["mask"]
        return clip.text_embedding(self.model, params, tokens, mask, **self.traced)


def task_of(recipe: Recipe, dtype=jnp.float32, axis_name=None):
    """The task that trains a recipe's model; see `Clip` for the axis."""
    if isinstance(recipe.model, config.Clip):
        return Clip(recipe, dtype, axis_name)
    if isinstance(recipe.model, config.Classifier):
        return Classifier(recipe, dtype)
    if isinstance(recipe.model, config.Tagger):
        return Tagger(recipe, dtype)
    return Diffusion(recipe, dtype)


def _row_keys(batch, key):
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(batch["row"])


def _draw_evenly(keys, timesteps):
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, timesteps))(keys)


def _draw_noise(keys, image):
    return jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)


def _by_quarter(examples, timesteps):
    """The loss by how much noise there was: loss_q0 of the quarter with the least, to loss_q3."""
    quarter = 4 * examples["t"] // timesteps
    return {f"loss_q{q}": Mean.of(examples["loss"], quarter == q) for q in range(4)}
