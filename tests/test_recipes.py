"""Every recipe in configs/ can be built: its shapes, its optimizer, and what its docstring says."""

import jax
import pytest

from glide_jax.training import runs
from glide_jax.training.optimizer import make_learning_rate, trained_parameters
from glide_jax.training.tasks import Diffusion
from train import CONFIGS, load_recipe

RECIPES = sorted(CONFIGS.glob("[!_]*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_built(path, tmp_path):
    recipe, docstring = load_recipe(path)
    assert recipe.name == path.stem
    assert f"python train.py {path.relative_to(CONFIGS.parent)}" in docstring
    # The model of a recipe is the published base model by default; that one is not here.
    if recipe.init_from != "glide-base":
        recipe, _ = runs.adopt_model(recipe, tmp_path)
    params = jax.eval_shape(Diffusion(recipe).init, jax.random.key(0))
    assert any(jax.tree.leaves(trained_parameters(params, recipe.optim)))
    assert 0 < make_learning_rate(recipe)(recipe.steps // 2) <= recipe.optim.learning_rate
