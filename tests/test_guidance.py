"""Classifier-free guidance from its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.diffusion.guidance import classifier_free
from tests.stand_ins import drawn

X = drawn("guidance/x", (3, 2, 4, 4))
T = jnp.array([3, 500, 999], jnp.int32)
COND = {"text": jnp.array([[1.0], [2.0], [3.0]]), "tokens": jnp.array([5, 6, 7])}
UNCOND = {"text": jnp.zeros((3, 1)), "tokens": jnp.array([0, 0, 1])}


@jax.jit
def network(x, t, cond):
    """Something that depends on all of its arguments, in both halves of its output."""
    shift = cond["text"][:, 0] + 0.1 * cond["tokens"] + t / 1000
    h = x + shift[:, None, None, None]
    return jnp.concatenate([jnp.tanh(h), jnp.cos(h)], axis=-1)


def expected(scale):
    """The same from two calls: eps_empty + s (eps_caption - eps_empty), the caption's variance."""
    captioned, empty = np.asarray(network(X, T, COND)), np.asarray(network(X, T, UNCOND))
    eps = empty[..., :2] + scale * (captioned[..., :2] - empty[..., :2])
    return np.concatenate([eps, captioned[..., 2:]], axis=-1)


@jax.jit
def guided(scale):
    """The guided network on all of the above."""
    return classifier_free(network, scale)(X, T, (COND, UNCOND))


@pytest.mark.parametrize("scale", (0.0, 1.0, 3.0))
def test_guidance_equals_two_separate_calls(scale):
    np.testing.assert_allclose(guided(scale), expected(scale), atol=2e-6)


def test_scale_may_differ_by_image():
    scale = np.float32([0.0, 1.0, 4.0])
    np.testing.assert_allclose(guided(scale), expected(scale[:, None, None, None]), atol=2e-6)


def test_scale_one_is_the_captioned_branch_and_zero_the_empty_one():
    captioned, empty = np.asarray(network(X, T, COND)), np.asarray(network(X, T, UNCOND))
    np.testing.assert_allclose(guided(1.0), captioned, atol=1e-6)
    np.testing.assert_allclose(guided(0.0)[..., :2], empty[..., :2], atol=1e-6)
    np.testing.assert_allclose(guided(0.0)[..., 2:], captioned[..., 2:], atol=1e-6)


def test_the_two_branches_are_one_call():
    calls = []

    def counted(x, t, cond):
        calls.append((x.shape, t.shape, jax.tree.map(jnp.shape, cond)))
        return network(x, t, cond)

    classifier_free(counted, 2.0)(X, T, (COND, UNCOND))
    assert calls == [((6, 4, 4, 2), (6,), {"text": (6, 1), "tokens": (6,)})]
