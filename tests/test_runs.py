"""Runs that are gone on with: which fields of a recipe may change, and which may not."""

from dataclasses import replace

from glide_jax import config
from glide_jax.training import runs
from tests import tiny

# What neither a checkpoint nor the stream of examples depends on.
MAY_CHANGE = (
    *("name", "steps", "dtype", "parallel", "remat", "caption_dropout", "erase", "low_res"),
    *("log_every", "checkpoint_every", "sample_every", "sample_steps", "loggers"),
    *("keep", "keep_every", "keep_best", "data.path", "data.workers"),
    *("optim.learning_rate", "optim.warmup_steps", "optim.decay", "optim.final_fraction"),
    *("optim.beta1", "optim.beta2", "optim.weight_decay", "optim.clip_norm"),
    *("optim.accumulate", "optim.skip_nonfinite"),
)


def test_every_field_of_a_recipe_may_change_or_not():
    names = [name for name, _ in runs._flat(config.to_dict(replace(tiny.RECIPE, keep_every=1)))]
    found = {
        name: [each for each in (*runs.FIXED, *MAY_CHANGE) if f"{name}.".startswith(f"{each}.")]
        for name in names
    }
    assert {name: each for name, each in found.items() if len(each) != 1} == {}
    assert {each for (each,) in found.values()} == {*runs.FIXED, *MAY_CHANGE}
