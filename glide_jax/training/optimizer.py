"""The optimizer that a recipe asks for, and which parameters it trains."""

import math

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from glide_jax.config import Clip, Optim, Recipe
from glide_jax.models.clip import MOST_LOGIT_SCALE
from glide_jax.training.packing import SMALL
from glide_jax.training.paths import matches, path_names, select

EVERY_ONE = 2**31 - 1

# The labels of small parameters that are joined, of those that decay and those that do not.
DECAYED, PLAIN = "joined/decayed", "joined/plain"


def make_learning_rate(recipe: Recipe):
    """Step to learning rate: a linear warm-up, then constant, or a decay to its final fraction.

    A run that is shorter than its warm-up warms up to its last step.
    """
    optim = recipe.optim
    peak, end = optim.learning_rate, optim.learning_rate * optim.final_fraction
    warmup_steps = min(optim.warmup_steps, recipe.steps - 1)
    rest = recipe.steps - warmup_steps
    decays = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, end, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest, optim.final_fraction),
    }
    warmup = optax.linear_schedule(peak / (warmup_steps + 1), peak, warmup_steps)
    return optax.join_schedules([warmup, decays[optim.decay]], [warmup_steps])


def make_optimizer(recipe: Recipe):
    """AdamW or Muon after clipping by the global norm.

    Steps whose gradient is not finite change nothing; its state counts them (`nonfinite_steps`).
    """
    optim = recipe.optim
    make = {"adamw": _adamw, "muon": _muon}[optim.optimizer]
    parts = [
        optax.clip_by_global_norm(optim.clip_norm),
        make(optim, make_learning_rate(recipe), lambda params: _decays(params, optim)),
    ]
    if isinstance(recipe.model, Clip):
        parts.append(_keep_below("logit_scale", math.log(MOST_LOGIT_SCALE)))
    return optax.apply_if_finite(optax.chain(*parts), max_consecutive_errors=EVERY_ONE)


def _keep_below(path, most):
    """Cuts the steps of the parameter at a path so that it ends at `most` or below.

    Were it capped where it is used instead, its gradient beyond would be zero, for ever.
    """

    def cut(name, update, param):
        return jnp.minimum(update, most - param) if name == path else update

    return optax.stateless(
        lambda updates, params: jax.tree.map(cut, path_names(updates), updates, params)
    )


def _adamw(optim, learning_rate, decays):
    return optax.adamw(
        learning_rate,
        b1=optim.beta1,
        b2=optim.beta2,
        weight_decay=optim.weight_decay,
        mask=decays,
    )


def _muon(optim, learning_rate, decays):
    """Kernels move by the orthogonal matrix nearest to their momentum, all else by AdamW.

    A convolution's kernel is the matrix of all its inputs to its outputs. An update's root mean
    square is a fifth of the learning rate, about AdamW's own (arXiv 2502.16982, equation 4), so
    that both take the same learning rate.
    """
    muon = optax.contrib.muon(
        learning_rate,
        weight_decay=optim.weight_decay,
        weight_decay_mask=decays,
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=0.2,
    )
    # Muon's own AdamW would decay gains and biases as well.
    parts = {True: muon, False: _adamw(optim, learning_rate, decays)}
    return optax.partition(parts, lambda params: jax.tree.map(_is_kernel, path_names(params)))


def _is_kernel(name):
    return name.endswith("/kernel")


def _as_matrices(params):
    def of(leaf):
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(of, params)


def nonfinite_steps(state):
    """How many steps of a TrainState changed nothing, for their gradient was not finite."""
    return int(state.opt_state.total_notfinite)


def _decays(params, optim):
    """Which parameters decay: matrices and kernels, but those that the recipe excepts."""

    def decays(name, leaf):
        return name == DECAYED or (leaf.ndim > 1 and not matches(name, optim.no_weight_decay))

    return jax.tree.map(decays, path_names(params), params)


def joined(params, optim: Optim):
    """The labels by which a step joins small parameters, see `packing`: of all that AdamW moves.

    Scalars stay apart, for `make_optimizer` knows one by its name, and so do Muon's matrices.
    """

    def label(name, leaf, decays):
        moved_by_muon = optim.optimizer == "muon" and _is_kernel(name)
        if leaf.ndim == 0 or leaf.size > SMALL or moved_by_muon:
            return ""
        return DECAYED if decays else PLAIN

    return jax.tree.map(label, path_names(params), params, _decays(params, optim))


def trained_parameters(params, optim: Optim):
    """The tree of booleans that says which parameters (or shapes) are trained.

    Raises a ValueError for a pattern that nothing matches, or where nothing is left to train.
    """
    select(params, optim.no_weight_decay, "Optim.no_weight_decay")
    frozen = select(params, optim.freeze, "Optim.freeze")
    if all(jax.tree.leaves(frozen)):
        raise ValueError(f"Optim.freeze is {optim.freeze!r}, which leaves nothing to train")
    return jax.tree.map(lambda is_frozen: not is_frozen, frozen)
