"""Programs of trainings: shared where they are the same, and only there."""

from dataclasses import fields, replace

import jax.numpy as jnp
import pytest

from glide_jax import compiling
from glide_jax.config import Data, Recipe
from glide_jax.layouts import LAYOUTS
from glide_jax.training import programs
from glide_jax.training.programs import make_programs, programs_of
from tests import tiny

# What a training's programs do not depend on, each with another value than the recipe's.
ELSEWHERE = {
    "name": "other",
    "data": Data(seed=5),
    "batch_size": 16,
    "seed": 3,
    "log_every": 7,
    "checkpoint_every": 7,
    "sample_every": 7,
    "sample_steps": 7,
    "keep": 7,
    "keep_every": 7,
    "keep_best": "loss",
    "loggers": ("tensorboard",),
    "init_from": "shapes32",
}
INSTEAD = {"text_from": "shapes-text"}  # of init_from
INPAINT = replace(tiny.MODEL, unet=replace(tiny.MODEL.unet, inpaint=True, low_res_size=16))
RECIPE = replace(tiny.RECIPE, model=INPAINT)
OTHER = {
    "model": replace(INPAINT, schedule="linear"),
    "optim": replace(RECIPE.optim, learning_rate=5e-4),
    "timestep_sampler": "loss_second_moment",
    "logit_normal": (1.0, 0.5),
    "loss_weighting": "min_snr",
    "caption_dropout": 0.3,
    "steps": 41,
    "dtype": "bfloat16",
    "parallel": "fsdp",
    "remat": "blocks",
    "erase": replace(RECIPE.erase, boxes=1.0, half_planes=0.0, strokes=0.0, whole=0.0),
    "low_res": replace(RECIPE.low_res, blur=1.0),
}


def test_every_field_is_of_one_kind():
    names = [field.name for field in fields(Recipe)]
    assert sorted([*ELSEWHERE, *INSTEAD, *OTHER]) == sorted(names)


def test_what_programs_do_not_depend_on_does_not_make_others():
    changed = replace(RECIPE, **ELSEWHERE, optim=replace(RECIPE.optim, skip_nonfinite=3))
    assert make_programs(changed) is make_programs(RECIPE)
    assert make_programs(replace(RECIPE, **INSTEAD)) is make_programs(RECIPE)


@pytest.mark.parametrize("name", OTHER)
def test_what_they_depend_on_does(name):
    recipe = RECIPE
    if name == "logit_normal":
        recipe = replace(RECIPE, timestep_sampler="logit_normal")
    changed = replace(recipe, **{name: OTHER[name]})
    assert make_programs(changed) is not make_programs(recipe)


def test_a_task_is_made_for_the_precision_and_the_axis_of_its_step(monkeypatch):
    made, task_of = [], programs.task_of
    monkeypatch.setattr(programs, "task_of", lambda *given: made.append(given) or task_of(*given))
    for name, layout in LAYOUTS.items():
        recipe = replace(tiny.RECIPE, parallel=name)
        programs_of.__wrapped__(recipe, jnp.bfloat16)
        assert made.pop() == (recipe, jnp.bfloat16, layout.axis_name)


def test_a_step_is_compiled_so_that_what_is_to_be_computed_anew_is(monkeypatch):
    told = []
    layout = LAYOUTS["pmap"]._replace(step=lambda step, shapes, options: told.append(options))
    monkeypatch.setitem(LAYOUTS, "pmap", layout)
    for remat in ("none", "blocks"):
        programs_of.__wrapped__(replace(tiny.RECIPE, remat=remat), jnp.float32)
    assert told == [None, compiling.for_gradients("cpu", "blocks")] != [None, None]
