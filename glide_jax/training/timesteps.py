"""Which timesteps are trained: as functions of a loss's history, kept in the train state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

HISTORY = 10  # losses kept of each timestep
UNIFORM_SHARE = 0.001  # of the draws, so that no timestep is forgotten


class LossHistory(NamedTuple):
    """The last losses of each timestep, in no order."""

    losses: jax.Array  # float32 [T, HISTORY]
    seen: jax.Array  # int32 [T], losses ever put in


def empty_history(timesteps):
    """A LossHistory before training."""
    return LossHistory(jnp.zeros((timesteps, HISTORY)), jnp.zeros(timesteps, jnp.int32))


def probabilities(history: LossHistory):
    """The chance of each timestep, float32 [T]: as the root of its loss's second moment.

    Even until every timestep has HISTORY losses. Source: arXiv 2102.09672, equation 18.
    """
    timesteps = len(history.seen)
    moments = jnp.sqrt(jnp.mean(jnp.square(history.losses), axis=1))
    learned = (1 - UNIFORM_SHARE) * moments / jnp.sum(moments) + UNIFORM_SHARE / timesteps
    return jnp.where(jnp.all(history.seen >= HISTORY), learned, 1 / timesteps)


def draw(keys, history: LossHistory):
    """A timestep for each key, int32 [B], and its loss's weight 1 / (T p), float32 [B].

    The weighted loss has the mean that it has under even draws.
    """
    p = probabilities(history)
    cumulative = jnp.cumsum(p)
    chance = jax.vmap(jax.random.uniform)(keys) * cumulative[-1]
    t = jnp.searchsorted(cumulative, chance, side="right")
    # Rounding may take a chance to the very end.
    t = jnp.minimum(t, len(p) - 1).astype(jnp.int32)
    return t, 1 / (len(p) * p[t])


def draw_logit_normal(mean, deviation, keys, timesteps):
    """A timestep for each key, int32 [B]: log(t / (T - t)) is normal, before t is rounded down.

    Source: arXiv 2403.03206, §3.1.
    """
    logit = mean + deviation * jax.vmap(jax.random.normal)(keys)
    # Rounding may take a logit that is very large to the very end.
    return jnp.minimum(timesteps * jax.nn.sigmoid(logit), timesteps - 1).astype(jnp.int32)


def update(history: LossHistory, t, losses):
    """The history with losses [B] of timesteps t [B], in this order; those not finite are left out.

    A timestep may occur more than once.
    """

    def put(history, drawn):
        t, loss = drawn
        slot = history.seen[t] % HISTORY
        new = LossHistory(history.losses.at[t, slot].set(loss), history.seen.at[t].add(1))
        return jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(loss), a, b), new, history), None

    return jax.lax.scan(put, history, (t, losses))[0]
