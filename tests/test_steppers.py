"""Steppers on Gaussian data, whose exact denoiser is known: every result follows in closed form.

With pixels x_0 ~ N(mu, s**2), x_t ~ N(sqrt(a) mu, a s**2 + 1 - a), and each step is linear: it
multiplies the deviation d_t = x_t - sqrt(a) mu by a number, and adds noise.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.samplers import sample
from glide_jax.diffusion.schedule import half_log_snr, make_schedule, respace
from glide_jax.diffusion.steppers import ancestral, ddim, ddim_inversion, dpm_solver_pp_2m
from glide_jax.diffusion.trajectory import (
    inversion_trajectory,
    make_trajectory,
    reverse_trajectory,
    steps_between,
)
from tests.stand_ins import denoise, drawn, gaussian_denoiser, score

MU, S = 0.4, 0.5
SCHEDULE = make_schedule("linear")
NETWORK = gaussian_denoiser(SCHEDULE, MU, S)
D_T = np.linspace(-2, 2, 9, dtype=np.float32).reshape(1, 3, 3, 1)  # deviations at the start
KEYS = jax.vmap(jax.random.key)(jnp.arange(1))


def levels(steps):
    """alphas_cumprod from the noisiest step to the clean image, of a run over these steps."""
    return np.append(SCHEDULE.alphas_cumprod[np.sort(steps)[::-1]], 1.0)


def ddim_slope(a, a_next):
    """d_next / d_t of a step with the exact x_0 and eps."""
    return (np.sqrt(a * a_next) * S**2 + np.sqrt((1 - a) * (1 - a_next))) / spread(a)


def spread(a):
    """The variance of x_t, a s**2 + 1 - a."""
    return a * S**2 + 1 - a


def dpm_slope(a):
    """d_0 / d_T by algorithm 2 of arXiv 2211.01095, with its own x_0 = sqrt(a) s**2 / spread d."""
    d, before, lambdas = 1.0, None, half_log_snr(a)
    for i in range(len(a) - 1):
        x_0, h = np.sqrt(a[i]) * S**2 / spread(a[i]) * d, lambdas[i + 1] - lambdas[i]
        second_order = 0 < i < len(a) - 2
        r = (lambdas[i] - lambdas[i - 1]) / h if second_order else np.inf
        data = (1 + 1 / (2 * r)) * x_0 - (1 / (2 * r)) * before if second_order else x_0
        ratio = np.sqrt((1 - a[i + 1]) / (1 - a[i]))
        d, before = ratio * d - np.sqrt(a[i + 1]) * np.expm1(-h) * data, x_0
    return d


def run(steps, stepper, d_T=D_T, network=NETWORK, noise=None):
    """The deviations from mu at the end of a run over these steps."""
    a = levels(steps)
    trajectory = reverse_trajectory(respace(SCHEDULE, steps))
    x_T = np.float32(np.sqrt(a[0]) * MU) + d_T
    x_0 = sample(network, x_T, KEYS, trajectory, stepper, clip=False, noise=noise)
    return np.asarray(x_0) - MU


@pytest.mark.parametrize("count", (5, 40))
def test_ddim_follows_the_closed_form(count):
    steps = spaced_timesteps(1000, count)
    a = levels(steps)
    slope = np.prod(ddim_slope(a[:-1], a[1:]))
    np.testing.assert_allclose(run(steps, ddim()), slope * D_T, atol=5e-5)


@pytest.mark.parametrize("count", (1, 2, 3, 20))
def test_dpm_solver_follows_the_closed_form(count):
    steps = log_snr_timesteps(SCHEDULE, count)
    slope = dpm_slope(levels(steps))
    np.testing.assert_allclose(run(steps, dpm_solver_pp_2m()), slope * D_T, atol=5e-5)


@pytest.mark.parametrize(("stepper", "order"), ((ddim(), 1), (dpm_solver_pp_2m(), 2)))
def test_errors_shrink_with_the_order_of_the_method(stepper, order):
    """Between two fixed noise levels, against the exact flow: d is scaled as the spread's root."""
    schedule = make_schedule("linear", 100_000)  # so fine that rounding to whole steps hardly shows
    network = gaussian_denoiser(schedule, MU, S)
    lambdas = half_log_snr(schedule.alphas_cumprod)
    fine = np.interp(-np.linspace(-2.0, 3.0, 65), -lambdas, np.arange(100_000)).astype(int)
    a, errors = schedule.alphas_cumprod[fine], []
    exact = np.sqrt(spread(a[-1]) / spread(a[0]))
    for stride in (4, 2, 1):
        here = fine[::stride]
        trajectory = make_trajectory(schedule, here[:-1], here[1:])
        x = np.float32(np.sqrt(a[0]) * MU) + D_T
        x = np.asarray(sample(network, x, None, trajectory, stepper, clip=False))
        errors.append(abs(np.ptp(x) / np.ptp(D_T) - exact))
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0**order, rtol=0.15)


@pytest.mark.parametrize("v", (-1.0, 1.0))
def test_ancestral_sampling_follows_the_closed_form(v):
    """The variance of d is multiplied by (c_1 k + c_2)**2, x_0 = k d, and the step's is added."""
    steps = spaced_timesteps(1000, 25)
    respaced = respace(SCHEDULE, steps)
    variance = 1.0
    for i in range(24, -1, -1):
        a = respaced.alphas_cumprod[i]
        k = np.sqrt(a) * S**2 / spread(a)
        slope = respaced.posterior_mean_coef1[i] * k + respaced.posterior_mean_coef2[i]
        own = respaced.betas[i] if v > 0 else respaced.posterior_variance[i]
        variance = slope**2 * variance + (own if i else 0.0)
    network = gaussian_denoiser(SCHEDULE, MU, S, v)
    d_0 = run(steps, ancestral(), drawn("ancestral/d_T", (1, 1, 256, 256)), network)
    np.testing.assert_allclose(d_0.mean(), 0.0, atol=0.01)
    np.testing.assert_allclose(d_0.var(), variance, rtol=0.03)


def test_ancestral_sampling_ends_in_the_data():
    d_0 = run(np.arange(0, 1000, 5), ancestral(), drawn("ancestral/d_T", (1, 1, 256, 256)))
    np.testing.assert_allclose([d_0.mean(), d_0.std()], [0.0, S], atol=0.02)


def test_ddim_with_eta_one_is_ancestral_with_the_posterior_variance():
    steps, d_T = spaced_timesteps(1000, 25), drawn("eta1/d_T", (1, 1, 8, 8))
    noise = np.stack([drawn(f"eta1/noise{k}", (1, 1, 8, 8)) for k in range(25)])
    ours, theirs = (run(steps, each, d_T, noise=noise) for each in (ddim(1.0), ancestral()))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_eta_may_be_traced_and_differ_by_image():
    trajectory = reverse_trajectory(respace(SCHEDULE, spaced_timesteps(1000, 8)))
    x_T = drawn("eta/xT", (2, 3, 4, 4))
    noise = np.stack([drawn(f"eta/noise{k}", (2, 3, 4, 4)) for k in range(8)])

    def run_with(eta):
        return sample(denoise, x_T, None, trajectory, ddim(eta), noise=noise)

    ours = jax.jit(run_with)(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(ours[0], run_with(0)[0], atol=5e-5)
    np.testing.assert_allclose(ours[1], run_with(1.0)[1], atol=5e-5)


def test_inversion_then_ddim_returns_closer_with_more_steps():
    errors = []
    for count in (25, 50, 100):
        respaced = respace(SCHEDULE, spaced_timesteps(1000, count))
        x = MU + 0.3 * D_T
        noised = sample(
            NETWORK, x, None, inversion_trajectory(respaced), ddim_inversion(), clip=False
        )
        down = steps_between(reverse_trajectory(respaced), 0, count - 1)
        errors.append(np.abs(sample(NETWORK, noised, None, down, ddim(), clip=False) - x).max())
    assert errors[0] < 0.15
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, rtol=0.25)


def test_inversion_ends_where_the_reverse_run_begins():
    respaced = respace(SCHEDULE, spaced_timesteps(1000, 10))
    up, down = inversion_trajectory(respaced), reverse_trajectory(respaced)
    assert up.t.tolist() == down.t[:0:-1].tolist() and up.t_next[-1] == down.t[0]
    assert (up.t_next > up.t).all() and down.t_next.tolist() == [*down.t[1:].tolist(), -1]
    with pytest.raises(ValueError, match="at least 2 steps, not 1"):
        inversion_trajectory(respace(SCHEDULE, [5]))


def test_dpm_solver_may_start_anywhere():
    """Its first step is of first order, so one step is DDIM's, at any place and under guidance."""
    x = drawn("dpm/x", (1, 3, 4, 4))
    entry = steps_between(reverse_trajectory(respace(SCHEDULE, spaced_timesteps(1000, 8))), 5, 6)
    assert entry.dpm_extrapolation[0] > 0
    ours = sample(denoise, x, None, entry, dpm_solver_pp_2m(), score_fn=score)
    np.testing.assert_allclose(
        ours, sample(denoise, x, None, entry, ddim(), score_fn=score), atol=1e-6
    )


def test_a_score_that_narrows_the_data_ends_in_the_narrower_data():
    """With y ~ N(x_0, r**2) known, p(x_0 | y) is Gaussian too, and its flow is the guided one."""
    y, r = 0.9, 0.6
    a_of = jnp.asarray(SCHEDULE.alphas_cumprod, jnp.float32)

    def score_fn(x, t):
        """grad log p(y | x_t), y ~ N(mu + k (x_t - sqrt(a) mu), s**2 (1 - a) / spread + r**2)."""
        a = a_of[t][:, None, None, None]
        k = jnp.sqrt(a) * S**2 / spread(a)
        residual = y - MU - k * (x - jnp.sqrt(a) * MU)
        return k * residual / (S**2 * (1 - a) / spread(a) + r**2)

    posterior_s = 1 / np.sqrt(1 / S**2 + 1 / r**2)
    posterior_mu = posterior_s**2 * (MU / S**2 + y / r**2)
    trajectory = reverse_trajectory(respace(SCHEDULE, np.arange(0, 1000, 2)))
    x_T = drawn("guided/xT", (1, 1, 128, 128))
    x_T = (x_T - x_T.mean()) / x_T.std()
    for stepper, limit in ((ddim(), 5e-3), (dpm_solver_pp_2m(), 5e-3), (ancestral(), 2e-2)):
        x = sample(NETWORK, x_T, KEYS, trajectory, stepper, score_fn=score_fn, clip=False)
        np.testing.assert_allclose([x.mean(), x.std()], [posterior_mu, posterior_s], atol=limit)
