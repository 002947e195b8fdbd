"""The layers that the networks share: norms, projections, attention, embeddings of time."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5  # PyTorch's default; Linen's is 1e-6

LayerNorm = partial(nn.LayerNorm, epsilon=EPSILON, dtype=jnp.float32)
GroupNorm = partial(nn.GroupNorm, epsilon=EPSILON, dtype=jnp.float32)

# A zero start makes a residual branch the identity at first (ADM; Zhang et al. 2019, Fixup).
zeros = nn.initializers.zeros
small_normal = nn.initializers.normal(0.02)


def gelu(x):
    """The exact GELU; Linen's default is the tanh approximation."""
    return nn.gelu(x, approximate=False)


def timestep_embedding(t, dim, max_period=10_000):
    """Sinusoids of the timestep (ADM): t [B] to [B, dim], cosines first."""
    half = dim // 2
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = t.astype(jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def attend(q, k, v, causal=False):
    """Softmax attention: q [B, L, H, D], k and v [B, M, H, D] to [B, L, H * D].

    In half precision on an NVIDIA GPU it is cuDNN's flash attention, which holds no [L, M] weights
    (Dao et al. 2022). Where causal, no position attends to one behind it.
    """
    if has_flash(q):
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
    else:
        mixed = _attend_by_products(q, k, v, causal)
    return mixed.reshape(*mixed.shape[:2], -1)


def has_flash(q):
    """Whether cuDNN has flash attention for queries [B, L, H, D] on this process's devices.

    Not within `jax.default_device("cpu")`.
    """
    default = jax.config.jax_default_device  # a device, a platform's name, or None
    if getattr(default, "platform", default) == "cpu":
        return False
    device = jax.local_devices()[0]
    if not device.device_kind.startswith("NVIDIA") or float(device.compute_capability) < 8:
        return False
    head_channels = q.shape[-1]
    return q.dtype.itemsize == 2 and head_channels % 8 == 0 and head_channels <= 128


def _attend_by_products(q, k, v, causal):
    """Attention as two products with a softmax in float32 between them.

    q and k are each scaled by D ** -1/4, which keeps half-precision products in range.
    """
    scale = q.shape[-1] ** -0.25
    logits = jnp.einsum("blhd,bmhd->bhlm", q * scale, k * scale).astype(jnp.float32)
    if causal:
        before = jnp.tril(jnp.ones(logits.shape[-2:], bool))
        logits = jnp.where(before[None, None], logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bhlm,bmhd->blhd", weights, v)


def split_heads(packed, heads, parts):
    """Packed projections, head-major [B, L, heads * parts * D], to `parts` of [B, L, heads, D]."""
    batch, length, width = packed.shape
    packed = packed.reshape(batch, length, heads, parts, width // (heads * parts))
    return tuple(packed[..., part, :] for part in range(parts))


def mlp(x, dtype):
    """The second half of a transformer block, norm and MLP 4 wide: [B, L, width] to the same.

    Its layers belong to the module that calls it.
    """
    width = x.shape[-1]
    h = nn.Dense(4 * width, dtype=dtype, name="mlp_in")(LayerNorm(name="mlp_norm")(x))
    return nn.Dense(width, dtype=dtype, name="mlp_out")(gelu(h))
