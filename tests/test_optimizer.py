"""The optimizer: learning rates, decay, what is frozen, and Muon."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.config import Optim, Recipe
from glide_jax.training.optimizer import make_learning_rate, make_optimizer, trained_parameters


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (Optim(freeze=("text",)), "Optim.freeze is 'text', which no parameter's path matches"),
        (Optim(no_weight_decay=("*bia",)), "Optim.no_weight_decay is '\\*bia'"),
        (Optim(freeze=("unet", "text_encoder")), "which leaves nothing to train"),
    ],
)
def test_patterns_that_mean_nothing_are_refused(optim, message, params):
    with pytest.raises(ValueError, match=message):
        trained_parameters(params, optim)


def test_parameters_are_frozen_by_name_and_by_pattern(params):
    trained = trained_parameters(params, Optim(freeze=("text_encoder", "unet/*/in_norm/*")))
    assert not any(jax.tree.leaves(trained["text_encoder"]))
    names = {
        "/".join(k.key for k in keys): value
        for keys, value in jax.tree_util.tree_flatten_with_path(trained["unet"])[0]
    }
    assert {name for name, value in names.items() if not value} == {
        name for name in names if "/in_norm/" in name
    }
    assert not all(names.values()) and any(names.values())


def test_learning_rate_warms_up_and_goes_on_as_asked():
    optim = Optim(learning_rate=1.0, warmup_steps=9, decay="cosine", final_fraction=0.2)
    rate = make_learning_rate(Recipe("x", optim=optim, steps=109))
    np.testing.assert_allclose([rate(0), rate(4), rate(9)], [0.1, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose([rate(59), rate(109)], [0.6, 0.2], rtol=1e-5)
    linear = make_learning_rate(
        Recipe("x", optim=dataclasses.replace(optim, decay="linear"), steps=109)
    )
    np.testing.assert_allclose([linear(9), linear(34), linear(109)], [1, 0.8, 0.2], rtol=1e-5)
    # A run that is shorter than its warm-up warms up to its end.
    short = make_learning_rate(Recipe("x", optim=optim, steps=5))
    np.testing.assert_allclose([short(0), short(3), short(4)], [0.2, 0.8, 1.0], rtol=1e-6)
    constant = dataclasses.replace(optim, decay="constant")
    assert make_learning_rate(Recipe("x", optim=constant, steps=109))(100) == 1.0


def test_only_matrices_decay_and_gradients_are_clipped():
    optim = Optim(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=1e-9)
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)
    grads = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.zeros(2)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    # Adam's step is at most the learning rate; a norm of 1e-9 is below its epsilon of 1e-8.
    assert np.abs(updates["kernel"] + 0.05).max() < 0.01


def test_moments_decay_as_asked():
    optim = Optim(learning_rate=0.1, warmup_steps=0, clip_norm=10, beta1=0.5, beta2=0.75)
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    params = {"bias": jnp.zeros(1)}
    state = optimizer.init(params)
    for gradient in (1.0, 3.0):
        updates, state = optimizer.update({"bias": jnp.full(1, gradient)}, state, params)
    # Of 1 and 3, without their bias: 1.75 / 0.75 over the root of 2.4375 / 0.4375.
    np.testing.assert_allclose(updates["bias"], -0.1 * (7 / 3) / np.sqrt(39 / 7), rtol=1e-5)


def test_muon_moves_a_kernel_by_an_orthogonal_matrix_and_all_else_as_adamw_does():
    optim = Optim(
        "muon", learning_rate=0.01, warmup_steps=0, weight_decay=0.5, no_weight_decay=("conv",)
    )
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (3, 3, 8, 24), "bias": (24,)}, "embedding": (5, 7)}
    draw = lambda shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    params, gradient = (
        jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple)) for _ in range(2)
    )
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    # 72 inputs to 24 outputs: all singular values alike, as near as five iterations bring them.
    kernel = np.asarray(updates["conv"]["kernel"], np.float64).reshape(72, 24)
    values = np.linalg.svd(kernel, compute_uv=False) / (0.01 * 0.2 * np.sqrt(72))
    assert 0.6 < values.min() < values.max() < 1.3
    before = np.linalg.svd(gradient["conv"]["kernel"].reshape(72, 24), compute_uv=False)
    assert before.max() / before.min() > 3
    assert np.trace(kernel.T @ gradient["conv"]["kernel"].reshape(72, 24)) < 0
    # AdamW's first step is the sign; what is named does not decay, nor do gains and biases.
    signs = jax.tree.map(lambda g: -0.01 * np.sign(g), gradient)
    np.testing.assert_allclose(updates["conv"]["bias"], signs["conv"]["bias"], rtol=1e-4)
    decayed = signs["embedding"] - 0.01 * 0.5 * params["embedding"]
    np.testing.assert_allclose(updates["embedding"], decayed, rtol=1e-3, atol=1e-6)


def test_matrices_that_are_named_do_not_decay():
    optim = Optim(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, no_weight_decay=("text/*",))
    optimizer = make_optimizer(Recipe("x", optim=optim, steps=10))
    params = {"text": {"table": jnp.ones((2, 2))}, "unet": {"kernel": jnp.ones((2, 2))}}
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["text"]["table"], 0)
    np.testing.assert_allclose(updates["unet"]["kernel"], -0.05, rtol=1e-5)
