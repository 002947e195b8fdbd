"""Pipeline.upsample: the published second stage, a second way; from the command line, too."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sample
from glide_jax import Pipeline, model_folder, sampling
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import reverse_trajectory
from glide_jax.images import read_settings, to_uint8
from glide_jax.models import text2im
from tests import tiny

PROMPTS = ["a red circle", "two small green stars"]
SMALL = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)


def read_image(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def upsampler(tokenizer):
    return Pipeline(tiny.UPSAMPLER, tiny.random_params(1, tiny.UPSAMPLER), tokenizer)


def close(a, b):
    """Equal but for the rounding of sums that another batch size orders otherwise."""
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= 1


@pytest.mark.long
def test_the_defaults_are_the_published_second_stage(upsampler):
    found = upsampler.upsample(SMALL[:1], PROMPTS[:1], seed=5)
    cond = text2im.encode_text(
        tiny.UPSAMPLER, upsampler.params, *upsampler.tokenizer.encode(PROMPTS[:1])
    )
    cond |= {"low_res": jnp.asarray(SMALL[:1] / 127.5 - 1, jnp.float32)}
    denoise = partial(text2im.denoise, tiny.UPSAMPLER, upsampler.params, cond=cond)
    schedule = respace(make_schedule("linear", 1000), spaced_timesteps(1000, "fast27"))
    trajectory = reverse_trajectory(schedule)
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(5), sampling.FIRST), (1, 32, 32, 3))
    run = jax.jit(lambda x: samplers.sample(denoise, x, None, trajectory, steppers.ddim()))
    assert close(found, to_uint8(run(0.997 * noise)))
    assert not close(found, to_uint8(run(noise)))


def test_each_picture_keeps_its_caption_seed_and_low_resolution(upsampler):
    settings = {"steps": 3, "guidance_scale": 2.0}
    together = upsampler.upsample(SMALL, PROMPTS, seed=7, **settings)
    assert together.shape == (4, 32, 32, 3) and together.dtype == np.uint8
    # The second picture of the second caption, alone.
    alone = upsampler.upsample(SMALL[3:], PROMPTS[1:], seed=8, batch_size=1, **settings)
    assert close(together[3:], alone)
    other = upsampler.upsample(SMALL[2:3], PROMPTS[1:], seed=8, **settings)
    assert not close(alone, other)


@pytest.mark.parametrize(
    ("images", "prompts", "message"),
    [
        (SMALL[:, :8], PROMPTS, r"images are uint8 \[4, 8, 16, 3\]; they must be uint8 \[N, 16"),
        (SMALL / 255, PROMPTS, r"images are float64"),
        (SMALL[:3], PROMPTS, "there are 3 images for 2 prompts"),
        (SMALL, [], "there are 4 images for 0 prompts"),
    ],
)
def test_pictures_that_do_not_fit_are_named(upsampler, images, prompts, message):
    with pytest.raises(ValueError, match=message):
        upsampler.upsample(images, prompts)


def test_a_model_of_the_other_kind_says_so(upsampler, params, tokenizer):
    with pytest.raises(ValueError, match="the model is an upsampler"):
        upsampler.text_to_image(PROMPTS)
    with pytest.raises(ValueError, match="the model is a base model"):
        Pipeline(tiny.MODEL, params, tokenizer).upsample(SMALL, PROMPTS)


@pytest.fixture(scope="module")
def folders(upsampler, params, tokenizer, tmp_path_factory):
    """A base model of 16 pixels and the upsampler to 32, as model folders."""
    folder = tmp_path_factory.mktemp("models")
    base = replace(tiny.MODEL, unet=replace(tiny.MODEL.unet, image_size=16))
    model_folder.save_model(folder / "base", base, tokenizer, params)
    model_folder.save_model(folder / "up", tiny.UPSAMPLER, tokenizer, upsampler.params)
    return folder


def test_a_caption_becomes_a_large_picture_by_one_command(folders, tmp_path):
    options = ["--model", str(folders / "base"), "--steps", "2", "--seed", "3"]
    out = ["--out", str(tmp_path / "small"), *options]
    sample.main([PROMPTS[0], *out])
    large = ["--upsampler", str(folders / "up"), "--upsampling.steps", "3"]
    sample.main([PROMPTS[0], "--out", str(tmp_path / "large"), *options, *large])
    settings = read_settings(tmp_path / "large" / "0000-3.png")
    assert settings["upsampling"]["steps"] == "3" and settings["upsampler"].endswith("up")
    small, found = (read_image(tmp_path / size / "0000-3.png") for size in ("small", "large"))
    expected = Pipeline.load(folders / "up").upsample(small[None], PROMPTS[:1], steps=3, seed=3)
    assert close(found[None], expected)


def test_an_upsampler_that_does_not_fit_is_refused(folders):
    for name, message in (
        ("base", "is no upsampler; .* draws 16 pixels"),
        ("up", "enlarges pictures of 16"),
    ):
        model = "shapes32" if name == "up" else str(folders / "base")
        with pytest.raises(ValueError, match=message):
            sample.main(["x", "--model", model, "--upsampler", str(folders / name)])
