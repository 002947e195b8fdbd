"""The hybrid loss and its parts: the published figures, then closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.diffusion.gaussian import coefficients_at, q_sample
from glide_jax.diffusion.losses import (
    debiased_weights,
    discretized_gaussian_log_likelihood,
    hybrid_loss,
    min_snr_weights,
    normal_kl,
    prior_bpd,
)
from glide_jax.diffusion.schedule import make_schedule, respace
from tests.stand_ins import FIXTURES, compare, denoise, drawn, nhwc

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


@pytest.fixture(scope="module", params=("linear-1000", "linear-100", "cosine-1000", "cosine-100"))
def case(request):
    """(schedule, x_0, t, eps, the published figures by name)."""
    name, total = request.param.split("-")
    x_0, eps = (drawn(f"loss-{request.param}/{a}", (4, 3, 8, 8)) for a in ("x0", "eps"))
    t = jnp.array([0, 1, int(total) // 4, int(total) - 1])
    published = np.load(FIXTURES / "losses.npz")
    figures = {key: published[f"{request.param}/{key}"] for key in ("mse", "vb", "loss")}
    figures |= {key: nhwc(published[f"{request.param}/{key}"]) for key in ("x_t", "grad_out")}
    figures["prior_bpd"] = published[f"{request.param}/prior_bpd"]
    return make_schedule(SCHEDULES[name], int(total)), np.clip(x_0, -1, 1), t, eps, figures


def test_losses_are_the_published_ones(case):
    schedule, x_0, t, eps, figures = case
    losses = jax.jit(lambda x_0, t, eps: hybrid_loss(denoise, schedule, x_0, t, eps))(x_0, t, eps)
    for key in ("mse", "vb", "loss"):
        compare(f"loss: {key}", losses[key], figures[key], rtol=2e-5, atol=5e-6)


def test_the_gradient_by_the_output_is_the_published_one(case):
    schedule, x_0, t, eps, figures = case
    x_t = q_sample(x_0, eps, coefficients_at(schedule, t))
    np.testing.assert_allclose(x_t, figures["x_t"], atol=1e-6)

    def summed(output):
        return hybrid_loss(lambda x, t: output, schedule, x_0, t, eps)["loss"].sum()

    grad = jax.jit(jax.grad(summed))(denoise(x_t, t))
    # At t = 0 the reference takes the difference of nearly equal numbers: it is 1e-5 off the truth.
    compare("loss: gradient at t = 0", grad[0], figures["grad_out"][0], atol=2e-5)
    compare("loss: gradient at t > 0", grad[1:], figures["grad_out"][1:], atol=1e-6)


def test_prior_bpd_is_the_published_one(case):
    schedule, x_0, _, _, figures = case
    bits = jax.jit(lambda x_0: prior_bpd(schedule, x_0))(x_0)
    compare("loss: prior, bits a dimension", bits, figures["prior_bpd"], rtol=1e-3)


def test_the_bound_trains_the_variance_alone():
    schedule, t = make_schedule("linear"), jnp.array([0, 500])
    x_0, eps = np.clip(drawn("x0", (2, 3, 4, 4)), -1, 1), drawn("eps", (2, 3, 4, 4))

    def bound(output):
        return hybrid_loss(lambda x, t: output, schedule, x_0, t, eps)["vb"].sum()

    by_eps, by_v = jnp.split(jax.jit(jax.grad(bound))(jnp.full((2, 4, 4, 6), 0.1)), 2, axis=-1)
    assert not by_eps.any() and (by_v != 0).all()


def test_the_network_is_given_original_timesteps():
    schedule, eps = respace(make_schedule("linear"), [5, 300, 999]), drawn("eps", (3, 3, 4, 4))

    def network(x, t):
        """Right by t / 1000, so that the loss tells which t it was."""
        assert t.dtype == jnp.int32
        return jnp.concatenate([eps + t[:, None, None, None] / 1000, x], axis=-1)

    loss = jax.jit(lambda t: hybrid_loss(network, schedule, eps, t, eps)["mse"])
    np.testing.assert_allclose(loss(jnp.array([2, 0, 1])), [0.999**2, 0.005**2, 0.3**2], rtol=1e-4)


def test_the_weights_turn_the_noise_s_error_into_that_of_a_bounded_snr():
    schedule = make_schedule("squaredcos_cap_v2")
    weights, a = min_snr_weights(schedule, gamma=5.0), schedule.alphas_cumprod
    noisy = a / (1 - a) < 5
    assert 0 < noisy.sum() < 1000 and (weights[noisy] == 1).all()
    # eps = (x_t - sqrt(a) x_0) / sqrt(1 - a), so an error d of x_0 is one of d sqrt(a / (1 - a)).
    np.testing.assert_allclose(weights[~noisy] * (a / (1 - a))[~noisy], 5.0)


def test_debiased_weights_make_the_error_of_x_0_count_by_the_signal_s_size():
    schedule = make_schedule("squaredcos_cap_v2")
    weights, a = debiased_weights(schedule, most=10.0), schedule.alphas_cumprod
    bounded = a / (1 - a) < 0.01
    assert 0 < bounded.sum() < 100 and (weights[bounded] == 10).all()
    # As above: 1 / sqrt(SNR) of the noise's error is sqrt(SNR), signal by noise, of that of x_0.
    of_x_0 = (weights * a / (1 - a))[~bounded]
    np.testing.assert_allclose(of_x_0, (np.sqrt(a) / np.sqrt(1 - a))[~bounded])


def test_only_the_noise_s_error_is_weighted():
    schedule, t = make_schedule("squaredcos_cap_v2"), jnp.array([10, 900])
    x_0, eps = np.clip(drawn("x0", (2, 3, 4, 4)), -1, 1), drawn("eps", (2, 3, 4, 4))
    losses = hybrid_loss(denoise, schedule, x_0, t, eps, min_snr_weights(schedule))
    plain = hybrid_loss(denoise, schedule, x_0, t, eps)
    for name in ("mse", "vb"):
        np.testing.assert_array_equal(losses[name], plain[name])
    assert losses["loss"][0] < 0.01 * plain["mse"][0] + plain["vb"][0]
    assert losses["loss"][1] == plain["loss"][1]


def test_losses_of_a_one_step_schedule_are_finite():
    x = np.clip(drawn("x", (1, 3, 4, 4)), -1, 1)
    schedule = make_schedule("squaredcos_cap_v2", 1)
    losses = jax.jit(lambda x: hybrid_loss(denoise, schedule, x, jnp.array([0]), x))(x)
    assert all(np.isfinite(value).all() for value in losses.values())


def test_normal_kl_against_its_closed_form():
    assert normal_kl(0.3, -1.0, 0.3, -1.0) == 0
    m1, s1, m2, s2 = 0.5, 0.7, -0.2, 1.3
    expected = np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
    ours = normal_kl(m1, 2 * np.log(s1), m2, 2 * np.log(s2))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("mean", (-1.2, 0.1, 0.95))
def test_the_256_bins_hold_the_whole_mass(mean):
    bins = jnp.arange(256) / 127.5 - 1
    log_mass = jax.jit(discretized_gaussian_log_likelihood)(bins, mean, np.float32(np.log(0.1)))
    np.testing.assert_allclose(np.exp(log_mass).sum(), 1.0, atol=1e-5)


def test_an_impossible_bin_is_floored():
    floored = jax.jit(discretized_gaussian_log_likelihood)(0.5, -0.5, -7.0)
    np.testing.assert_allclose(floored, np.log(1e-12), rtol=1e-6)
