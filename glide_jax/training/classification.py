"""The training of a classifier: which objects a scene of Shapes has, from left to right."""

import jax.numpy as jnp
import optax

from glide_jax.config import Recipe
from glide_jax.images import scaled
from glide_jax.models import classifier
from glide_jax.training.step import Mean, Seen


class Classifier:
    """A classifier of scenes of several objects, trained by cross-entropy.

    Its classes are those of up to three objects from left to right: the pairs of colour and shape,
    then none. A scene of one object is its kind, none, none. So the features know each object and
    how many there are, and the first object's logits are a softmax over kinds, of which a good and
    varied picture has exactly one: the inception score is of these.

    A batch holds `image` uint8 [B, H, W, 3] and `label` int32 [B, objects].
    """

    def __init__(self, recipe: Recipe, dtype=jnp.float32):
        self.model, self.dtype = recipe.model, dtype

    def init(self, key):
        """Fresh float32 parameters."""
        return classifier.init(self.model, key)

    def init_stats(self):
        """Nothing: there are no timesteps."""
        return ()

    def update_stats(self, timestep_stats, examples):
        """Nothing still."""
        return timestep_stats

    def loss(self, params, batch, key, timestep_stats=()):
        """The mean loss of a batch, in nats an object, and what was Seen; nothing is drawn."""
        losses, right = self._judge(params, batch)
        metrics = {"loss": Mean.of(losses), "accuracy": Mean.of(jnp.mean(right, axis=-1))}
        return jnp.mean(losses), Seen(metrics, {})

    def evaluate(self, params, batch, key):
        """How well given scenes are read.

        Returns:
            `eval_loss`; `accuracy`, the share of objects that are right, those that are none
            among them; and `scene_accuracy`, that of scenes with nothing wrong.
        """
        losses, right = self._judge(params, batch)
        return {
            "eval_loss": jnp.mean(losses),
            "accuracy": jnp.mean(right),
            "scene_accuracy": jnp.mean(jnp.all(right, axis=-1)),
        }

    def _judge(self, params, batch):
        """The loss of each scene [B], and which of its objects are right, bool [B, objects]."""
        x, label = scaled(batch["image"]), batch["label"]
        _, logits = classifier.apply(self.model, params, x, dtype=self.dtype)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return jnp.mean(losses, axis=-1), jnp.argmax(logits, axis=-1) == label
