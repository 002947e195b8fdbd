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
from glide_jax.data import shapes
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import reverse_trajectory
from glide_jax.fitting import bicubic
from glide_jax.images import read_settings, to_uint8
from glide_jax.models import text2im
from glide_jax.settings import default_strength
from tests import tiny
from train import CONFIGS, load_recipe

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
def test_from_noise_alone_the_defaults_are_the_published_second_stage(upsampler):
    assert default_strength(load_recipe(CONFIGS / "upsample256.py")[0].model) == 1
    found = upsampler.upsample(SMALL[:1], PROMPTS[:1], seed=5, strength=1)
    run, noise, _ = first_by_hand(upsampler, spaced_timesteps(1000, "fast27"))
    assert close(found, to_uint8(run(0.997 * noise)))
    assert not close(found, to_uint8(run(noise)))


def first_by_hand(upsampler, timesteps):
    """A DDIM run of the first picture, its noise, and alphas_cumprod where the run begins."""
    cond = text2im.encode_text(
        tiny.UPSAMPLER, upsampler.params, *upsampler.tokenizer.encode(PROMPTS[:1])
    )
    cond |= {"low_res": jnp.asarray(SMALL[:1] / 127.5 - 1, jnp.float32)}
    denoise = partial(text2im.denoise, tiny.UPSAMPLER, upsampler.params, cond=cond)
    schedule = respace(make_schedule("linear", 1000), timesteps)
    trajectory = reverse_trajectory(schedule)
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(5), sampling.FIRST), (1, 32, 32, 3))
    run = jax.jit(lambda x: samplers.sample(denoise, x, None, trajectory, steppers.ddim()))
    return run, noise, schedule.alphas_cumprod[-1]


@pytest.mark.parametrize("strength", [None, 0.5])
def test_with_less_noise_it_begins_from_the_picture_itself(upsampler, strength):
    found = upsampler.upsample(SMALL[:1], PROMPTS[:1], seed=5, steps=11, strength=strength)
    part = strength or 0.3  # the default of small ones
    steps = np.array([t for t in range(0, 1000, 100) if t < 1000 * part])
    run, noise, level = first_by_hand(upsampler, steps)
    with Image.fromarray(SMALL[0]) as image:
        large = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
    x = np.sqrt(level) * (large[None] / 127.5 - 1) + np.sqrt(1 - level) * noise
    assert close(found, to_uint8(run(jnp.float32(x))))
    assert not close(found, to_uint8(run(jnp.float32(noise))))


@pytest.mark.parametrize("strength", [0.0, 1.01, float("nan")])
def test_a_part_of_the_noise_that_is_none_is_named(upsampler, strength):
    message = f"strength is {strength}; it must be above 0 and at most 1"
    with pytest.raises(ValueError, match=message):
        upsampler.upsample(SMALL, PROMPTS, strength=strength)


def test_each_picture_keeps_its_caption_seed_and_low_resolution(upsampler):
    settings = {"steps": 3, "guidance_scale": 2.0}
    together = upsampler.upsample(SMALL, PROMPTS, seed=7, **settings)
    assert together.shape == (4, 32, 32, 3) and together.dtype == np.uint8
    # The second picture of the second caption, alone.
    alone = upsampler.upsample(SMALL[3:], PROMPTS[1:], seed=8, batch_size=1, **settings)
    assert close(together[3:], alone)
    other = upsampler.upsample(SMALL[2:3], PROMPTS[1:], seed=8, **settings)
    assert not close(alone, other)


def test_the_one_that_ships_comes_closer_to_real_pictures_than_bicubic_interpolation():
    examples = [shapes.example(i, 0, "test", 64) for i in range(8)]
    real = np.float32([example.image for example in examples])
    small = np.uint8(np.rint(real.reshape(8, 32, 2, 32, 2, 3).mean(axis=(2, 4))))
    captions = [example.caption for example in examples]
    found = Pipeline.load("shapes-upsample").upsample(small, captions, steps=5, batch_size=8)
    plain = np.stack([bicubic(image, 64, 64) for image in small])
    errors = [np.square(images - real).mean(axis=(1, 2, 3)) for images in (found, plain)]
    gain = 10 * np.log10(errors[1] / errors[0])  # of each picture, in dB
    assert gain.mean() > 5 and gain.min() > 3


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


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("sampler", "dpmpp", "steps is 'fast27'; for dpmpp it must be a number"),
        ("steps", "many", "respacing must be .*, not 'many'"),
        ("strength", "0", "strength is 0.0; it must be above 0"),
        ("eta", "2", "eta is 2.0; it must be from 0 to 1"),
        ("batch-size", "0", "batch_size is 0; it must be 1 or more"),
    ],
)
def test_how_to_enlarge_is_checked_before_anything_is_drawn(
    folders, option, value, message, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(Pipeline, "text_to_image", lambda *_, **__: drawn.append(1))
    own = ["--model", str(folders / "base"), "--out", str(tmp_path / "large")]
    options = [PROMPTS[0], *own, f"--upsampling.{option}", value]
    with pytest.raises(ValueError, match=f"of --upsampling .*{message}"):
        sample.main([*options, "--upsampler", str(folders / "up")])
    with pytest.raises(ValueError, match="--upsampling is given, but no --upsampler"):
        sample.main(options)
    assert not drawn and not list(tmp_path.iterdir())


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
