"""A small classifier of the scenes of Shapes, whose features stand in for Inception's."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from glide_jax import config
from glide_jax.models.layers import EPSILON, gelu


class Network(nn.Module):
    """Convolutions, each after the first halving the side; then dense layers over all places.

    No mean is taken over the places: which object is the leftmost is to be seen.
    """

    classifier: config.Classifier
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        """x [B, H, W, 3] in [-1, 1] to float32 features [B, F] and logits [B, objects, classes]."""
        c = self.classifier
        for number, width in enumerate(c.channels):
            strides = (1, 1) if number == 0 else (2, 2)
            x = nn.Conv(width, (3, 3), strides, dtype=self.dtype, name=f"conv_{number}")(x)
            norm = nn.LayerNorm(epsilon=EPSILON, dtype=jnp.float32, name=f"norm_{number}")
            x = gelu(norm(x)).astype(self.dtype)
        x = nn.Dense(c.features, dtype=self.dtype, name="features")(x.reshape(len(x), -1))
        features = gelu(x.astype(jnp.float32))
        logits = nn.Dense(c.objects * c.classes, name="classes")(features)
        return features, logits.reshape(-1, c.objects, c.classes)


def init(classifier: config.Classifier, key):
    """Fresh float32 parameters."""
    side = classifier.image_size
    return Network(classifier).init(key, jnp.zeros((1, side, side, 3)))["params"]


def apply(classifier: config.Classifier, params, x, *, dtype=jnp.float32):
    """What pictures show.

    Args:
        x: float32 [B, H, W, 3] in [-1, 1].
        dtype: of the matrix products.

    Returns:
        float32: features [B, F], and for each of the objects from left to right the logits of its
        kind, [B, objects, classes], the last class being no object at all.

    Raises:
        ValueError: the pictures are of another size than this classifier takes.
    """
    side = classifier.image_size
    if x.shape[1:] != (side, side, 3):
        raise ValueError(f"x is {x.shape}; this classifier takes pictures [B, {side}, {side}, 3]")
    return Network(classifier, dtype).apply({"params": params}, x)
