"""Our tree as a published state dict and back, bit for bit."""

import json
import pathlib
from functools import partial

import jax
import numpy as np
import pytest

from glide_jax import model_folder
from glide_jax.released.names import from_pytorch, our_layout, to_pytorch
from glide_jax.released.parity.networks import MODELS
from tests.parity import tensor
from tests.stand_ins import FIXTURES

TINY = [name for name in MODELS if name.startswith("tiny-")]
FULL = [name for name in MODELS if name not in TINY]
RELEASED = pathlib.Path(__file__).parents[2] / "shared" / "parity" / "manifest_released.json"


def shapes_of(model):
    return model_folder.param_shapes(model)


def empty(shapes):
    """Arrays of shapes that take no memory."""
    return jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), shapes)


@pytest.mark.parametrize("name", TINY)
def test_weights_come_back_as_they_were_published(name):
    manifest = json.loads((FIXTURES / "manifest_tiny.json").read_text())[name]
    published = {key: tensor(f"{name}/{key}", shape) for key, shape in manifest.items()}
    shapes = shapes_of(MODELS[name])
    params = from_pytorch(published, shapes)
    written = to_pytorch(params)
    assert written.keys() == published.keys()
    for key, array in published.items():
        assert written[key].dtype == np.float32
        np.testing.assert_array_equal(written[key], array, key, strict=True)
    again = from_pytorch(written, shapes)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), params, again)


@pytest.mark.parametrize("name", FULL)
def test_full_models_have_the_published_names_and_shapes(name):
    shapes = shapes_of(MODELS[name])
    written = to_pytorch(empty(shapes))
    again = from_pytorch(written, shapes)
    assert jax.tree.map(np.shape, again) == jax.tree.map(lambda s: s.shape, shapes)
    path = FIXTURES / "manifest_base.json"
    if name != "base" and not (path := RELEASED).exists():
        pytest.skip(f"{path} is not there, which has the names of this model")
    manifest = json.loads(path.read_text())
    found = {key: list(array.shape) for key, array in written.items()}
    assert found == manifest.get(name, manifest)


def test_layouts_by_hand():
    kernel = np.arange(6.0).reshape(2, 3)  # 2 inputs, 3 outputs
    params = {
        "text_encoder": {"project": {"kernel": kernel, "bias": np.arange(3.0)}},
        "unet": {
            "middle_block_1": {"qkv": {"kernel": kernel}, "norm": {"scale": np.arange(2.0)}},
            "middle_block_0": {"skip": {"kernel": kernel[None, None]}},
        },
    }
    written = to_pytorch(params)
    assert written["transformer_proj.weight"][2, 1] == kernel[1, 2]
    assert written["transformer_proj.weight"].shape == (3, 2)
    assert written["middle_block.1.qkv.weight"].shape == (3, 2, 1)
    assert written["middle_block.0.skip_connection.weight"].shape == (3, 2, 1, 1)
    np.testing.assert_array_equal(written["middle_block.1.norm.weight"], [0, 1])
    for path in ("unet/middle_block_1/qkv/kernel", "unet/middle_block_1/out/kernel"):
        np.testing.assert_array_equal(our_layout(path, kernel.T[..., None]), kernel)


def test_leaf_without_a_published_name_is_refused():
    with pytest.raises(ValueError, match="no parameter for unet/extra/kernel"):
        to_pytorch({"unet": {"extra": {"kernel": np.zeros((2, 3))}}})
