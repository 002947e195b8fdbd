"""The loss of CLIP: a batch's pictures and captions find each other, on however many devices."""

import jax
import jax.numpy as jnp
import optax

from glide_jax.models.clip import unit


def contrastive_losses(params, image, text, axis_name=None):
    """What it costs to tell each picture's caption from the others', and the reverse, in the mean.

    Args:
        params: `logit_scale` is of these.
        image, text: float32 [B, embedding], of pairs: where the step is one device's program, of
            this device's.
        axis_name: the mapped axis whose devices' pairs are told apart together.

    Returns:
        float32 [B], cross-entropies in nats.

    Source: CLIP, arXiv 2103.00020, figure 3.
    """
    image, text = unit(image), unit(text)
    images, texts, first = image, text, 0
    if axis_name is not None:
        # The gradient of what is gathered goes back to the device that it came from.
        images, texts = jax.lax.all_gather((image, text), axis_name, tiled=True)
        first = len(image) * jax.lax.axis_index(axis_name)
    own = first + jnp.arange(len(image))

    def cross_entropy(queries, candidates):
        cosines = jnp.einsum("ie,je->ij", queries, candidates, precision="highest")
        logits = jnp.exp(params["logit_scale"]) * cosines
        return optax.softmax_cross_entropy_with_integer_labels(logits, own)

    return (cross_entropy(image, texts) + cross_entropy(text, images)) / 2
