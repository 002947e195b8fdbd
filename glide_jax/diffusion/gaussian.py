"""The Gaussian diffusion process (Ho et al. 2020, arXiv 2006.11239) on the scalars of a step.

Here `c` is the Coefficients of one step (scalars) or of one step for each image ([B]).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax.diffusion.schedule import Schedule


class Coefficients(NamedTuple):
    """float32 numbers of a step: all scalars, or all [B], or all [T]."""

    sqrt_alphas_cumprod: jax.Array
    sqrt_one_minus_alphas_cumprod: jax.Array
    posterior_mean_coef1: jax.Array
    posterior_mean_coef2: jax.Array
    posterior_log_variance: jax.Array  # clipped: entry 0 is entry 1's
    log_beta: jax.Array


def coefficients(schedule: Schedule) -> Coefficients:
    """The Coefficients of all steps of a schedule, float32 numpy [T], cast once."""
    columns = Coefficients(
        sqrt_alphas_cumprod=np.sqrt(schedule.alphas_cumprod),
        sqrt_one_minus_alphas_cumprod=np.sqrt(1.0 - schedule.alphas_cumprod),
        posterior_mean_coef1=schedule.posterior_mean_coef1,
        posterior_mean_coef2=schedule.posterior_mean_coef2,
        posterior_log_variance=schedule.posterior_log_variance_clipped,
        log_beta=np.log(schedule.betas),
    )
    return jax.tree.map(np.float32, columns)


def coefficients_at(schedule: Schedule, t: jax.Array) -> Coefficients:
    """The Coefficients [B] of the steps t, int32 [B], positions in the schedule in use."""
    return jax.tree.map(lambda column: jnp.asarray(column)[t], coefficients(schedule))


def expand(a: jax.Array, x: jax.Array) -> jax.Array:
    """A scalar or [B], shaped to be multiplied with x [B, ...]."""
    return jnp.reshape(a, jnp.shape(a) + (1,) * (x.ndim - jnp.ndim(a)))


def q_sample(x_0: jax.Array, eps: jax.Array, c: Coefficients) -> jax.Array:
    """x_t = sqrt(alphas_cumprod) x_0 + sqrt(1 - alphas_cumprod) eps (eq. 4), [B, H, W, C]."""
    signal, noise = c.sqrt_alphas_cumprod, c.sqrt_one_minus_alphas_cumprod
    return expand(signal, x_0) * x_0 + expand(noise, x_0) * eps


def predict_x_0(x_t: jax.Array, eps: jax.Array, c: Coefficients) -> jax.Array:
    """x_0 = (x_t - sqrt(1 - alphas_cumprod) eps) / sqrt(alphas_cumprod), [B, H, W, C]."""
    signal, noise = c.sqrt_alphas_cumprod, c.sqrt_one_minus_alphas_cumprod
    return (x_t - expand(noise, x_t) * eps) / expand(signal, x_t)


def predict_eps(x_t: jax.Array, x_0: jax.Array, c: Coefficients) -> jax.Array:
    """eps = (x_t - sqrt(alphas_cumprod) x_0) / sqrt(1 - alphas_cumprod), [B, H, W, C]."""
    signal, noise = c.sqrt_alphas_cumprod, c.sqrt_one_minus_alphas_cumprod
    return (x_t - expand(signal, x_t) * x_0) / expand(noise, x_t)


def posterior_mean(x_0: jax.Array, x_t: jax.Array, c: Coefficients) -> jax.Array:
    """Mean of q(x_{t-1} | x_t, x_0) (eq. 7), [B, H, W, C]."""
    return expand(c.posterior_mean_coef1, x_0) * x_0 + expand(c.posterior_mean_coef2, x_t) * x_t


def learned_log_variance(fraction: jax.Array, c: Coefficients) -> jax.Array:
    """f log beta + (1 - f) log posterior variance (arXiv 2102.09672, eq. 15), [B, H, W, C]."""
    upper, lower = expand(c.log_beta, fraction), expand(c.posterior_log_variance, fraction)
    return fraction * upper + (1.0 - fraction) * lower


def split_output(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A network's [B, H, W, 2C] as eps and the variance fraction f = (v + 1) / 2, in float32."""
    eps, v = jnp.split(output.astype(jnp.float32), 2, axis=-1)
    return eps, (v + 1.0) / 2.0
