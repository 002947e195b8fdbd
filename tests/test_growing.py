"""A model grown to inpaint: it computes what its parent did; its training begins and goes on."""

import dataclasses
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from glide_jax import checkpoint, model_folder
from glide_jax.models import text2im
from glide_jax.models.growing import FIRST, grow_for_inpainting
from glide_jax.models.unet import input_channels, to_patches
from glide_jax.training import runs
from glide_jax.training.log import read_metrics
from tests import tiny
from tests.test_cli import CONFIG, train

SHORT = (
    *("--model.unet.inpaint", "--batch-size", "4", "--checkpoint-every", "1"),
    *("--log-every", "1", "--sample-every", "2", "--optim.warmup-steps", "1"),
)


def with_unet(model, **values):
    return dataclasses.replace(model, unet=dataclasses.replace(model.unet, **values))


def shapes(tree):
    return jax.tree.map(np.shape, tree)


def drawn_inputs(model, number=2):
    """Random inputs of `text2im.denoise` for a model that inpaints."""
    rng = np.random.default_rng(0)
    x, _, cond = text2im.example_inputs(model, number)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32)  # noqa: E731
    x, cond = draw(x), jax.tree.map(draw, cond)
    cond["inpaint_mask"] = np.float32(cond["inpaint_mask"] > 0)
    return x, np.array([3, 700], np.int32), cond


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("model", [tiny.MODEL, tiny.UPSAMPLER], ids=["base", "upsampler"])
def test_the_first_convolution_sees_what_it_saw(model, patch):
    parent = with_unet(model, patch=patch)
    child = with_unet(parent, inpaint=True)
    params = tiny.random_params(2, parent)
    grown = grow_for_inpainting(params, patch)
    assert shapes(grown) == shapes(model_folder.param_shapes(child))
    x, _, cond = drawn_inputs(child)

    @jax.jit
    def first(params, cond):
        channels = to_patches(input_channels(x, child.unet.image_size, **cond), patch)
        kernel = params["unet"][FIRST]["kernel"]
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            channels, kernel, (1, 1), "SAME", dimension_numbers=names
        )

    old = {name: cond[name] for name in cond if name == "low_res"}
    np.testing.assert_allclose(first(grown, cond), first(params, old), atol=2e-6)
    # What it is not to see yet it can see: all channels of the mask are there to be trained.
    opened = jax.tree.map(lambda leaf: leaf + 0.1, grown)
    other = cond | {"inpaint_mask": 1 - cond["inpaint_mask"]}
    assert (np.abs(first(opened, cond) - first(opened, other)) > 1e-3).any()


@pytest.mark.parametrize("model", [tiny.MODEL, tiny.UPSAMPLER], ids=["base", "upsampler"])
def test_the_grown_model_is_its_parent_for_any_picture_and_mask(model, tokenizer):
    params, child = tiny.random_params(2, model), with_unet(model, inpaint=True)
    x, t, cond = drawn_inputs(child)
    captions = tokenizer.encode(["a red circle", ""])

    @partial(jax.jit, static_argnums=0)
    def denoise(model, params, pictures):
        text = text2im.encode_text(model, params, *captions)
        return text2im.denoise(model, params, jnp.asarray(x), t, text | pictures)

    old = {name: cond[name] for name in cond if name == "low_res"}
    before, after = (
        denoise(model, params, old),
        denoise(child, grow_for_inpainting(params, 1), cond),
    )
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(after, before, atol=1e-6 * np.abs(before).max())


@pytest.mark.long
def test_a_training_grows_its_parent_and_goes_on(tmp_path, tokenizer, params):
    parent, run = tmp_path / "parent", tmp_path / "run"
    model_folder.save_model(parent, tiny.MODEL, tokenizer, params)
    arguments = [CONFIG, "--init-from", str(parent), "--run", str(run), *SHORT, "--steps", "2"]
    train.main(arguments)
    model, _, trained = checkpoint.load_model(run)
    assert model == with_unet(tiny.MODEL, inpaint=True)
    kernel, old = (tree["unet"][FIRST]["kernel"] for tree in (trained, params))
    assert np.abs(kernel[:, :, 3:]).max() > 0  # the new channels learn
    assert 0 < np.abs(kernel[:, :, :3] - old).max() < 0.01
    shutil.rmtree(run / "checkpoints" / "2")
    train.main(arguments)
    again = checkpoint.load_model(run)[2]
    jax.tree.map(np.testing.assert_array_equal, again, trained)
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    evaluated = [row for row in rows if "eval_loss" in row]
    assert all(np.isfinite(row["eval_loss"]) and row["caption_gap"] for row in evaluated)
    assert (run / "samples" / "00000002.png").exists()


def test_a_run_that_was_not_grown_is_not_gone_on_with_as_if_it_were(
    tmp_path, tokenizer, params, monkeypatch
):
    parent, run = tmp_path / "parent", epath.Path(tmp_path / "run")
    model_folder.save_model(parent, tiny.MODEL, tokenizer, params)
    recipe = dataclasses.replace(tiny.RECIPE, init_from=str(parent))
    asking = dataclasses.replace(recipe, model=with_unet(tiny.MODEL, inpaint=True))
    adopted, _ = runs.adopt_model(recipe, run)
    runs.prepare(adopted, run, tiny.SOURCE, tokenizer)
    monkeypatch.setattr(runs, "_has_checkpoint", lambda run: True)
    adopted, parent = runs.adopt_model(asking, run)
    assert parent is None
    with pytest.raises(ValueError, match="model.unet.inpaint False, not True: choose another"):
        runs.prepare(adopted, run, tiny.SOURCE)
