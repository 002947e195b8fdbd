"""Guidance by a noised CLIP: its gradient, the pictures it leads to, folders, the command line."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sample
from glide_jax import NoisedClip, Pipeline, checkpoint, model_folder, sampling
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import by_similarity, classifier_free
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import reverse_trajectory
from glide_jax.images import read_settings, to_uint8
from glide_jax.models import clip, text2im
from tests import tiny
from tests.programs import calls, equations

PROMPTS = ["a red circle", "two small green stars"]
SETTINGS = {"steps": 6, "seed": 5, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def pipeline(params, tokenizer):
    return Pipeline(tiny.MODEL, params, tokenizer)


@pytest.fixture(scope="module")
def clip_params():
    return tiny.random_params(3, tiny.CLIP) | {"logit_scale": np.log(np.float32(100))}


@pytest.fixture(scope="module")
def critic(clip_params, tokenizer):
    return NoisedClip(tiny.CLIP, clip_params, tokenizer)


def close(a, b):
    """Equal but for the rounding of sums that another batch size orders otherwise."""
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= 1


@jax.jit
def similarity(params, images, captions):
    """Of clean pictures, uint8 [B, H, W, 3], and as many captions' tokens and mask."""
    x, t = images / 127.5 - 1, jnp.zeros(len(images), jnp.int32)
    text = clip.text_embedding(tiny.CLIP, params, *captions)
    return clip.similarity(params, clip.image_embedding(tiny.CLIP, params, x, t), text)


def test_the_score_is_the_scaled_gradient_of_each_picture_s_own_similarity():
    rng = np.random.default_rng(0)
    x, goal = rng.standard_normal((2, 3, 4, 4, 1)).astype(np.float32)
    t = np.array([0, 500, 999], np.int32)

    def towards(x, t):  # a Gaussian's log density, narrower with t
        return -jnp.sum((x - goal) ** 2, axis=(1, 2, 3)) * (1 + t)

    expected = 2 * (goal - x) * (1 + t)[:, None, None, None]
    for scale in (0.0, 1.0, np.float32([0, 0.5, -2])):
        found = by_similarity(towards, scale)(x, t)
        np.testing.assert_allclose(found, np.reshape(scale, (-1, 1, 1, 1)) * expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["ancestral", "dpmpp"])
def test_guided_pictures_fit_their_captions_better(
    pipeline, critic, clip_params, tokenizer, sampler
):
    settings = SETTINGS | {"num": 2, "sampler": sampler}
    plain = pipeline.text_to_image(PROMPTS, **settings)
    led = pipeline.text_to_image(PROMPTS, clip=critic, clip_guidance_scale=1.0, **settings)
    captions = tokenizer.encode(list(np.repeat(PROMPTS, 2)))
    before, after = (similarity(clip_params, images, captions) for images in (plain, led))
    assert (after > before + 5).all()


@pytest.mark.long
def test_scale_zero_is_exactly_the_unguided_picture(pipeline, critic):
    plain = pipeline.text_to_image(PROMPTS, **SETTINGS)
    none = pipeline.text_to_image(PROMPTS, clip=critic, clip_guidance_scale=0.0, **SETTINGS)
    np.testing.assert_array_equal(none, plain)
    hair = pipeline.text_to_image(PROMPTS, clip=critic, clip_guidance_scale=1e-7, **SETTINGS)
    assert close(hair, plain)
    assert not close(pipeline.text_to_image(PROMPTS, clip=critic, **SETTINGS), plain)


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_it_composes_with_classifier_free_guidance_at_original_timesteps(
    pipeline, critic, tokenizer, sampler
):
    clip_params = critic.network.params
    found = pipeline.text_to_image(
        PROMPTS[:1], clip=critic, clip_guidance_scale=0.5, sampler=sampler, **SETTINGS
    )
    conditions = [
        text2im.encode_text(tiny.MODEL, pipeline.params, *tokenizer.encode([caption]))
        for caption in (PROMPTS[0], "")
    ]
    text = clip.text_embedding(tiny.CLIP, clip_params, *tokenizer.encode(PROMPTS[:1]))[0]

    def denoise(x, t):
        network = partial(text2im.denoise, tiny.MODEL, pipeline.params)
        return classifier_free(network, 2.0)(x, t, conditions)

    def score(x, t):
        def cosine(x):
            image = clip.image_embedding(tiny.CLIP, clip_params, x, t)[0]
            return image @ text / jnp.sqrt((image @ image) * (text @ text))

        led = sampler == "ancestral" or t[0] < 900
        return jnp.where(led, 0.5 * 100 * jax.grad(cosine)(x), 0.0)

    schedule = respace(make_schedule(tiny.MODEL.schedule, 1000), spaced_timesteps(1000, 6))
    key = jax.random.key(5)
    start = jax.random.normal(jax.random.fold_in(key, sampling.FIRST), (1, tiny.SIDE, tiny.SIDE, 3))
    stepper = {"ancestral": steppers.ancestral, "ddim": steppers.ddim}[sampler]()
    run = jax.jit(
        lambda x: samplers.sample(
            denoise, x, key[None], reverse_trajectory(schedule), stepper, score_fn=score
        )
    )
    assert close(found, to_uint8(run(start)))


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpmpp"])
def test_a_clip_leads_samplers_without_noise_only_where_there_is_a_picture(
    pipeline, critic, sampler, monkeypatch
):
    pieces = []

    def stub(carry, rows, whole, judge, **static):
        pieces.append((judge, rows[1], whole[1], whole[3].t))
        return carry

    monkeypatch.setattr(sampling, "_run", stub)
    pipeline.text_to_image(PROMPTS, clip=critic, **SETTINGS | {"sampler": sampler, "steps": 20})
    for judge, text, params, t in pieces:
        led = [judge is not None, text is not None, params is not None]
        assert led == [sampler == "ancestral" or t.max() < 900] * 3
    assert pieces[0][3].max() == 999 and pieces[-1][3].min() < 10


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpmpp"])
def test_the_shipped_clip_does_not_spoil_pictures(sampler):
    shapes, shapes_clip = Pipeline.load("shapes32"), NoisedClip.load("shapes-clip")
    settings = {"sampler": sampler, "steps": 12, "guidance_scale": 1.0, "num": 8}
    plain = shapes.text_to_image(PROMPTS[:1], **settings)
    led = shapes.text_to_image(PROMPTS[:1], clip=shapes_clip, clip_guidance_scale=1.0, **settings)
    assert not close(led, plain)
    rough = [np.abs(np.diff(images.astype(int), axis=1)).mean() for images in (plain, led)]
    assert rough[1] < 1.5 * rough[0]


@pytest.mark.long
def test_pictures_do_not_depend_on_the_batch_or_the_devices(
    pipeline, critic, clip_params, params, tokenizer
):
    together = pipeline.text_to_image(PROMPTS, num=3, clip=critic, **SETTINGS)
    first = jax.local_devices()[:1]
    alone = Pipeline(tiny.MODEL, params, tokenizer, devices=first)
    own = NoisedClip(tiny.CLIP, clip_params, tokenizer, devices=first)
    again = alone.text_to_image(PROMPTS[1:], num=3, clip=own, batch_size=1, **SETTINGS)
    assert close(together[3:], again)
    assert not close(together[4:5], together[5:])


def dtypes_in(program, name):
    """Those of the results within a program's calls of the jitted function of this name."""
    called = [eqn for eqn in equations(program) if eqn.params.get("name") == name]
    inner = [eqn for call in called for eqn in equations(call.params["jaxpr"].jaxpr)]
    return {str(result.aval.dtype) for eqn in inner for result in eqn.outvars}


def test_a_step_is_one_call_of_each_network_in_one_scan(
    pipeline, clip_params, tokenizer, monkeypatch
):
    half = NoisedClip(tiny.CLIP, clip_params, tokenizer, dtype="bfloat16")
    for module, name in (
        (text2im, "denoise"),
        (clip, "image_embedding"),
        (clip, "text_embedding"),
    ):
        jitted = jax.jit(getattr(module, name), static_argnums=0, static_argnames="dtype")
        monkeypatch.setattr(module, name, jitted)
    programs, original = [], sampling._run.__wrapped__
    encoded, encode = [], sampling._encode

    def traced(*arguments, guided, **static):
        run = partial(original, guided=guided, **static)
        programs.append(jax.make_jaxpr(run)(*arguments).jaxpr)
        return arguments[0]

    def counted(*arguments, **static):
        encoded.append(static["encode"])
        return encode(*arguments, **static)

    monkeypatch.setattr(sampling, "_run", traced)
    monkeypatch.setattr(sampling, "_encode", counted)
    pipeline.text_to_image(PROMPTS, clip=half, **SETTINGS)
    (program,) = programs
    assert encoded.count(clip.text_embedding) == 1 and calls(program, "text_embedding") == 0
    scans = [eqn for eqn in equations(program) if eqn.primitive.name == "scan"]
    assert [scan.params["length"] for scan in scans] == [6]
    # The CLIP is gone through forwards and, for its gradient, backwards.
    for name, number in (("denoise", 1), ("image_embedding", 2)):
        assert calls(scans[0].params["jaxpr"].jaxpr, name) == calls(program, name) == number
    # Each in the precision that it was loaded in.
    assert "bfloat16" in dtypes_in(program, "image_embedding")
    assert "bfloat16" not in dtypes_in(program, "denoise")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": replace(tiny.CLIP.image, image_size=16)}, "image_size is 16, the model's 32"),
        ({"schedule": "linear"}, "schedule is 'linear', the model's 'squaredcos_cap_v2'"),
        ({"timesteps": 500}, "timesteps is 500, the model's 1000: choose a CLIP that was made"),
    ],
)
def test_a_clip_of_other_pictures_is_refused(pipeline, tokenizer, change, message):
    model = replace(tiny.CLIP, **change)
    other = NoisedClip(model, tiny.random_params(0, model), tokenizer)
    with pytest.raises(ValueError, match=message):
        pipeline.text_to_image(PROMPTS, clip=other)


def test_what_cannot_guide_is_named(pipeline, critic, clip_params, tokenizer):
    elsewhere = NoisedClip(tiny.CLIP, clip_params, tokenizer, devices=jax.local_devices()[1:])
    with pytest.raises(ValueError, match="the CLIP is on .*1, the model on .*0, .*1: give both"):
        pipeline.text_to_image(PROMPTS, clip=elsewhere)
    with pytest.raises(ValueError, match="clip_guidance_scale is nan; it must be a finite number"):
        pipeline.text_to_image(PROMPTS, clip=critic, clip_guidance_scale=np.nan)


def test_an_ordinary_clip_fits_a_model_of_any_noise(pipeline, tokenizer):
    model = replace(tiny.CLIP, timesteps=0, schedule="linear")
    NoisedClip(model, tiny.random_params(0, model), tokenizer).check_fits(pipeline.network)


def test_scores_are_the_cosines_of_clean_pictures(critic, clip_params, tokenizer):
    images = np.random.default_rng(0).integers(0, 256, (3, tiny.SIDE, tiny.SIDE, 3), np.uint8)
    prompts = [PROMPTS[0], PROMPTS[1], "a blue star"]
    expected = similarity(clip_params, images, tokenizer.encode(prompts)) / 100
    np.testing.assert_allclose(critic.scores(images, prompts), expected, atol=1e-5)
    # Other sizes are brought to the CLIP's, and of several a prompt those of one are side by side.
    large = images[[0, 1, 1, 0]].repeat(2, axis=1).repeat(2, axis=2)
    captions = tokenizer.encode([PROMPTS[i] for i in (0, 0, 1, 1)])
    expected = similarity(clip_params, images[[0, 1, 1, 0]], captions) / 100
    np.testing.assert_allclose(critic.scores(large, PROMPTS), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


@pytest.fixture(scope="module")
def folders(params, clip_params, tokenizer, tmp_path_factory):
    """A model and a CLIP for it, as model folders."""
    folder = tmp_path_factory.mktemp("models")
    model_folder.save_model(folder / "model", tiny.MODEL, tokenizer, params)
    model_folder.save_model(folder / "clip", tiny.CLIP, tokenizer, clip_params)
    return folder


def test_a_clip_comes_back(folders, clip_params, tokenizer):
    model, read, restored = checkpoint.load_model(folders / "clip", kind="clip")
    assert model == tiny.CLIP and read.to_json() == tokenizer.to_json()
    jax.tree.map(np.testing.assert_array_equal, restored, clip_params)
    assert json.loads((folders / "clip" / "config.json").read_text())["kind"] == "clip"


def test_a_caption_is_followed_by_one_command(folders, pipeline, critic, tmp_path):
    options = ["--model", str(folders / "model"), "--steps", "6", "--seed", "5"]
    led = ["--clip-model", str(folders / "clip"), "--clip-scale", "0.5"]
    sample.main([PROMPTS[0], "--out", str(tmp_path / "led"), *options, *led])
    path = tmp_path / "led" / "0000-5.png"
    settings = read_settings(path)
    assert settings["clip"] == str(folders / "clip") and settings["clip_guidance_scale"] == 0.5
    expected = pipeline.text_to_image(
        PROMPTS[:1], steps=6, seed=5, clip=critic, clip_guidance_scale=0.5
    )
    with Image.open(path) as image:
        assert close(np.asarray(image)[None], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--model", "{clip}"],
            "{clip} holds a CLIP, which goes to --clip-model; here a diffusion",
        ),
        (
            ["--clip-model", "{model}"],
            "{model} holds a diffusion model, .* --model; here a CLIP is",
        ),
        (["--clip-model", "shapes32"], "shapes32 holds a diffusion model"),
        (["--clip-model", "corgi"], "there is no model 'corgi'"),
        (["--clip-scale", "5"], "--clip-scale is 5.0, but no CLIP guides: say --guide clip or"),
    ],
)
def test_the_wrong_kind_of_model_is_refused_in_a_sentence(folders, options, message):
    names = {name: str(folders / name) for name in ("model", "clip")}
    options = [option.format(**names) for option in options]
    if "--model" not in options:
        options += ["--model", names["model"]]
    with pytest.raises(ValueError, match=message.format(**names)):
        sample.main(["x", *options])


def test_a_folder_that_says_no_kind_holds_a_diffusion_model(folders, tmp_path):
    path = tmp_path / "config.json"
    described = json.loads((folders / "model" / "config.json").read_text())
    path.write_text(json.dumps({name: described[name] for name in described if name != "kind"}))
    tokenizer = (folders / "model" / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    assert model_folder.load_description(tmp_path)[0] == tiny.MODEL
