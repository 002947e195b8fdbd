"""Joined parameters: apart and together again, and a step that joins them is the same step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glide_jax.config import Optim, Recipe
from glide_jax.training.optimizer import DECAYED, PLAIN, joined, make_optimizer
from glide_jax.training.packing import SMALL, pack, unpack
from glide_jax.training.step import Mean, init_state, make_step

rng = np.random.default_rng(0)
PARAMS = {
    "first": {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)},
    "large": {"kernel": rng.normal(size=(SMALL + 1, 1))},
    "second": {"kernel": rng.normal(size=(4, 2)), "bias": rng.normal(size=2)},
    "scale": np.float64(2),
}
PARAMS = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)


class Products:
    """A loss whose gradient differs from leaf to leaf."""

    def loss(self, params, batch, key, stats):
        """The sum of each leaf's square times the batch's number."""
        total = sum(jnp.sum(leaf**2) * (i + 1) for i, leaf in enumerate(jax.tree.leaves(params)))
        loss = total * jnp.mean(batch) * 1e-3
        return loss, ({"loss": Mean.of(jnp.full(len(batch), loss))}, ())

    def update_stats(self, stats, seen):
        """Nothing is learnt of timesteps."""
        return stats


def test_labels_tell_apart_what_decays_and_leave_scalars_and_large_ones():
    labels = joined(PARAMS, Optim(no_weight_decay=("second",)))
    assert labels == {
        "first": {"kernel": DECAYED, "bias": PLAIN},
        "large": {"kernel": ""},
        "second": {"kernel": PLAIN, "bias": PLAIN},
        "scale": "",
    }
    kernels = joined(PARAMS, Optim(optimizer="muon"))
    assert kernels["first"] == {"kernel": "", "bias": PLAIN}


def test_what_is_packed_is_unpacked():
    labels = joined(PARAMS, Optim())
    packed = pack(PARAMS, labels)
    assert {name: leaf.shape for name, leaf in packed.items()} == {
        DECAYED: (20,),
        PLAIN: (6,),
        "large/kernel": (SMALL + 1, 1),
        "scale": (),
    }
    back = unpack(packed, labels, PARAMS)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, back, PARAMS)))
    assert pack(PARAMS, None) is PARAMS and unpack(PARAMS, None, PARAMS) is PARAMS


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_that_joins_is_the_same_step(optimizer):
    optim = Optim(
        optimizer=optimizer,
        learning_rate=0.1,
        warmup_steps=0,
        weight_decay=0.3,
        no_weight_decay=("second/kernel",),
        clip_norm=0.5,
    )
    trained = jax.tree.map(lambda _: True, PARAMS)
    trained["first"]["bias"] = False
    made = make_optimizer(Recipe("x", optim=optim, steps=9))
    ends = []
    for labels in (None, joined(PARAMS, optim)):
        state = init_state(PARAMS, made, (0.9,), trained, labels=labels)
        step = jax.jit(make_step(Products(), made, trained=trained, labels=labels))
        for _ in range(3):
            state, metrics = step(state, jnp.ones(2), jax.random.key(0))
        ends.append((state.params, state.ema_params, metrics))
    apart, together = map(jax.tree.leaves, ends)
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    moved = optax.tree.norm(optax.tree.sub(ends[1][0], PARAMS))
    assert moved > 0.1
    np.testing.assert_array_equal(ends[1][0]["first"]["bias"], PARAMS["first"]["bias"])
