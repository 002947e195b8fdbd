"""Known pixels in a run: against the exact conditional distribution of two correlated pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.diffusion.inpainting import keep_known, replace_known
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.samplers import sample
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.steppers import ancestral, ddim, dpm_solver_pp_2m
from glide_jax.diffusion.trajectory import resampling_trajectory, reverse_trajectory

WHOLE = make_schedule("squaredcos_cap_v2")
SCHEDULE = respace(WHOLE, spaced_timesteps(1000, 25))
RHO, KNOWN, NUMBER = 0.9, 0.6, 4000
# The left pixel of two is known; both are normal with deviation 1/2, and their correlation is RHO.
COVARIANCE = 0.25 * np.array([[1, RHO], [RHO, 1]])
MASK = jnp.array([1.0, 0.0]).reshape(1, 1, 2, 1)
IMAGE = jnp.full((NUMBER, 1, 2, 1), KNOWN) * MASK
MEAN, DEVIATION = RHO * KNOWN, 0.5 * np.sqrt(1 - RHO**2)  # of the right one, given the left


def exact(x, t):
    """The best prediction of the noise, by the data's covariance, and a variance in the middle."""
    a = jnp.asarray(WHOLE.alphas_cumprod, jnp.float32)[t[0]]
    noisy = a * COVARIANCE + (1 - a) * np.eye(2)
    eps = jnp.sqrt(1 - a) * jnp.linalg.solve(noisy, x[:, 0, :, 0].T).T
    return jnp.concatenate([eps[:, None, :, None], jnp.zeros_like(x)], axis=-1)


def run(trajectory, stepper=None, **hooks):
    """The right pixel of many runs; the left one must be what is known."""
    keys = jax.vmap(jax.random.key)(jnp.arange(NUMBER))
    x_T = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1000), (1, 2, 1)))(keys)
    stepper = stepper or ancestral()
    drawn = jax.jit(lambda x: sample(exact, x, keys, trajectory, stepper, clip=False, **hooks))(x_T)
    np.testing.assert_array_equal(drawn[:, 0, 0, 0], np.float32(KNOWN))
    return np.asarray(drawn[:, 0, 1, 0])


@pytest.mark.long
def test_replacement_misses_the_conditional_mean_and_resampling_meets_it():
    replace = replace_known(IMAGE, MASK, WHOLE)
    replaced = run(reverse_trajectory(SCHEDULE), after_step=replace)
    finer = respace(WHOLE, spaced_timesteps(1000, 50))
    resampled = run(resampling_trajectory(finer, 5, 10), after_step=replace)
    missed = MEAN - replaced.mean()
    assert missed > 0.15 and replaced.std() / DEVIATION > 1.25
    assert abs(resampled.mean() - MEAN) < missed / 4
    assert abs(resampled.std() / DEVIATION - 1) < 0.1


@pytest.mark.parametrize("stepper", [ddim(), dpm_solver_pp_2m()])
def test_every_stepper_can_put_back_and_jump(stepper):
    drawn = run(
        resampling_trajectory(SCHEDULE, 5, 3), stepper, after_step=replace_known(IMAGE, MASK, WHOLE)
    )
    # Nearer to the conditional mean than the unconditional one, which is 0.
    assert abs(drawn.mean() - MEAN) < 0.35 * MEAN


def test_known_pixels_are_noised_as_far_as_the_step_has_come():
    put_back = replace_known(IMAGE, MASK, WHOLE)
    keys = jax.vmap(jax.random.key)(jnp.arange(NUMBER))
    for t in (900, 300, 0):
        x = put_back(jnp.full(IMAGE.shape, 7.0), jnp.full(NUMBER, t), keys)
        np.testing.assert_array_equal(x[:, 0, 1], 7.0)
        a = WHOLE.alphas_cumprod[t]
        known = np.asarray(x[:, 0, 0, 0])
        deviation = np.sqrt(1 - a)
        assert abs(known.mean() - np.sqrt(a) * KNOWN) < 4 * deviation / np.sqrt(NUMBER)
        assert abs(known.std() / deviation - 1) < 4 / np.sqrt(2 * NUMBER)


def test_known_pixels_are_set_after_what_else_corrects_x_0():
    x_0 = jnp.full(IMAGE.shape, 4.0)
    known = keep_known(IMAGE, MASK, lambda x_0, x_t, t: x_0 / 2)(x_0, None, None)
    np.testing.assert_array_equal(known[:, 0, :, 0], [[np.float32(KNOWN), 2.0]] * NUMBER)
    np.testing.assert_array_equal(keep_known(IMAGE, MASK)(x_0, None, None)[:, 0, 1], 4.0)


def test_a_resampling_trajectory_jumps_back_where_it_should():
    schedule = respace(WHOLE, spaced_timesteps(1000, 5))
    trajectory = resampling_trajectory(schedule, length=2, resamplings=2)
    here = np.array([4, 3, 4, 3, 2, 1, 2, 1, 0])
    up = np.array([3, 4, 3, 2, 1, 2, 1, 0, -1])  # where each step's x is after its jump
    np.testing.assert_array_equal(trajectory.t, schedule.timesteps[here])
    np.testing.assert_array_equal(trajectory.t_next, np.append(schedule.timesteps, -1)[here - 1])
    np.testing.assert_array_equal(here[1:], up[:-1])
    # What a jump adds makes of the level after the step the level that it goes up to.
    levels = np.append(schedule.alphas_cumprod, 1.0)
    signal, noise = (np.float64(part) for part in trajectory.jump)
    np.testing.assert_allclose(signal**2 * levels[here - 1], levels[up], rtol=1e-6)
    kept = signal**2 * (1 - levels[here - 1])
    np.testing.assert_allclose(kept + noise**2, 1 - levels[up], rtol=1e-6, atol=1e-7)
    # A second-order step needs the x_0 of the step that led to it.
    assert (trajectory.dpm_extrapolation[[0, 2, 6, 8]] == 0).all()
    assert (trajectory.dpm_extrapolation[[1, 3, 4, 5, 7]] > 0).all()


def test_one_resampling_is_a_plain_run():
    plain, once = reverse_trajectory(SCHEDULE), resampling_trajectory(SCHEDULE, 5, 1)
    jax.tree.map(np.testing.assert_array_equal, plain, once._replace(jump=None))
    assert (once.jump.signal == 1).all() and (once.jump.noise == 0).all()


@pytest.mark.parametrize(
    ("length", "resamplings", "message"),
    [
        (0, 2, "jump_length is 0; of 25 steps it must be 1 to 24"),
        (25, 2, "jump_length is 25"),
        (5, 0, "resamplings is 0; it must be 1 or more"),
    ],
)
def test_jumps_that_mean_nothing_are_refused(length, resamplings, message):
    with pytest.raises(ValueError, match=message):
        resampling_trajectory(SCHEDULE, length, resamplings)
