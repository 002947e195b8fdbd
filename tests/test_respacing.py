"""Which timesteps a respacing keeps."""

import json

import numpy as np
import pytest

from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.schedule import half_log_snr, make_schedule
from tests.stand_ins import FIXTURES

PUBLISHED = json.loads((FIXTURES / "respacing.json").read_text())


@pytest.mark.parametrize("case", PUBLISHED)
def test_respacings_are_the_published_ones(case):
    num_timesteps, spec = case.split(":")
    assert spaced_timesteps(int(num_timesteps), spec).tolist() == PUBLISHED[case]


def test_a_number_and_its_text_are_the_same():
    assert spaced_timesteps(1000, 50).tolist() == spaced_timesteps(1000, "50").tolist()


@pytest.mark.parametrize("spec", ("abc", "-5", "1.5", "", "10,,2", "10,x", "ddim", "ddim-5", None))
def test_other_forms_are_refused(spec):
    with pytest.raises(ValueError, match=f'respacing must be .*"fast27", not {str(spec)!r}'):
        spaced_timesteps(1000, spec)


@pytest.mark.parametrize(
    ("num_timesteps", "spec", "allowed"),
    (
        (1000, 0, 1000),
        (1000, 1001, 1000),
        (1000, "501,2", 500),
        (1000, "5,0", 500),
        (45, "fast27", 9),
    ),
)
def test_more_steps_than_there_are_are_refused(num_timesteps, spec, allowed):
    with pytest.raises(ValueError, match=f"respacing '{spec}' .*1 to {allowed} are allowed"):
        spaced_timesteps(num_timesteps, spec)


@pytest.mark.parametrize("spec", ("ddim0", "ddim333", "ddim1001"))
def test_numbers_without_a_whole_stride_are_refused(spec):
    with pytest.raises(ValueError, match=f"respacing '{spec}' .*no whole stride"):
        spaced_timesteps(1000, spec)


@pytest.mark.parametrize("name", ("linear", "squaredcos_cap_v2"))
@pytest.mark.parametrize("n", (1, 2, 3, 10, 20, 50, 500, 999, 1000))
def test_log_snr_gives_exactly_n_falling_steps(name, n):
    steps = log_snr_timesteps(make_schedule(name), n)
    assert len(steps) == n and steps[0] == 999 and steps[-1] >= 0
    assert (np.diff(steps) < 0).all()


@pytest.mark.parametrize("name", ("linear", "squaredcos_cap_v2"))
def test_log_snr_is_evenly_spaced(name):
    schedule = make_schedule(name, 100_000)  # so fine that rounding to whole steps hardly shows
    lambdas = half_log_snr(schedule.alphas_cumprod)
    wanted = np.linspace(max(lambdas[-1], -5.1), lambdas[0], 13)[:-1]
    visited = lambdas[log_snr_timesteps(schedule, 12)]
    np.testing.assert_allclose(visited[1:], wanted[1:], atol=2e-2)


@pytest.mark.parametrize("n", (0, -1, 1001))
def test_log_snr_refuses_more_steps_than_there_are(n):
    with pytest.raises(ValueError, match=rf"must be in 1..1000, not {n}$"):
        log_snr_timesteps(make_schedule("linear"), n)
