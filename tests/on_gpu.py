"""Flash attention on a GPU, against the same by products: python -m tests.on_gpu

By hand, on a machine that has one; it ends with an error where a value or a gradient is off, or
where the gradient holds the weights after all. The shapes are those of the published networks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax.models import layers

ROWS, TEXT, CHANNELS = 4, 128, 64
LIMIT = 0.01  # of the largest value: a few roundings of bfloat16
# Queries and heads of each attention layer: base at 32, 16 and 8 pixels, upsampler at 32, 16, 8.
SHAPES = ((1024, 6), (256, 9), (64, 12), (1024, 6), (256, 12), (64, 12))


def draw(key, queries, heads, dtype):
    """q, k, v and the gradient by the result."""
    keys = jax.random.split(key, 4)
    lengths = queries, TEXT + queries, TEXT + queries
    made = [
        jax.random.normal(key, (ROWS, length, heads, CHANNELS), dtype)
        for key, length in zip(keys, lengths, strict=False)
    ]
    return made, jax.random.normal(keys[3], (ROWS, queries, heads * CHANNELS), dtype)


def both(attend, given, gradient):
    """What it gives, and its gradients by q, k and v."""
    value, pull = jax.vjp(attend, *given)
    return value, *pull(gradient)


def main():
    """Compares each shape."""
    assert jax.default_backend() == "gpu", "there is no GPU here"
    for queries, heads in sorted(set(SHAPES)):
        given, gradient = draw(jax.random.key(queries), queries, heads, jnp.bfloat16)
        assert layers.has_flash(given[0]), "this GPU has no flash attention"
        exact = [x.astype(jnp.float32) for x in given]
        with jax.default_matmul_precision("highest"):
            expected = jax.jit(lambda *a: both(layers.attend, *a))(exact, jnp.float32(gradient))
        compiled = jax.jit(lambda *a: both(layers.attend, *a)).lower(given, gradient).compile()
        found = compiled(given, gradient)
        pairs = list(zip(found, expected, strict=True))
        errors = [float(jnp.abs(jnp.float32(a) - b).max() / jnp.abs(b).max()) for a, b in pairs]
        held = compiled.memory_analysis().temp_size_in_bytes
        weights = 4 * ROWS * heads * queries * (TEXT + queries)
        print(
            f"{queries} queries, {heads} heads: errors {np.round(errors, 4)}, {held:,} bytes held"
        )
        assert max(errors) < LIMIT
        assert queries < 1024 or held < weights, f"the weights would be {weights:,} bytes"


if __name__ == "__main__":
    main()
