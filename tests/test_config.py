"""Recipes: to and from JSON, and what they refuse."""

import json

import pytest

from configs import shapes32
from configs import tiny as tiny_config
from glide_jax.config import (
    Data,
    Diffusion,
    Erase,
    LowRes,
    Optim,
    Recipe,
    TextEncoder,
    UNet,
    from_dict,
    to_dict,
)


@pytest.mark.parametrize("recipe", [shapes32.get_config(), tiny_config.get_config(), Recipe("x")])
def test_a_recipe_survives_json(recipe):
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe
    assert hash(recipe) == hash(from_dict(Recipe, to_dict(recipe)))


def test_an_unknown_field_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"Diffusion has no field 'shedule'; it has unet, text"):
        from_dict(Diffusion, {"shedule": "linear"})


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="Recipe lacks the field 'name'"):
        from_dict(Recipe, {"steps": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "cosine"}, "'cosine' is not allowed; allowed: 'linear', 'squaredcos_cap_v2'"),
        ({"timesteps": "many"}, "'many' is not of the type"),
        ({"unet": []}, r"UNet must be an object with fields, not \[\]"),
        ({"unet": {"channel_mult": ["wide"]}}, "'wide' is not of the type"),
        ({"unet": {"channel_mult": 3}}, "3 is not of the type"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Diffusion, values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: UNet(model_channels=48),
            "UNet.model_channels is 48; allowed: multiples of norm_groups, 32",
        ),
        (lambda: UNet(image_size=36), "UNet.image_size is 36; allowed: multiples of 8"),
        (lambda: UNet(channel_mult=()), r"UNet.channel_mult is \(\)"),
        (lambda: UNet(attention_resolutions=(7,)), "is 7; allowed: of"),
        (lambda: UNet(head_channels=40), "UNet.head_channels is 40; allowed: divisors of 384"),
        (
            lambda: UNet(channel_mult=(2, 3), model_channels=32, attention_resolutions=()),
            "UNet.head_channels is 64; allowed: divisors of 96, the width at side 32",
        ),
        (lambda: UNet(low_res_size=-3), "UNet.low_res_size is -3; allowed: 1 or more"),
        (
            lambda: UNet(low_res_size=24),
            "UNet.image_size is 64; allowed: multiples of low_res_size",
        ),
        (lambda: Erase(boxes=0.5), "the sum of Erase's shares is 1.15; allowed: 1"),
        (lambda: Erase(-0.5, 0.5, 0.5, 0.5), "Erase.boxes is -0.5; allowed: 0 or more"),
        (lambda: LowRes(noise=-1), "LowRes.noise is -1; allowed: 0 or more, and finite"),
        (lambda: UNet(dropout=1.0), "UNet.dropout is 1.0"),
        (
            lambda: Data(path="x"),
            "Data.path is 'x'; allowed: None, for the source shapes has no use for it",
        ),
        (
            lambda: Data(flip=True),
            "Data.flip is True; allowed: False, for the source shapes has no use for it",
        ),
        (
            lambda: Data(source="folder", path="x", split="test"),
            "Data.split is 'test'; allowed: 'train', for the source folder has no use for it",
        ),
        (lambda: Data(tiers=(2, 4)), r"Data.tiers is \(2, 4\); allowed: one or more of 1, 2 and 3"),
        (
            lambda: Data(source="folder", path="x", tiers=(2,)),
            r"Data.tiers is \(2,\); allowed: \(1, 2, 3\), for the source folder has no use for it",
        ),
        (
            lambda: Recipe("x", timestep_sampler="logit_normal", logit_normal=(0.0, 0.0)),
            r"Recipe.logit_normal is \(0.0, 0.0\); allowed: a finite mean and a finite stand",
        ),
        (
            lambda: Recipe("x", logit_normal=(1.0, 1.0)),
            r"Recipe.logit_normal is \(1.0, 1.0\); allowed: \(0.0, 1.0\), unless timestep_sam",
        ),
        (lambda: Data(workers=-1), "Data.workers is -1; allowed: 0 or more"),
        (lambda: Diffusion(timesteps=20), "Diffusion.timesteps is 20; allowed: 21 or more"),
        (lambda: Optim(learning_rate=float("inf")), "Optim.learning_rate is inf"),
        (lambda: Recipe("x", seed=2**32), "Recipe.seed is 4294967296; allowed: 0 to 4294967295"),
        (lambda: TextEncoder(heads=7), "TextEncoder.width is 512; allowed: multiples of heads"),
        (lambda: Optim(learning_rate=0), "Optim.learning_rate is 0; allowed: above 0"),
        (
            lambda: Optim(ema_decays=(0.9, 1.0)),
            r"Optim.ema_decays is \(0.9, 1.0\); allowed: one or more different numbers",
        ),
        (lambda: Recipe("x", steps=0), "Recipe.steps is 0; allowed: 1 or more"),
        (lambda: Recipe("x", caption_dropout=1.5), "caption_dropout is 1.5; allowed: 0 to 1"),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
