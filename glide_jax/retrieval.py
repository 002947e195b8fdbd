"""Retrieval by a CLIP: whether pictures, at any noise, find their captions, and the reverse."""

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax import config
from glide_jax.diffusion.gaussian import coefficients_at, q_sample
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.models import clip

AMONG = 256  # pairs that one is looked for among
LEVELS = 10  # of noise, each an equal part of the timesteps
RANKS = (1, 5)


def noised(model: config.Clip, x_0, t, eps):
    """Pictures [B, H, W, 3] with the noise eps of timesteps t [B]; clean for an ordinary CLIP."""
    if model.timesteps == 0:
        return x_0
    schedule = make_schedule(model.schedule, model.timesteps)
    return q_sample(x_0, eps, coefficients_at(schedule, t))


def levels(model: config.Clip, number):
    """The timesteps of `number` pictures at each level, int32 [LEVELS, number], spread evenly.

    An ordinary CLIP has one level, of zeros.
    """
    if model.timesteps == 0:
        return np.zeros((1, number), np.int32)
    t = np.arange(LEVELS * number) * model.timesteps // (LEVELS * number)
    return t.reshape(LEVELS, number).astype(np.int32)


def embeddings_by_noise(model: config.Clip, params, x_0, key, *, dtype=jnp.float32):
    """What pictures [N, H, W, 3] show at each of the `levels`, float32 [levels, N, embedding].

    A picture's noise is the same at all of them but for its strength.
    """
    eps = jax.random.normal(key, x_0.shape)

    def embed(t):
        return clip.image_embedding(model, params, noised(model, x_0, t, eps), t, dtype=dtype)

    # One after the other: the memory and the compiling of one.
    return jax.lax.map(embed, levels(model, len(x_0)))


def same_captions(tokens, mask):
    """Which of N captions are alike, bool [N, N]: such are right for one another's pictures."""
    rows = jnp.where(mask, tokens, -1)
    return jnp.all(rows[:, None] == rows[None], axis=-1)


def found(image, text, same):
    """Whether each picture's caption is found (i2t), and each caption's picture (t2i).

    Args:
        image: float32 [..., N, embedding]; each of the N is looked for among these.
        text: float32 [N, embedding], their captions'.
        same: bool [N, N], from `same_captions`.

    Returns:
        bool [..., N] by name: `i2t_r1` where the right one is the first among the N captions,
        `t2i_r5` where it is among the first five pictures, and so on.
    """
    image, text = clip.unit(image), clip.unit(text)
    cosines = jnp.einsum("...ie,je->...ij", image, text, precision="highest")
    ways = {"i2t": ranks(cosines, same), "t2i": ranks(jnp.swapaxes(cosines, -1, -2), same)}
    return {f"{way}_r{most}": rank < most for way, rank in ways.items() for most in RANKS}


def ranks(similarities, right):
    """How many wrong candidates are before the best right one: [..., N, M] to int32 [..., N].

    Args:
        similarities: float32, of N to M candidates.
        right: bool [N, M]. A wrong one that is as similar is before it: a model for which all are
            alike finds nothing.
    """
    right = jnp.broadcast_to(right, similarities.shape)
    best = jnp.max(jnp.where(right, similarities, -jnp.inf), axis=-1, keepdims=True)
    # Not `>=`: what is not a number finds nothing either.
    return jnp.sum(~right & ~(similarities < best), axis=-1)


def found_by_noise(model: config.Clip, params, x_0, tokens, mask, key, *, dtype=jnp.float32):
    """What is `found` of N pictures and captions at each of the `levels`, bool [levels, N] by name.

    Args:
        model: the CLIP.
        params: its parameters.
        x_0: float32 [N, H, W, 3] in [-1, 1].
        tokens, mask: [N, context].
        key: of the noise.
        dtype: of the matrix products.
    """
    text = clip.text_embedding(model, params, tokens, mask, dtype=dtype)
    image = embeddings_by_noise(model, params, x_0, key, dtype=dtype)
    return found(image, text, same_captions(tokens, mask))
