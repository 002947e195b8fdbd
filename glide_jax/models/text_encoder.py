"""GLIDE's text encoder: a transformer over caption tokens without a mask (GLIDE §4)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from glide_jax import config
from glide_jax.models.layers import LayerNorm, attend, mlp, small_normal, split_heads


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        h = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(LayerNorm(name="attn_norm")(x))
        h = attend(*split_heads(h, self.heads, parts=3))
        x = x + nn.Dense(width, dtype=self.dtype, name="attn_out")(h)
        return x + mlp(x, self.dtype)


class TextEncoder(nn.Module):
    """Caption tokens to one vector for the time embedding and one for each token."""

    config: config.TextEncoder
    embedding_dim: int | None  # width of the UNet's time embedding; None where there is no UNet
    dtype: Any = jnp.float32
    remat: str = "none"  # see `Recipe.remat`

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens int [B, ctx], mask bool [B, ctx] to ([B, embedding_dim], [B, ctx, width]).

        Without an embedding_dim the first is None.
        """
        c = self.config
        table = self.param("token_embedding", small_normal, (c.vocab_size, c.width))
        positions = self.param("positional_embedding", small_normal, (c.context, c.width))
        padding = self.param("padding_embedding", small_normal, (c.context, c.width))
        # Past the caption's end the padding embedding replaces token and position alike.
        x = jnp.where(mask[..., None], table[tokens] + positions[None], padding[None])
        x = x.astype(self.dtype)
        block = nn.remat(Block) if self.remat == "blocks" else Block
        for layer in range(c.layers):
            x = block(c.heads, self.dtype, name=f"blocks_{layer}")(x)
        x = LayerNorm(name="final_norm")(x)
        if self.embedding_dim is None:
            return None, x
        project = nn.Dense(self.embedding_dim, dtype=self.dtype, name="project")
        # The last POSITION, padding or not: that is how the published models were trained.
        return project(x[:, -1]), x
