"""Guidance: classifier-free, of a denoiser, and by the gradient of a similarity, as a score_fn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from glide_jax.diffusion.gaussian import expand


def classifier_free(denoise: Callable, guidance_scale: jax.Array | float) -> Callable:
    """The denoiser that goes from the empty caption's noise towards the caption's, and beyond.

    eps = eps_empty + s (eps_caption - eps_empty). The variance is the captioned branch's own.

    Args:
        denoise: (x, t, cond) -> [B, H, W, 2C].
        guidance_scale: s, a scalar or [B], may be traced; 1 is the captioned branch, 0 the
            empty one.

    Returns:
        guided(x, t, (cond, uncond)) -> [B, H, W, 2C]: both branches in one batch of 2B, one network
        call. The two conditions are trees of the same shape; the second is the empty caption's, or
        a negative prompt's.

    Source: GLIDE, arXiv 2112.10741, section 2.3.
    """

    def guided(x, t, conditions):
        both = jax.tree.map(lambda *branches: jnp.concatenate(branches), *conditions)
        output = denoise(jnp.concatenate([x, x]), jnp.concatenate([t, t]), both)
        captioned, empty = jnp.split(output.astype(jnp.float32), 2)
        eps_captioned, variance = jnp.split(captioned, 2, axis=-1)
        eps_empty, _ = jnp.split(empty, 2, axis=-1)
        scale = expand(jnp.asarray(guidance_scale, jnp.float32), output)
        eps = eps_empty + scale * (eps_captioned - eps_empty)
        return jnp.concatenate([eps, variance], axis=-1)

    return guided


def by_similarity(similarity: Callable, guidance_scale: jax.Array | float) -> Callable:
    """The `score_fn` of `samplers.sample` that leads each picture to a larger similarity.

    Args:
        similarity: (x, t) -> [B], how well each noised picture fits what it should show, as a log
            likelihood up to a constant; of picture i it depends on x[i] and t[i] only.
        guidance_scale: a scalar or [B], may be traced; 0 is no guidance.

    Returns:
        (x_t [B, H, W, C], t int32 [B]) -> [B, H, W, C], guidance_scale times the similarity's
        gradient by x_t.

    Source: GLIDE, arXiv 2112.10741, section 2.4; arXiv 2105.05233, section 4.
    """
    gradient = jax.grad(lambda x, t: jnp.sum(similarity(x, t)))

    def score_fn(x_t, t):
        return expand(jnp.asarray(guidance_scale, jnp.float32), x_t) * gradient(x_t, t)

    return score_fn
