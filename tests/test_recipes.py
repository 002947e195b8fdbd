"""Every recipe in configs/ can be built: its shapes, its optimizer, and what its docstring says."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from glide_jax import cli, model_folder
from glide_jax.config import Data
from glide_jax.models.text2im import count_parameters
from glide_jax.training import runs
from glide_jax.training.optimizer import make_learning_rate, trained_parameters
from glide_jax.training.tasks import Diffusion, task_of
from train import CONFIGS, Arguments, load_recipe

# Parents that are not here: recipes that start from them are built with their own model.
ELSEWHERE = ("glide-base", "runs/captioned")
RECIPES = sorted(path for path in CONFIGS.glob("[!_]*.py") if path.stem != "eval_coco")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_built(path, tmp_path):
    recipe, docstring = load_recipe(path)
    assert recipe.name == path.stem
    assert f"python train.py {path.relative_to(CONFIGS.parent)}" in docstring
    if recipe.init_from not in ELSEWHERE:
        recipe, _ = runs.adopt_model(recipe, tmp_path)
    assert task_of(recipe).model == recipe.model
    params = model_folder.param_shapes(recipe.model)
    assert any(jax.tree.leaves(trained_parameters(params, recipe.optim)))
    assert 0 < make_learning_rate(recipe)(recipe.steps // 2) <= recipe.optim.learning_rate


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("upsample256", 398_361_286, 398_361_286), ("shapes_upsample", 1, 1_300_000)],
)
def test_upsamplers_have_the_sizes_that_are_said(name, least, most):
    recipe, _ = load_recipe(CONFIGS / f"{name}.py")
    assert least <= count_parameters(model_folder.param_shapes(recipe.model)) <= most
    assert recipe.model.schedule == "linear"


@pytest.mark.parametrize(
    ("name", "text_encoder", "unet"),
    [("base64", 76_695_808, 308_334_918), ("base64_paper", 1_316_249_600, 2_238_164_486)],
)
def test_base_models_have_the_sizes_of_the_published_one_and_of_the_paper_s(
    name, text_encoder, unet
):
    recipe, _ = load_recipe(CONFIGS / f"{name}.py")
    sizes = {
        n: count_parameters(part) for n, part in model_folder.param_shapes(recipe.model).items()
    }
    # GLIDE, section 4: 2.3 and 1.2 billion, without the table of tokens; published: 385 million.
    assert sizes == {"text_encoder": text_encoder, "unet": unet}


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("noised_clip", 158_123_265, 158_123_265),
        ("shapes_clip", 1_600_000, 2_000_000),
        ("shapes_clip_eval", 800_000, 1_000_000),
    ],
)
def test_clips_have_the_sizes_that_are_said(name, least, most):
    recipe, _ = load_recipe(CONFIGS / f"{name}.py")
    assert least <= count_parameters(model_folder.param_shapes(recipe.model)) <= most


def test_the_clip_that_guides_shapes_fits_and_the_one_that_judges_is_another():
    base, guide, judge = (
        load_recipe(CONFIGS / f"{name}.py")[0]
        for name in ("shapes32", "shapes_clip", "shapes_clip_eval")
    )
    for name in ("image_size", "schedule", "timesteps"):
        assert getattr(guide.model, name) == getattr(base.model, name)
    assert judge.model.timesteps == 0 and judge.model.image_size == base.model.image_size
    assert judge.seed != guide.seed and judge.data.seed != guide.data.seed
    assert judge.model.image.width != guide.model.image.width


def test_the_upsampler_of_shapes_reads_captions_as_its_base_model_does():
    small, large = (load_recipe(CONFIGS / f"{n}.py")[0] for n in ("shapes32", "shapes_upsample"))
    assert large.model.text == small.model.text
    assert large.caption_dropout == small.caption_dropout
    assert large.data == dataclasses.replace(small.data, tiers=large.data.tiers)
    assert large.model.unet.low_res_size == small.model.unet.image_size


@pytest.mark.parametrize("name", ["shapes32", "shapes_upsample"])
def test_a_recipe_that_inpaints_fits_its_parent(name, tmp_path, monkeypatch):
    child = "inpaint_finetune" if name == "shapes32" else "inpaint_upsample_finetune"
    parent = load_recipe(CONFIGS / f"{name}.py")[0].model
    recipe, _ = load_recipe(CONFIGS / f"{child}.py")
    shapes = model_folder.param_shapes(parent)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    monkeypatch.setattr(runs.checkpoint, "load_model", lambda _, kind: (parent, None, params))
    recipe, (_, grown) = runs.adopt_model(recipe, tmp_path)
    assert recipe.model.unet == dataclasses.replace(parent.unet, inpaint=True)
    wanted = jax.eval_shape(Diffusion(recipe).init, jax.random.key(0))
    assert jax.tree.map(np.shape, grown) == jax.tree.map(np.shape, wanted)


@pytest.mark.parametrize("name", ["cfg_finetune", "inpaint_finetune"])
def test_the_options_that_are_said_to_take_your_own_pictures_do(name):
    recipe, docstring = load_recipe(CONFIGS / f"{name}.py")
    said = r"--data.source folder --data.path DIR[-. a-z0-9]*(?= your own pictures)"
    options = re.search(said, " ".join(docstring.split())).group().split()
    parsed = cli.parse(Arguments, options, "train.py", docstring, Arguments(recipe))
    assert parsed.recipe.data == Data(source="folder", path="DIR")
