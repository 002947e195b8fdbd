"""The noised CLIP: how well a picture, at any noise, fits a caption (GLIDE §2.4).

A vision transformer and a causal text transformer, each to one vector; what counts is the angle
between the two (Radford et al. 2021, arXiv 2103.00020). Plain functions of parameters and arrays.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from glide_jax import config
from glide_jax.models.layers import LayerNorm, attend, mlp, small_normal

# Of the channels of CLIP's own training pictures, in steps of 8 bits.
MEAN = np.float32([122.77093945, 116.74601272, 104.09373519]).reshape(1, 1, 1, 3)
STD = np.float32([68.50053285, 66.63215831, 70.32316309]).reshape(1, 1, 1, 3)
# arXiv 2103.00020, section 2.5: exp(logit_scale), before training and at most.
FIRST_LOGIT_SCALE, MOST_LOGIT_SCALE = 1 / 0.07, 100.0


class Block(nn.Module):
    """A pre-norm transformer block whose keys have no bias: softmax would not see one."""

    heads: int
    causal: bool
    dtype: Any

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        dense = partial(nn.Dense, width, dtype=self.dtype)
        h = LayerNorm(name="attn_norm")(x)
        layers = dense(name="query"), dense(name="key", use_bias=False), dense(name="value")
        q, k, v = (layer(h).reshape(*h.shape[:2], self.heads, -1) for layer in layers)
        x = x + dense(name="attn_out")(attend(q, k, v, self.causal))
        return x + mlp(x, self.dtype)


class ImageTower(nn.Module):
    """Noised pictures and their timesteps to vectors."""

    clip: config.Clip
    dtype: Any = jnp.float32
    remat: str = "none"  # see `Recipe.remat`

    @nn.compact
    def __call__(self, x, t):
        """x [B, H, W, 3] in [-1, 1], t int [B] to float32 [B, embedding]."""
        c = self.clip.image
        tokens = (c.image_size // c.patch) ** 2 + 1
        # Patches, positions and timesteps begin with the same share in their sum.
        share = nn.initializers.normal(c.width**-0.5)
        # An ordinary CLIP has one row, that of clean pictures.
        times = self.param("timestep_embedding", share, (max(self.clip.timesteps, 1), c.width))
        positions = self.param("positional_embedding", share, (tokens, c.width))
        patches = nn.Conv(
            c.width,
            kernel_size=(c.patch, c.patch),
            strides=(c.patch, c.patch),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(1 / c.width, "fan_in", "normal"),
            name="patches",
        )
        h = patches(((x + 1) * 127.5 - MEAN) / STD).reshape(len(x), -1, c.width)
        h = jnp.concatenate([times[t][:, None], h], axis=1) + positions[None]
        h = LayerNorm(name="in_norm")(h).astype(self.dtype)
        block = nn.remat(Block) if self.remat == "blocks" else Block
        for layer in range(c.layers):
            h = block(c.heads, False, self.dtype, name=f"blocks_{layer}")(h)
        return project(h[:, 0], self.clip.embedding, self.dtype)


class TextTower(nn.Module):
    """Caption tokens to vectors."""

    clip: config.Clip
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens int [B, context], mask bool [B, context] to float32 [B, embedding]."""
        c = self.clip.text
        table = self.param("token_embedding", small_normal, (c.vocab_size, c.width))
        positions = self.param("positional_embedding", small_normal, (c.context, c.width))
        h = (table[tokens] + positions[None]).astype(self.dtype)
        block = nn.remat(Block) if self.remat == "blocks" else Block
        for layer in range(c.layers):
            h = block(c.heads, True, self.dtype, name=f"blocks_{layer}")(h)
        last = jnp.maximum(mask.sum(axis=-1) - 1, 0)
        return project(h[jnp.arange(len(h)), last], self.clip.embedding, self.dtype)


def project(h, embedding, dtype):
    """A tower's end, [B, width] to float32 [B, embedding]; its layers belong to the tower."""
    h = LayerNorm(name="final_norm")(h)
    return nn.Dense(embedding, use_bias=False, dtype=dtype, name="project")(h).astype(jnp.float32)


def init(clip: config.Clip, key):
    """Fresh float32 parameters, {"image": ..., "text": ..., "logit_scale": []}, the last a log."""
    image_key, text_key = jax.random.split(key)
    side = clip.image.image_size
    x, tokens = jnp.zeros((1, side, side, 3)), jnp.zeros((1, clip.text.context), jnp.int32)
    return {
        "image": ImageTower(clip).init(image_key, x, jnp.zeros(1, jnp.int32))["params"],
        "text": TextTower(clip).init(text_key, tokens, tokens == 0)["params"],
        "logit_scale": jnp.log(jnp.float32(FIRST_LOGIT_SCALE)),
    }


def image_embedding(clip: config.Clip, params, x_t, t, *, dtype=jnp.float32, remat="none"):
    """What noised pictures show.

    Args:
        x_t: float32 [B, H, W, 3]; clean pictures are in [-1, 1].
        t: int32 [B], their original timesteps, 0 to clip.timesteps - 1; 0 for an ordinary CLIP.
        dtype: of the matrix products.
        remat: what a gradient computes anew; see `Recipe.remat`.

    Returns:
        float32 [B, embedding], of any length: only the direction counts.

    Raises:
        ValueError: the pictures are of another size than this CLIP takes.
    """
    side = clip.image.image_size
    if x_t.shape[1:] != (side, side, 3):
        raise ValueError(f"x_t is {x_t.shape}; this CLIP takes pictures [B, {side}, {side}, 3]")
    return ImageTower(clip, dtype, remat).apply({"params": params["image"]}, x_t, t)


def text_embedding(clip: config.Clip, params, tokens, mask, *, dtype=jnp.float32, remat="none"):
    """What captions say, read at the last token of each.

    Args:
        tokens: int32 [B, context]; those behind the caption do not matter.
        mask: bool [B, context], true where there is caption, its start and end tokens included.
            The empty caption of a tokenizer without such tokens is read at its first padding.
        dtype: of the matrix products.
        remat: as for `image_embedding`.

    Returns:
        float32 [B, embedding], of any length: only the direction counts.

    Raises:
        ValueError: the rows are not as long as this CLIP's context.
    """
    if tokens.shape[1:] != (clip.text.context,):
        raise ValueError(f"tokens is {tokens.shape}; this CLIP takes rows [B, {clip.text.context}]")
    return TextTower(clip, dtype, remat).apply({"params": params["text"]}, tokens, mask)


def similarity(params, image, text):
    """How well pictures fit captions: exp(logit_scale) * cosine.

    Of a batch's captions it is the logit of the one that belongs to a picture. So up to a constant
    it is log p(caption | x_t), whose gradient by x_t guides (see `diffusion.guidance`).

    Args:
        image, text: [..., embedding], as the towers give them, of shapes that broadcast: [B, 1, E]
            and [1, B, E] make every pair.

    Returns:
        float32 [...].

    Source: GLIDE, arXiv 2112.10741, section 2.4.
    """
    return jnp.exp(params["logit_scale"]) * jnp.sum(unit(image) * unit(text), axis=-1)


def unit(embedding):
    """Vectors [..., embedding] scaled to length 1."""
    return embedding / jnp.linalg.norm(embedding, axis=-1, keepdims=True)
