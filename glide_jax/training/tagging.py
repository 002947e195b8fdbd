"""The training of a tagger: what a caption of Shapes claims of each token's object.

A UNet that learns to draw from captions has to find out at once which words belong together and
where in the picture that matters; neither half is of use without the other, and a small one stays
for long with a caption as a bag of words. An encoder that knows the first half already spares it
the wait.
"""

import jax.numpy as jnp
import optax

from glide_jax.config import Recipe
from glide_jax.data.tags import UNSAID
from glide_jax.models import tagger
from glide_jax.training.step import Mean, Seen


class Tagger:
    """A tagger of captions, trained by cross-entropy.

    A batch holds `tokens` int32 and `mask` bool [B, ctx] and `tags` int32 [B, ctx, tags], UNSAID
    where a token names no object.
    """

    def __init__(self, recipe: Recipe, dtype=jnp.float32):
        self.model, self.dtype = recipe.model, dtype

    def init(self, key):
        """Fresh float32 parameters."""
        return tagger.init(self.model, key)

    def init_stats(self):
        """Nothing: there are no timesteps."""
        return ()

    def update_stats(self, timestep_stats, examples):
        """Nothing still."""
        return timestep_stats

    def loss(self, params, batch, key, timestep_stats=()):
        """The mean loss of a batch, in nats a token, and what was Seen; nothing is drawn."""
        losses, right = self._judge(params, batch)
        metrics = {"loss": Mean.of(losses), "accuracy": Mean.of(right)}
        return jnp.mean(losses), Seen(metrics, {})

    def evaluate(self, params, batch, key):
        """How well given captions are read.

        Returns:
            `eval_loss`; `accuracy`, the share of tags that are right; and `captions_right`, that
            of captions with nothing wrong.
        """
        losses, right = self._judge(params, batch)
        return {
            "eval_loss": jnp.mean(losses),
            "accuracy": jnp.mean(right),
            "captions_right": jnp.mean(right > 1 - 1e-5),
        }

    def _judge(self, params, batch):
        """Of each caption [B]: the loss, all tags' together, and the share of tags right."""
        tags = batch["tags"]
        logits = tagger.apply(self.model, params, batch["tokens"], batch["mask"], dtype=self.dtype)
        named = tags[..., 0] != UNSAID
        losses = right = 0
        for number, own in enumerate(logits):
            true = jnp.where(named, tags[..., number], 0)
            losses += optax.softmax_cross_entropy_with_integer_labels(own, true)
            right += (jnp.argmax(own, axis=-1) == true) / len(logits)
        return tuple(_mean(values, named) for values in (losses, right))


def _mean(values, where):
    """Of each row [B, ctx] where the mask holds; 0 of one that was cut before it named anything."""
    return jnp.sum(jnp.where(where, values, 0), axis=1) / jnp.maximum(jnp.sum(where, axis=1), 1)
