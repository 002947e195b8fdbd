"""GLIDE's text encoder, and a layer that says what is claimed of each token's object."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from glide_jax import config
from glide_jax.models.text_encoder import TextEncoder


class Network(nn.Module):
    """The encoder, and the logits of all tags by one matrix."""

    tagger: config.Tagger
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens int [B, ctx] and mask bool [B, ctx] to float32 [B, ctx, sum(classes)]."""
        encoder = TextEncoder(self.tagger.text, None, self.dtype, name="text_encoder")
        _, features = encoder(tokens, mask)
        return nn.Dense(sum(self.tagger.classes), name="tags")(features.astype(jnp.float32))


def init(tagger: config.Tagger, key):
    """Fresh float32 parameters; those at "text_encoder" are what a diffusion model has there."""
    shape = (1, tagger.text.context)
    network = Network(tagger)
    return network.init(key, jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))["params"]


def apply(tagger: config.Tagger, params, tokens, mask, *, dtype=jnp.float32):
    """The logits of each tag of each token: a tuple of float32 [B, ctx, classes].

    Args:
        tokens: int32 [B, ctx].
        mask: bool [B, ctx], True where there is caption.
        dtype: of the encoder's matrix products.
    """
    logits = Network(tagger, dtype).apply({"params": params}, tokens, mask)
    ends = [sum(tagger.classes[:number]) for number in range(1, len(tagger.classes))]
    return tuple(jnp.split(logits, ends, axis=-1))
