"""The ADM UNet with text in every attention layer (GLIDE §4; Dhariwal and Nichol 2021)."""

from functools import partial
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from glide_jax import config
from glide_jax.models import winograd
from glide_jax.models.convolution import convolve
from glide_jax.models.layers import GroupNorm, attend, split_heads, timestep_embedding, zeros


def halve(x):
    """The mean of each 2x2 block: [B, H, W, C] to [B, H/2, W/2, C]."""
    return einops.reduce(x, "b (h i) (w j) c -> b h w c", "mean", i=2, j=2)


def double(x):
    """Each pixel repeated as a 2x2 block: [B, H, W, C] to [B, 2H, 2W, C]."""
    return einops.repeat(x, "b h w c -> b (h i) (w j) c", i=2, j=2)


def to_patches(x, patch):
    """Blocks of pixels as channels: [B, H, W, C] to [B, H/patch, W/patch, patch * patch * C]."""
    return einops.rearrange(x, "b (h i) (w j) c -> b h w (i j c)", i=patch, j=patch)


def from_patches(x, patch):
    """What `to_patches` was given."""
    return einops.rearrange(x, "b h w (i j c) -> b (h i) (w j) c", i=patch, j=patch)


def unchanged(x):
    """No resampling."""
    return x


class Conv(nn.Module):
    """A convolution, by Winograd's algorithm where its kernel has been prepared for that."""

    features: int
    size: int = 3
    dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        shape = self.size, self.size, x.shape[-1], self.features
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", zeros, (self.features,)).astype(self.dtype)
        is_preparing = self.is_mutable_collection("prepared") and not self.is_initializing()
        if is_preparing and self.size == 3 and winograd.is_faster(x.shape, self.features):
            self.put_variable("prepared", "kernel", winograd.transform_kernel(kernel))
        if self.has_variable("prepared", "kernel"):
            h = winograd.convolve(x, self.get_variable("prepared", "kernel"))
        else:
            h = convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        return h + bias[None, None, None]


class ResBlock(nn.Module):
    """Two convolutions beside a skip; the embedding of time and caption scales and shifts."""

    channels: int
    norm_groups: int
    dropout: float
    dtype: Any
    resample: Any = unchanged

    @nn.compact
    def __call__(self, x, emb, deterministic):
        norm = partial(GroupNorm, self.norm_groups)
        h = nn.silu(norm(name="in_norm")(x)).astype(self.dtype)
        h = Conv(self.channels, dtype=self.dtype, name="in_conv")(self.resample(h))
        scale_shift = nn.Dense(2 * self.channels, dtype=self.dtype, name="emb")(nn.silu(emb))
        scale, shift = jnp.split(scale_shift[:, None, None, :].astype(jnp.float32), 2, axis=-1)
        h = norm(name="out_norm")(h) * (1 + scale) + shift
        h = nn.silu(h).astype(self.dtype)
        h = nn.Dropout(self.dropout, deterministic=deterministic)(h)
        h = Conv(self.channels, dtype=self.dtype, kernel_init=zeros, name="out_conv")(h)
        x = self.resample(x)
        if x.shape[-1] != self.channels:
            x = Conv(self.channels, size=1, dtype=self.dtype, name="skip")(x)
        return x + h


class Attention(nn.Module):
    """Every pixel attends to the caption's tokens and to every pixel."""

    channels: int
    norm_groups: int
    head_channels: int
    dtype: Any

    def setup(self):
        self.heads = self.channels // self.head_channels
        self.norm = GroupNorm(self.norm_groups)
        self.qkv = nn.Dense(3 * self.channels, dtype=self.dtype)
        self.text_kv = nn.Dense(2 * self.channels, dtype=self.dtype)
        self.out = nn.Dense(self.channels, dtype=self.dtype, kernel_init=zeros)

    def encode(self, text):
        """[B, ctx, width] to the caption's keys and values, each [B, ctx, heads, head_channels]."""
        return split_heads(self.text_kv(text), self.heads, parts=2)

    def __call__(self, x, text_kv):
        batch, height, width, channels = x.shape
        h = self.norm(x).reshape(batch, height * width, channels)
        q, k, v = split_heads(self.qkv(h), self.heads, parts=3)
        text_k, text_v = text_kv
        k, v = jnp.concatenate([text_k, k], axis=1), jnp.concatenate([text_v, v], axis=1)
        return x + self.out(attend(q, k, v)).reshape(x.shape)


class UNet(nn.Module):
    """Predicts noise and the fraction of its variance's range, both [B, H, W, 3]."""

    config: config.UNet
    dtype: Any = jnp.float32
    remat: str = "none"  # see `Recipe.remat`

    def setup(self):
        c = self.config
        widths = [mult * c.model_channels for mult in c.channel_mult]
        shared = {"norm_groups": c.norm_groups, "dtype": self.dtype}
        res_block, attention = ResBlock, Attention
        if self.remat == "blocks":
            res_block = nn.remat(ResBlock, static_argnums=(3,))
        if self.remat != "none":
            attention = nn.remat(Attention)
        block = partial(res_block, dropout=c.dropout, **shared)
        attention = partial(attention, head_channels=c.head_channels, **shared)

        def attentions(level):
            attends = c.sides[level] in c.attention_resolutions
            return [attention(widths[level])] if attends else []

        levels = range(len(widths))
        inputs = [[Conv(widths[0], dtype=self.dtype)]]
        for level in levels:
            inputs += [[block(widths[level]), *attentions(level)] for _ in range(c.num_res_blocks)]
            if level != levels[-1]:
                inputs += [[block(widths[level], resample=halve)]]
        outputs = []
        for level in reversed(levels):
            outputs += [
                [block(widths[level]), *attentions(level)] for _ in range(c.num_res_blocks + 1)
            ]
            if level != 0:
                outputs[-1] += [block(widths[level], resample=double)]
        self.time_embed = [nn.Dense(4 * c.model_channels, dtype=self.dtype) for _ in range(2)]
        self.input_blocks = inputs
        self.middle_block = [block(widths[-1]), attention(widths[-1]), block(widths[-1])]
        self.output_blocks = outputs
        self.out_norm = GroupNorm(c.norm_groups)
        self.out_conv = Conv(6 * c.patch**2, dtype=self.dtype, kernel_init=zeros)

    def encode(self, text):
        """The caption's keys and values for each attention layer, in the order of their use."""
        blocks = [*self.input_blocks, self.middle_block, *self.output_blocks]
        return tuple(
            layer.encode(text)
            for block in blocks
            for layer in block
            if isinstance(layer, Attention)
        )

    def __call__(self, x, t, text_emb, text_kv, deterministic=True):
        """x [B, H, W, C] with its condition channels, t int [B] to float32 [B, H, W, 6].

        text_emb [B, 4 model_channels] and text_kv (what `encode` gave) hold the caption.
        """
        first, second = self.time_embed
        emb = timestep_embedding(t, self.config.model_channels)
        emb = second(nn.silu(first(emb))) + text_emb
        remaining_kv = iter(text_kv)

        def run(block, h):
            for layer in block:
                if isinstance(layer, ResBlock):
                    h = layer(h, emb, deterministic)
                elif isinstance(layer, Attention):
                    h = layer(h, next(remaining_kv))
                else:
                    h = layer(h)
            return h

        h, skips = to_patches(x, self.config.patch).astype(self.dtype), []
        for block in self.input_blocks:
            h = run(block, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for block in self.output_blocks:
            h = run(block, jnp.concatenate([h, skips.pop()], axis=-1))
        h = nn.silu(self.out_norm(h)).astype(self.dtype)
        return from_patches(self.out_conv(h), self.config.patch).astype(jnp.float32)


def input_channels(x, image_size, inpaint_image=None, inpaint_mask=None, low_res=None):
    """What the first convolution sees: [x, inpaint_image * mask, mask, enlarged low_res].

    Each part is there where the model has it. low_res is enlarged bilinearly with half-pixel
    centres.
    """
    parts = [x]
    if inpaint_image is not None:
        parts += [inpaint_image * inpaint_mask, inpaint_mask]
    if low_res is not None:
        shape = (len(x), image_size, image_size, low_res.shape[-1])
        parts += [jax.image.resize(low_res, shape, method="bilinear")]
    return jnp.concatenate(parts, axis=-1)
