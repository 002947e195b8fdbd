"""Attention: against its formula in float64, and when and how it is left to the flash kernel.

What the kernel itself gives, on a GPU, is checked by python -m tests.on_gpu.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.models import layers
from glide_jax.training import dry_run

BATCH, HEADS, CHANNELS = 2, 3, 8


def queries_keys_values(length, keys, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = [(BATCH, own, HEADS, CHANNELS) for own in (length, keys, keys)]
    return [jnp.asarray(2 * rng.standard_normal(shape), dtype) for shape in shapes]


def by_formula(q, k, v, causal):
    """softmax(q k^T / sqrt(D)) v in float64, a query at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    found = np.zeros((*q.shape[:2], HEADS, CHANNELS))
    for b, i, h in np.ndindex(*found.shape[:3]):
        seen = slice(0, i + 1 if causal else None)
        weights = np.exp(k[b, seen, h] @ q[b, i, h] / np.sqrt(CHANNELS))
        found[b, i, h] = weights @ v[b, seen, h] / weights.sum()
    return found.reshape(*q.shape[:2], -1)


@pytest.fixture
def flash(monkeypatch):
    """As on a GPU that has the kernel: what it is asked for, computed by XLA in its place."""
    asked, attention = [], jax.nn.dot_product_attention

    def recorded(*given, implementation, **how):
        asked.append(implementation)
        return attention(*given, implementation="xla", **how)

    h100 = SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3", compute_capability="9.0")
    cpus = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda backend=None: cpus if backend else [h100])
    monkeypatch.setattr(jax.nn, "dot_product_attention", recorded)
    return asked


@pytest.mark.parametrize(("length", "keys", "causal"), [(4, 7, False), (1, 3, False), (5, 5, True)])
def test_it_is_the_formula(length, keys, causal):
    given = queries_keys_values(length, keys)
    expected = by_formula(*given, causal)
    np.testing.assert_allclose(layers.attend(*given, causal), expected, atol=3e-6)


@pytest.mark.parametrize(("length", "keys", "causal"), [(4, 7, False), (5, 5, True)])
def test_the_kernel_is_asked_for_the_same(flash, length, keys, causal):
    given = queries_keys_values(length, keys, jnp.bfloat16)
    found = layers.attend(*given, causal)
    assert flash == ["cudnn"] and found.dtype == jnp.bfloat16
    # bfloat16 has 8 binary digits; values are up to 6.
    np.testing.assert_allclose(np.float32(found), by_formula(*given, causal), atol=0.03)


def test_float32_is_never_left_to_it(flash):
    given = queries_keys_values(4, 7)
    np.testing.assert_allclose(layers.attend(*given), by_formula(*given, False), atol=3e-6)
    assert not flash


@pytest.mark.parametrize(
    ("kind", "capability", "channels", "has"),
    [
        ("NVIDIA H100 80GB HBM3", "9.0", 64, True),
        ("NVIDIA A100-SXM4-40GB", "8.0", 128, True),
        ("NVIDIA GeForce RTX 5090", "12.0", 32, True),
        ("NVIDIA H100 80GB HBM3", "9.0", 136, False),
        ("NVIDIA H100 80GB HBM3", "9.0", 20, False),
        ("NVIDIA TITAN RTX", "7.5", 64, False),
        ("Tesla T4", "7.5", 64, False),
        ("AMD Instinct MI300X", "gfx942", 64, False),
        ("TPU v4", None, 64, False),
        ("cpu", None, 64, False),
    ],
)
def test_which_devices_have_it(monkeypatch, kind, capability, channels, has):
    device = SimpleNamespace(device_kind=kind, compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert layers.has_flash(jax.ShapeDtypeStruct((1, 4, 2, channels), jnp.float16)) == has


def test_operations_are_counted_as_without_it(flash):
    shapes = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in queries_keys_values(4, 7)]
    flops = dry_run.direct_flops(layers.attend, *shapes)
    # Two products, each of a multiplication and an addition for every query, key and channel.
    products = 2 * 2 * BATCH * HEADS * 4 * 7 * CHANNELS
    assert products <= flops < 1.5 * products and not flash
