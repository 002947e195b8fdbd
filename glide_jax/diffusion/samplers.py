"""Sampling: one scan over a trajectory, with one network call in its body."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from glide_jax.diffusion.gaussian import predict_x_0, split_output
from glide_jax.diffusion.steppers import Prediction, Stepper
from glide_jax.diffusion.trajectory import Trajectory


class Carry(NamedTuple):
    """Where a run stands."""

    x: jax.Array  # [B, H, W, C]
    state: Any  # the stepper's


class Hooks(NamedTuple):
    """What is done about a denoiser's predictions; see `sample`."""

    x0_fn: Callable | None = None
    score_fn: Callable | None = None
    after_step: Callable | None = None
    clip: bool = True


NO_HOOKS = Hooks()


def sample(
    denoise: Callable | tuple[Callable, ...],
    x_T: jax.Array,
    keys: jax.Array | None,
    trajectory: Trajectory | tuple[Trajectory, ...],
    stepper: Stepper,
    *,
    x0_fn: Callable | None = None,
    score_fn: Callable | None = None,
    after_step: Callable | None = None,
    clip: bool = True,
    noise: jax.Array | None = None,
    intermediates: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Runs a trajectory from its first step to its last.

    Args:
        denoise: (x, t) -> [B, H, W, 2C], its condition already bound; t is int32 [B] in original
            timesteps. Or a tuple of denoisers, each for its segment of the run, a scan each.
        x_T: [B, H, W, C], the start: noise, or an image for an inversion.
        keys: PRNG keys [B], one for each image, which is the same at any batch size. May be None if
            nothing is drawn: a stepper without noise or `noise` given, no `after_step` and no jump.
        trajectory: the run's steps; a tuple where `denoise` is one.
        stepper: how each step is made (see `steppers`).
        x0_fn: (x_0, x_t, t) -> x_0, corrects each prediction of x_0 before it is clipped.
        score_fn: (x_t, t) -> [B, H, W, C], the gradient by x_t of log p(y | x_t).
        after_step: (x, t_next, keys) -> x, replaces what is known of each step's result; t_next is
            int32 [B], -1 for the clean image.
        clip: keep predictions of x_0 within [-1, 1].
        noise: [S, B, H, W, C], used in place of drawn noise.
        intermediates: return the predictions of x_0 too.

    Returns:
        [B, H, W, C] float32; with intermediates also the predictions of x_0, [S, B, H, W, C].

    Raises:
        ValueError: if there are not as many denoisers as segments, or keys are missing.
    """
    hooks = Hooks(x0_fn, score_fn, after_step, clip)
    carry, start, x_0s = init_carry(x_T, stepper), 0, []
    for segment_denoise, segment in _segments(denoise, trajectory):
        stop = start + len(segment.t)
        segment_noise = None if noise is None else noise[start:stop]
        carry, x_0 = run_segment(
            segment_denoise, carry, keys, segment, stepper, hooks, segment_noise, intermediates
        )
        x_0s.append(x_0)
        start = stop
    return (carry.x, jnp.concatenate(x_0s)) if intermediates else carry.x


def init_carry(x_T: jax.Array, stepper: Stepper) -> Carry:
    """Where a run starts: x_T [B, H, W, C] and the stepper's first state."""
    x_T = jnp.asarray(x_T, jnp.float32)
    return Carry(x_T, stepper.init(x_T))


def run_segment(
    denoise: Callable,
    carry: Carry,
    keys: jax.Array | None,
    trajectory: Trajectory,
    stepper: Stepper,
    hooks: Hooks = NO_HOOKS,
    noise: jax.Array | None = None,
    intermediates: bool = False,
) -> tuple[Carry, jax.Array | None]:
    """Runs a piece of a trajectory: pieces in a row (`steps_between`) give what one run gives.

    They do so bit for bit where both are compiled with the trajectory as an argument (as a constant
    it may be rounded differently), and no piece is a single step, which compiles to no loop.

    Args:
        carry: from `init_carry`, or from the piece before.
        hooks: `sample`'s arguments of these names; the others are as there, of this piece.

    Returns:
        The Carry after the piece; the predictions of x_0 [S, B, H, W, C], None unless asked for.
    """
    draws = (stepper.noisy and noise is None) or bool(hooks.after_step or trajectory.jump)
    if draws and keys is None:
        raise ValueError("keys must be PRNG keys [B], not None: this run draws random numbers")

    def body(carry, inputs):
        entry, given_noise = inputs
        x, state = carry
        step_keys = fold_in(keys, entry.number) if draws else None
        prediction = predict(denoise, x, _batch(entry.t, x), entry, hooks)
        step_noise = given_noise
        if stepper.noisy and step_noise is None:
            step_noise = normal(step_keys, x.shape[1:])
        state, x = stepper.step(state, x, prediction, entry, step_noise)
        if hooks.after_step is not None:
            x = hooks.after_step(x, _batch(entry.t_next, x), fold_in(step_keys, 1))
        if entry.jump is not None:
            eps = normal(fold_in(step_keys, 2), x.shape[1:])
            x = entry.jump.signal * x + entry.jump.noise * eps
        return Carry(x, state), (prediction.x_0 if intermediates else None)

    return jax.lax.scan(body, carry, (trajectory, noise))


def predict(
    denoise: Callable, x_t: jax.Array, t: jax.Array, entry: Trajectory, hooks: Hooks
) -> Prediction:
    """The one network call of a step, and what the hooks make of it; t is int32 [B]."""
    eps, fraction = split_output(denoise(x_t, t))
    x_0 = predict_x_0(x_t, eps, entry.here)
    if hooks.x0_fn is not None:
        x_0 = hooks.x0_fn(x_0, x_t, t)
    if hooks.clip:
        x_0 = jnp.clip(x_0, -1.0, 1.0)
    score = None if hooks.score_fn is None else hooks.score_fn(x_t, t)
    return Prediction(x_0, fraction, score)


def fold_in(keys: jax.Array, number: jax.Array | int) -> jax.Array:
    """Each of the keys [B] folded with the same number."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal float32 [B, *shape], each image from its own key of keys [B]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def _batch(t, x):
    """A step's t for each image: int32 [B]."""
    return jnp.full(x.shape[:1], t, jnp.int32)


def _segments(denoise, trajectory):
    """(denoiser, trajectory) of each segment; a single pair for a run in one piece."""
    segments = (trajectory,) if isinstance(trajectory, Trajectory) else trajectory
    denoisers = denoise if isinstance(denoise, tuple) else (denoise,)
    if len(denoisers) != len(segments):
        raise ValueError(
            f"denoise must hold one denoiser for each of the trajectory's {len(segments)} "
            f"segments, not {len(denoisers)}"
        )
    return zip(denoisers, segments, strict=True)
