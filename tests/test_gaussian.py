"""The Gaussian process: its identities, and the published single steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.diffusion.gaussian import (
    coefficients,
    coefficients_at,
    expand,
    learned_log_variance,
    posterior_mean,
    predict_eps,
    predict_x_0,
    q_sample,
    split_output,
)
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from tests.stand_ins import FIXTURES, compare, denoise, drawn, nhwc


@pytest.mark.parametrize("name, spec", (("squaredcos_cap_v2", "20"), ("linear", "fast27")))
def test_predictions_are_the_published_ones(name, spec):
    schedule = respace(make_schedule(name), spaced_timesteps(1000, spec))
    published = np.load(FIXTURES / f"run-{name}-{spec}.npz")
    x_t, last = drawn(f"{name}-{spec}/xT", (2, 3, 8, 8)), len(schedule.betas) - 1
    for i in (0, 1, (last + 1) // 2, last):
        c = jax.tree.map(lambda column, i=i: column[i], coefficients(schedule))
        t = jnp.full((2,), schedule.timesteps[i], jnp.int32)
        eps, fraction = split_output(denoise(x_t, t))
        x_0 = jnp.clip(predict_x_0(x_t, eps, c), -1, 1)
        log_variance = learned_log_variance(fraction, c)
        theirs = {key: nhwc(published[f"p{i}/{key}"]) for key in ("mean", "variance")}
        compare("single steps: x_0", x_0, nhwc(published[f"p{i}/pred_xstart"]), atol=5e-5)
        compare("single steps: mean", posterior_mean(x_0, x_t, c), theirs["mean"], atol=5e-5)
        compare("single steps: variance", jnp.exp(log_variance), theirs["variance"], rtol=1e-3)
        theirs = nhwc(published[f"p{i}/log_variance"])
        compare("single steps: log variance", log_variance, theirs, atol=5e-5)


def test_x_0_and_eps_follow_from_each_other():
    c = coefficients_at(make_schedule("linear"), jnp.array([0, 400, 700]))
    x_0, eps = drawn("x_0", (3, 3, 4, 4)), drawn("eps", (3, 3, 4, 4))
    x_t = q_sample(x_0, eps, c)
    np.testing.assert_allclose(predict_x_0(x_t, eps, c), x_0, atol=1e-5)
    np.testing.assert_allclose(predict_eps(x_t, x_0, c), eps, atol=1e-4)


def test_q_sample_keeps_the_variance_of_standard_data():
    schedule, t = make_schedule("squaredcos_cap_v2"), jnp.array([10, 500, 990])
    x_0, eps = drawn("x_0", (3, 1, 128, 128)), drawn("eps", (3, 1, 128, 128))
    x_t = q_sample(x_0, eps, coefficients_at(schedule, t))
    np.testing.assert_allclose(jnp.var(x_t, axis=(1, 2, 3)), 1.0, atol=0.04)
    correlation = jnp.mean(x_t * x_0, axis=(1, 2, 3))
    np.testing.assert_allclose(correlation, np.sqrt(schedule.alphas_cumprod[t]), atol=0.04)


def test_the_posterior_mean_is_that_of_two_gaussians():
    """q(x_{t-1} | x_t, x_0) is the product of N(x_{t-1} | x_0) and N(x_t | x_{t-1})."""
    schedule, i = make_schedule("linear"), 300
    a_before, beta = schedule.alphas_cumprod[i - 1], schedule.betas[i]
    precision = 1 / (1 - a_before) + (1 - beta) / beta
    mean = (np.sqrt(a_before) * 0.4 / (1 - a_before) + np.sqrt(1 - beta) * 0.9 / beta) / precision
    c = coefficients_at(schedule, jnp.array([i]))
    ours = posterior_mean(jnp.full((1, 1), 0.4), jnp.full((1, 1), 0.9), c)
    np.testing.assert_allclose(ours, mean, rtol=1e-5)
    np.testing.assert_allclose(np.exp(c.posterior_log_variance), 1 / precision, rtol=1e-5)


def test_the_variance_lies_between_the_posterior_and_beta():
    schedule = make_schedule("linear")
    c = coefficients_at(schedule, jnp.array([7]))
    _, fraction = split_output(jnp.array([[0.0, -1.0]]))
    np.testing.assert_allclose(
        jnp.exp(learned_log_variance(fraction, c)), schedule.posterior_variance[7], rtol=1e-5
    )
    _, fraction = split_output(jnp.array([[0.0, 1.0]]))
    np.testing.assert_allclose(
        jnp.exp(learned_log_variance(fraction, c)), schedule.betas[7], rtol=1e-5
    )


def test_outputs_are_split_in_float32():
    eps, fraction = split_output(jnp.ones((2, 4, 4, 6), jnp.bfloat16))
    assert eps.shape == fraction.shape == (2, 4, 4, 3)
    assert eps.dtype == fraction.dtype == jnp.float32


def test_expand_takes_a_scalar_and_a_batch():
    x = jnp.zeros((2, 4, 4, 3))
    assert expand(0.5, x).shape == (1, 1, 1, 1)
    assert expand(jnp.ones(2), x).shape == (2, 1, 1, 1)
