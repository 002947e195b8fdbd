"""Noise schedules against the published figures."""

import numpy as np
import pytest

from glide_jax.diffusion.schedule import half_log_snr, make_schedule, respace
from tests.stand_ins import FIXTURES, compare

NAMES = ("linear", "squaredcos_cap_v2")
FIELDS = (
    "betas",
    "alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_timesteps", (1000, 100))
def test_schedules_are_the_published_ones(name, num_timesteps):
    schedule = make_schedule(name, num_timesteps)
    published = np.load(FIXTURES / f"schedule-{name}.npz")
    for field in FIELDS:
        ours, theirs = getattr(schedule, field), published[f"{num_timesteps}/{field}"]
        assert ours.dtype == np.float64
        nonzero = theirs != 0  # the first posterior's variance and weight of x_t
        assert (ours[~nonzero] == 0).all()
        compare(f"schedule: {field}", ours[nonzero], theirs[nonzero], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_respacing_keeps_noise_levels_and_timesteps(name):
    schedule = make_schedule(name)
    respaced = respace(schedule, [3, 999, 10, 400])
    assert respaced.timesteps.tolist() == [3, 10, 400, 999]
    kept = schedule.alphas_cumprod[[3, 10, 400, 999]]
    # Through a beta near 1 a few digits are lost, as they are in the published code.
    np.testing.assert_allclose(respaced.alphas_cumprod, kept, rtol=1e-8)
    np.testing.assert_allclose(np.cumprod(1 - respaced.betas), kept, rtol=1e-8)
    np.testing.assert_allclose(respaced.posterior_variance[1:], _posterior_variance(kept))


def test_respacing_twice_carries_the_original_timesteps():
    twice = respace(respace(make_schedule("linear"), range(0, 1000, 10)), [0, 50, 99])
    assert twice.timesteps.tolist() == [0, 500, 990]


def test_keeping_all_steps_changes_nothing():
    schedule = make_schedule("squaredcos_cap_v2", 100)
    for ours, same in zip(respace(schedule, range(100)), schedule, strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-9)


def test_a_schedule_of_one_step_is_finite():
    for schedule in (make_schedule("squaredcos_cap_v2", 1), respace(make_schedule("linear"), [7])):
        assert all(np.isfinite(field).all() and len(field) == 1 for field in schedule)


def test_half_log_snr_is_infinite_for_a_clean_image():
    np.testing.assert_allclose(half_log_snr(np.array([0.5, 0.8, 1.0])), [0, np.log(2), np.inf])


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(ValueError, match="linear, squaredcos_cap_v2.*'cosine'"):
        make_schedule("cosine")


@pytest.mark.parametrize(("name", "too_few"), (("linear", 20), ("squaredcos_cap_v2", 0)))
def test_too_few_timesteps_are_refused(name, too_few):
    with pytest.raises(ValueError, match=rf"num_timesteps must be at least .*not {too_few}$"):
        make_schedule(name, too_few)
    assert (make_schedule(name, too_few + 1).betas < 1).all()


@pytest.mark.parametrize("steps", ([], [-1, 5], [0, 1000], [3, 3]))
def test_steps_that_the_schedule_has_not_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be distinct and in 0..999"):
        respace(make_schedule("linear"), steps)


def _posterior_variance(a):
    """(1 - a_{i-1}) / (1 - a_i) (1 - a_i / a_{i-1})."""
    return (1 - a[:-1]) / (1 - a[1:]) * (1 - a[1:] / a[:-1])
