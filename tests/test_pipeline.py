"""Pipeline: the same picture at any batch size, guidance, samplers, and what is refused."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import Pipeline, model_folder
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import classifier_free
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import reverse_trajectory
from glide_jax.images import to_uint8
from glide_jax.models import text2im
from glide_jax.sampling import FIRST, pieces
from glide_jax.settings import default_steps
from glide_jax.text.tokenizer import NoTokenizer
from tests import tiny

STEPS = 3
PROMPTS = ["a red circle", "two small green stars"]


@pytest.fixture(scope="module")
def pipeline(params, tokenizer):
    return Pipeline(tiny.MODEL, params, tokenizer)


def draw(pipeline, prompts, **settings):
    return pipeline.text_to_image(
        prompts, **{"sampler": "ddim", "steps": STEPS, "seed": 5} | settings
    )


def close(a, b):
    """Equal but for the rounding of sums that another batch size orders otherwise."""
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_pictures_come_prompt_by_prompt_and_do_not_depend_on_the_batch(pipeline):
    # Random weights push values far out, so rounding shows where one is about to change sides;
    # none of these seeds' does.
    together = draw(pipeline, PROMPTS, num=3, seed=11)
    assert together.shape == (6, tiny.SIDE, tiny.SIDE, 3) and together.dtype == np.uint8
    assert close(draw(pipeline, PROMPTS, num=3, seed=11, batch_size=4), together)
    assert close(draw(pipeline, PROMPTS[1:], num=1, seed=13), together[5:])
    assert not close(together[:1], together[1:2])
    assert not close(together[:1], together[3:4])


def test_guidance_goes_from_the_empty_caption_to_the_given_one(pipeline):
    empty = draw(pipeline, [""], guidance_scale=1.0)
    caption = draw(pipeline, PROMPTS[:1], guidance_scale=1.0)
    assert close(draw(pipeline, PROMPTS[:1], guidance_scale=0.0), empty)
    # Scale 1 makes one network branch, 1 + a hair makes two.
    assert close(draw(pipeline, PROMPTS[:1], guidance_scale=1 + 1e-6), caption)
    assert not close(caption, empty)
    same = draw(pipeline, PROMPTS[:1], negative_prompt=PROMPTS[0], guidance_scale=5.0)
    assert close(same, caption)


@pytest.mark.long
def test_guidance_in_an_interval_is_guidance_at_its_timesteps_alone(pipeline):
    settings = {"guidance_scale": 4.0, "steps": 6, "seed": 5}
    found = draw(pipeline, PROMPTS[:1], guidance_interval=(200, 700), **settings)
    denoise = partial(text2im.denoise, tiny.MODEL, pipeline.params)
    cond, uncond = (
        text2im.encode_text(tiny.MODEL, pipeline.params, *pipeline.tokenizer.encode([caption]))
        for caption in (PROMPTS[0], "")
    )

    def mixed(x, t):
        both = classifier_free(denoise, 4.0)(x, t, (cond, uncond))
        within = (t >= 200) & (t <= 700)
        return jnp.where(within[:, None, None, None], both, denoise(x, t, cond))

    schedule = respace(make_schedule(tiny.MODEL.schedule, 1000), spaced_timesteps(1000, 6))
    trajectory = reverse_trajectory(schedule)
    assert [200 <= t <= 700 for t in trajectory.t] == [False, False, True, True, True, False]
    start = jax.random.normal(jax.random.fold_in(jax.random.key(5), FIRST), (tiny.SIDE,) * 2 + (3,))
    expected = jax.jit(lambda x: samplers.sample(mixed, x, None, trajectory, steppers.ddim()))
    assert close(found, to_uint8(expected(start[None])))
    everywhere = draw(pipeline, PROMPTS[:1], guidance_interval=(0, 999), **settings)
    assert close(everywhere, draw(pipeline, PROMPTS[:1], **settings))
    assert not close(everywhere, found)


def test_steps_outside_the_interval_do_not_compute_the_other_branch(pipeline, monkeypatch):
    plans = []
    monkeypatch.setattr(
        "glide_jax.sampling._run",
        lambda carry, rows, whole, guided, **static: plans.append((guided, rows[0])) or carry,
    )
    draw(pipeline, PROMPTS[:1], steps=6, guidance_interval=(200, 700))
    assert [guided for guided, _ in plans] == [False, True, False]
    assert [isinstance(cond, tuple) for _, cond in plans] == [False, True, False]


def test_few_steps_are_the_default_where_pictures_are_small(pipeline, monkeypatch):
    lengths = []
    monkeypatch.setattr(
        "glide_jax.sampling._run",
        lambda carry, rows, whole, **static: lengths.append(len(whole[3].t)) or carry,
    )
    pipeline.text_to_image(PROMPTS[:1])
    assert sum(lengths) == 27
    large = replace(tiny.MODEL, unet=replace(tiny.MODEL.unet, image_size=64))
    assert default_steps(large) == 100


def test_a_dynamic_threshold_tames_strong_guidance(pipeline):
    settings = {"guidance_scale": 30.0, "steps": 8}
    plain = draw(pipeline, PROMPTS, **settings)
    tamed = draw(pipeline, PROMPTS, dynamic_threshold=0.8, **settings)
    saturated = [np.isin(images, (0, 255)).mean() for images in (plain, tamed)]
    assert saturated[1] < 0.8 * saturated[0]


@pytest.mark.parametrize("settings", [{"sampler": "ancestral"}, {"sampler": "dpmpp"}, {"eta": 1.0}])
def test_samplers_differ_and_repeat(pipeline, settings):
    images = draw(pipeline, PROMPTS[:1], **settings)
    np.testing.assert_array_equal(images, draw(pipeline, PROMPTS[:1], **settings))
    assert not close(images, draw(pipeline, PROMPTS[:1]))


@pytest.mark.parametrize("steps", [*range(1, 60), 97, 100, 250, 1000])
def test_a_progress_bar_never_breaks_the_loop_into_single_steps(steps):
    plan = pieces(steps)
    lengths = [stop - start for start, stop in plan]
    assert plan[0][0] == 0 and plan[-1][1] == steps
    assert all(a[1] == b[0] for a, b in pairwise(plan))
    assert min(lengths) >= min(4, steps) and len(lengths) <= 12 and len(set(lengths)) <= 2


def test_a_long_caption_is_counted_once(pipeline):
    long = " ".join(["red"] * 60)
    with pytest.warns(UserWarning, match="1 of 2 captions were cut") as warned:
        draw(pipeline, [long, "x"], num=3, batch_size=4)
    assert len(warned) == 1


def test_without_a_tokenizer_there_are_pictures_but_no_captions(pipeline):
    other = Pipeline(tiny.MODEL, pipeline.params, NoTokenizer(tiny.MODEL.text))
    np.testing.assert_array_equal(draw(other, [""], num=2), draw(pipeline, [""], num=2))
    for prompts, negative in (["", "red"], ""), ([""], "red"):
        with pytest.raises(ValueError, match="the model has no tokenizer, .* for 'red'"):
            draw(other, prompts, negative_prompt=negative)


def test_progress_counts_every_step_of_every_picture(pipeline, capfd):
    draw(pipeline, PROMPTS, num=3, steps=14, batch_size=3, progress=True)
    shown = capfd.readouterr().err
    # Two devices make batches of three into batches of four, the second of which is filled up.
    assert f"{8 * 14}/{8 * 14}" in shown


def test_a_saved_model_draws_the_same(pipeline, tmp_path):
    model_folder.save_model(tmp_path, tiny.MODEL, pipeline.tokenizer, pipeline.params)
    loaded = Pipeline.load(tmp_path)
    np.testing.assert_array_equal(draw(loaded, PROMPTS), draw(pipeline, PROMPTS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": []}, "there is no prompt"),
        ({"num": 0}, "num is 0; it must be 1 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan; it must be a finite number"),
        ({"guidance_interval": (700, 200)}, "guidance_interval is 700 to 200; it must be from one"),
        ({"guidance_interval": (-1, 200)}, "guidance_interval is -1 to 200"),
        ({"dynamic_threshold": 0.0}, "dynamic_threshold is 0.0; it must be above 0 and at most 1"),
        ({"dynamic_threshold": 99.5}, "dynamic_threshold is 99.5"),
        ({"sampler": "euler"}, "sampler is 'euler'; it must be one of ancestral, ddim, dpmpp"),
        ({"eta": 2.0}, "eta is 2.0; it must be from 0 to 1"),
        ({"prompts": "a red circle"}, "prompts is the string 'a red circle'; it must be a list"),
        ({"steps": 0}, "respacing '0' .*1 to 1000 are allowed"),
        ({"steps": "many"}, "respacing must be .*, not 'many'"),
        ({"steps": 1001}, "respacing '1001' .*1 to 1000 are allowed"),
        ({"steps": 1001, "sampler": "dpmpp"}, "number of steps must be in 1..1000, not 1001"),
        ({"steps": "fast27", "sampler": "dpmpp"}, "for dpmpp it must be a number"),
    ],
)
def test_bad_arguments_are_named(pipeline, settings, message):
    arguments = {"prompts": PROMPTS} | settings
    with pytest.raises(ValueError, match=message):
        draw(pipeline, **arguments)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_of_another_dtype_is_made_on_request(dtype, pipeline):
    half = Pipeline(tiny.MODEL, pipeline.params, pipeline.tokenizer, dtype=dtype)
    a, b = (draw(p, PROMPTS[:1]).astype(float) for p in (half, pipeline))
    assert half.dtype == dtype
    assert 0 < np.abs(a - b).mean() < 20
