"""FID's Inception: layers against slow loops, its size, its weights' file, torch-fidelity."""

import importlib.util
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.models import inception
from glide_jax.models.text2im import count_parameters
from glide_jax.released import inception as released
from glide_jax.released import torch_file
from glide_jax.released.names import their_layout


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(inception.init, jax.random.key(0))


@pytest.fixture(scope="module")
def params(shapes):
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name, values = path[-1].key, rng.standard_normal(leaf.shape, np.float32)
        if name == "kernel":
            return values * np.sqrt(2 / np.prod(leaf.shape[:-1]), dtype=np.float32)
        if name in ("var", "scale"):  # so that numbers neither grow nor vanish over the layers
            return rng.uniform(0.7, 1.3, leaf.shape).astype(np.float32)
        return 0.2 * values

    return jax.tree_util.tree_map_with_path(draw, shapes)


def their_names(params):
    """A tree of ours as the port names and lays it out, but for those counts that are not used."""
    state_dict = {}
    for keys, array in jax.tree_util.tree_flatten_with_path(params)[0]:
        *module, leaf = (key.key for key in keys)
        own = "" if module == ["fc"] else {"kernel": "conv."}.get(leaf, "bn.")
        leaf = {"kernel": "weight", "scale": "weight", "mean": "running_mean"}.get(leaf, leaf)
        leaf = "running_var" if leaf == "var" else leaf
        path = "/".join(key.key for key in keys)
        state_dict[f"{'.'.join(module)}.{own}{leaf}"] = their_layout(path, array)
    return state_dict


@pytest.fixture(scope="module")
def weights(params, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    state_dict = their_names(params)
    for name in [name for name in state_dict if name.endswith("running_var")]:
        state_dict[name.replace("running_var", "num_batches_tracked")] = np.array(0)
    torch_file.write(path, state_dict)
    return path


def slow_resize(x, side):
    """As TensorFlow's kernel of 2015, pixel by pixel."""
    height, width, channels = x.shape
    out = np.zeros((side, side, channels))
    for i in range(side):
        for j in range(side):
            y, z = i * height / side, j * width / side
            t, left = int(y), int(z)
            b, right = min(t + 1, height - 1), min(left + 1, width - 1)
            above = x[t, left] + (x[t, right] - x[t, left]) * (z - left)
            below = x[b, left] + (x[b, right] - x[b, left]) * (z - left)
            out[i, j] = above + (below - above) * (y - t)
    return out


@pytest.mark.parametrize(("height", "width", "side"), [(4, 6, 9), (9, 5, 4), (7, 7, 7)])
def test_resizing_is_tensorflow_1s(height, width, side):
    x = np.random.default_rng(1).uniform(0, 255, (1, height, width, 2)).astype(np.float32)
    np.testing.assert_allclose(inception.resize(x, side)[0], slow_resize(x[0], side), atol=1e-3)


def test_a_resized_ramp_keeps_its_first_pixel_and_repeats_its_last():
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    expected = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    np.testing.assert_array_equal(inception.resize(x, 8)[0, 0, :, 0], expected)


@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), (2, "VALID")])
def test_a_convolution_with_its_norm_is_that_of_loops(stride, padding):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 5, 6, 2), np.float32)
    layer = inception.Conv(3, 3, 1, stride, padding)
    own = {"kernel": rng.standard_normal((3, 1, 2, 3), np.float32)}
    own |= {name: rng.uniform(0.5, 2, 3).astype(np.float32) for name in ("scale", "bias", "var")}
    own["mean"] = rng.standard_normal(3, np.float32)
    padded = np.pad(x[0], ((1, 1), (0, 0), (0, 0))) if padding == "SAME" else x[0]
    rows = range(0, len(padded) - 2, stride)
    sums = np.array(
        [
            [np.einsum("hc,hcd->d", padded[i : i + 3, j], own["kernel"][:, 0]) for j in columns]
            for i, columns in ((i, range(0, 6, stride)) for i in rows)
        ]
    )
    normed = (sums - own["mean"]) / np.sqrt(own["var"] + 0.001) * own["scale"] + own["bias"]
    found = layer.apply({"params": own}, x)[0]
    np.testing.assert_allclose(found, np.maximum(normed, 0), atol=1e-5)
    assert (np.asarray(found) == 0).any()


def test_pools_do_not_count_what_is_beyond_the_rim():
    x = np.random.default_rng(3).uniform(-2, -1, (1, 4, 5, 1)).astype(np.float32)
    near = lambda i, j: x[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]  # noqa: E731
    for pool, of in ((inception.avg_pool, np.mean), (inception.max_pool, np.max)):
        pooled = pool(x) if pool is inception.avg_pool else pool(x, padding="SAME")
        expected = [[of(near(i, j)) for j in range(5)] for i in range(4)]
        np.testing.assert_allclose(pooled[0, ..., 0], expected, rtol=1e-6)


def test_the_last_block_alone_takes_the_maximum():
    x = jnp.asarray(np.random.default_rng(4).uniform(0, 1, (1, 3, 3, 4)), jnp.float32)
    mean, last = (inception.BlockE(is_last=is_last) for is_last in (False, True))
    params = mean.init(jax.random.key(0), x)["params"]
    one, other = (block.apply({"params": params}, x) for block in (mean, last))
    np.testing.assert_array_equal(one[..., :-192], other[..., :-192])
    pooled = inception.Conv(192).apply({"params": params["branch_pool"]}, inception.avg_pool(x))
    np.testing.assert_allclose(one[..., -192:], pooled, atol=1e-6)
    assert np.abs(one - other).max() > 0.01


def test_it_has_the_published_networks_size(shapes):
    kernels = [leaf for leaf in jax.tree.leaves(shapes) if leaf.ndim == 4]
    channels = sum(leaf.shape[-1] for leaf in kernels)
    assert len(kernels) == 94 and channels == 17_216
    # torchvision's, without its second head, has 23,834,568 for 1,000 classes; eight more cost
    # 2,049 each. It does not count the means and variances.
    assert count_parameters(shapes) == 23_834_568 + 8 * 2049 + 2 * channels
    image = jax.ShapeDtypeStruct((2, 32, 40, 3), jnp.uint8)
    out = jax.eval_shape(inception.apply, shapes, image)
    assert {name: leaf.shape for name, leaf in out.items()} == {
        "features": (2, 2048),
        "logits": (2, 1008),
    }


def test_weights_come_from_the_ports_file_or_are_refused(params, weights, tmp_path):
    jax.tree.map(np.testing.assert_array_equal, released.load(weights), params)
    assert {"Mixed_7c.branch3x3dbl_3b.bn.running_var", "fc.bias"} < {*their_names(params)}
    fewer = their_names({name: params[name] for name in params if name != "Mixed_6a"})
    torch_file.write(tmp_path / "other.pth", fewer)
    with pytest.raises(ValueError, match="not FID's Inception .* not filled: .'Mixed_6a/br"):
        released.load(tmp_path / "other.pth")


HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "torch_fidelity"))


@pytest.mark.skipif(not HAS_TORCH, reason="torch and torch-fidelity are not installed")
def test_it_is_torch_fidelitys_network(params, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        names = ["2048", "logits_unbiased"]
        # Version 0.3 leaves it in training mode.
        theirs = FeatureExtractorInceptionV3("inception", names, str(weights)).eval()
    image = np.random.default_rng(5).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    with torch.no_grad():
        features, logits = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    found = jax.jit(inception.apply)(params, image)
    for own, expected in ((found["features"], features), (found["logits"], logits)):
        np.testing.assert_allclose(own, expected.numpy(), atol=1e-4 * np.abs(expected).max().item())
    assert features.std() > 0.01
