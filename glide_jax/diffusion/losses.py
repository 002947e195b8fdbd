"""The training loss of learned-variance diffusion (arXiv 2102.09672), in bits per dimension."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax.diffusion.gaussian import (
    Coefficients,
    coefficients_at,
    expand,
    learned_log_variance,
    posterior_mean,
    predict_x_0,
    q_sample,
    split_output,
)
from glide_jax.diffusion.schedule import Schedule


def hybrid_loss(
    denoise: Callable,
    schedule: Schedule,
    x_0: jax.Array,
    t: jax.Array,
    eps: jax.Array,
    mse_weights=None,
) -> dict[str, jax.Array]:
    """Noise mean squared error plus the variational bound's term, which trains the variance alone.

    Args:
        denoise: (x_t, t) -> [B, H, W, 2C], its condition already bound; given original timesteps.
        schedule: the schedule in use, of T steps.
        x_0: [B, H, W, C] images in [-1, 1].
        t: int32 [B], positions in `schedule`, 0..T-1.
        eps: [B, H, W, C] standard normal noise.
        mse_weights: float [T], of the noise error at each position; 1 by default, as published.

    Returns:
        `loss`, `mse` (unweighted) and `vb` (scaled by T / 1000), each float32 [B];
        loss = weight * mse + vb.

    Source: arXiv 2102.09672, equation 16, with the weight of its published code.
    """
    c = coefficients_at(schedule, t)
    x_t = q_sample(x_0, eps, c)
    timesteps = jnp.asarray(schedule.timesteps, jnp.int32)[t]
    predicted, fraction = split_output(denoise(x_t, timesteps))
    mse = _mean(jnp.square(eps - predicted))
    bits = bound_term(x_0, x_t, jax.lax.stop_gradient(predicted), fraction, t, c)
    vb = bits * (len(schedule.betas) / 1000)
    weighted = mse if mse_weights is None else jnp.asarray(mse_weights, jnp.float32)[t] * mse
    return {"loss": weighted + vb, "mse": mse, "vb": vb}


def min_snr_weights(schedule: Schedule, gamma: float = 5.0) -> np.ndarray:
    """Weights of the noise error that let a picture's layout count more than its finest grain.

    min(SNR, gamma) / SNR, with the signal-to-noise ratio SNR = a / (1 - a), a = alphas_cumprod:
    1 where there is much noise, and below it the error of x_0 times gamma.

    Returns:
        float64 [T].

    Source: Hang et al. 2023, arXiv 2303.09556, equation 8 in terms of the noise.
    """
    snr = signal_to_noise(schedule)
    return np.minimum(snr, gamma) / snr


def debiased_weights(schedule: Schedule, most: float = 10.0) -> np.ndarray:
    """Weights of the noise error that let what is to be seen count more than how finely.

    1 / sqrt(SNR), at most `most`, for at the noisy end it has no bound. Beside `min_snr_weights`,
    much noise, where a caption decides what there will be, counts several times as much.

    Returns:
        float64 [T].

    Source: Yu et al. 2023, arXiv 2310.08442, where there is no bound.
    """
    return np.minimum(1 / np.sqrt(signal_to_noise(schedule)), most)


def signal_to_noise(schedule: Schedule) -> np.ndarray:
    """SNR = a / (1 - a), a = alphas_cumprod: float64 [T]."""
    return schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)


WEIGHTINGS = {"min_snr": min_snr_weights, "debiased": debiased_weights}


def bound_term(
    x_0: jax.Array,
    x_t: jax.Array,
    eps: jax.Array,
    fraction: jax.Array,
    t: jax.Array,
    c: Coefficients,
) -> jax.Array:
    """One term of the variational bound in bits per dimension: L_{t-1}, or L_0 where t = 0.

    Args:
        x_0, x_t: [B, H, W, C].
        eps, fraction: [B, H, W, C], what the network says of x_t (see `split_output`).
        t: int32 [B], positions in the schedule in use.
        c: the Coefficients [B] of t.

    Returns:
        float32 [B].

    Source: arXiv 2006.11239, equation 5.
    """
    mean = posterior_mean(predict_x_0(x_t, eps, c), x_t, c)
    log_variance = learned_log_variance(fraction, c)
    true_log_variance = expand(c.posterior_log_variance, x_0)
    kl = normal_kl(posterior_mean(x_0, x_t, c), true_log_variance, mean, log_variance)
    nll = -discretized_gaussian_log_likelihood(x_0, mean, 0.5 * log_variance)
    return jnp.where(t == 0, _mean(nll), _mean(kl)) / math.log(2.0)


def prior_bpd(schedule: Schedule, x_0: jax.Array) -> jax.Array:
    """KL(q(x_T | x_0) || N(0, 1)) in bits per dimension, float32 [B], of images [B, H, W, C]."""
    last = schedule.alphas_cumprod[-1]
    # log1p and expm1: for next to no signal 1 and exp(log(1 - a)) would cancel to nothing.
    log_variance = np.log1p(-last)
    kl = 0.5 * (np.expm1(log_variance) - log_variance + last * jnp.square(x_0))
    return _mean(kl) / math.log(2.0)


def normal_kl(
    mean1: jax.Array, log_variance1: jax.Array, mean2: jax.Array, log_variance2: jax.Array
) -> jax.Array:
    """KL(N(mean1, variance1) || N(mean2, variance2)) in nats, elementwise."""
    ratio = log_variance1 - log_variance2
    distance = jnp.square(mean1 - mean2) * jnp.exp(-log_variance2)
    return 0.5 * (jnp.exp(ratio) - 1.0 - ratio + distance)


def discretized_gaussian_log_likelihood(
    x: jax.Array, mean: jax.Array, log_scale: jax.Array
) -> jax.Array:
    """log of a Gaussian's mass on the 8-bit bin x +- 1/255, open at both ends of the range.

    Args:
        x: images in [-1, 1], any shape.
        mean, log_scale: the Gaussian's mean and log standard deviation, in the shape of x.

    Returns:
        float32, the shape of x, in nats and at least log 1e-12.

    Source: arXiv 2006.11239, equation 13, with the published code's approximate CDF.
    """
    centred, precision = x - mean, jnp.exp(-log_scale)
    cdf = approx_standard_normal_cdf
    # The bin is mirrored into the left tail: on the right it would be a difference of two ones.
    distance = -jnp.abs(centred)
    inside = cdf((distance + 1 / 255) * precision) - cdf((distance - 1 / 255) * precision)
    lowest, highest = cdf((centred + 1 / 255) * precision), cdf((1 / 255 - centred) * precision)
    mass = jnp.where(x < -0.999, lowest, jnp.where(x > 0.999, highest, inside))
    return jnp.log(jnp.maximum(mass, 1e-12))


def approx_standard_normal_cdf(x: jax.Array) -> jax.Array:
    """0.5 (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))), elementwise: as published, not erf."""
    # 0.5 (1 + tanh(u)) = sigmoid(2 u), which keeps its digits in the left tail.
    return jax.nn.sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))


def _mean(x):
    """Mean over all axes but the first."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
