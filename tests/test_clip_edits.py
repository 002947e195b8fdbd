"""A CLIP that leads edits, by every sampler: against a loop over the steps, one gradient each."""

from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
import pytest

from glide_jax import NoisedClip, Pipeline, sampling
from glide_jax.diffusion import gaussian, samplers, steppers
from glide_jax.diffusion.inpainting import replace_known
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.images import to_uint8
from glide_jax.models import clip, text2im
from glide_jax.settings import Settings
from tests import tiny

MODEL = tiny.SMALLER
INPAINTER = replace(MODEL, unet=replace(MODEL.unet, inpaint=True))
SIDE = MODEL.unet.image_size
NOISED = replace(tiny.CLIP, image=replace(tiny.CLIP.image, image_size=SIDE))
ORDINARY = replace(NOISED, timesteps=0)
PROMPT, SCALE, SEED = "a red circle", 2.0, 7
IMAGE = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
MASK = np.ones((1, SIDE, SIDE), bool)
MASK[:, 4:12, 4:12] = False
KNOWN = np.float32(IMAGE) / 127.5 - 1, np.float32(MASK)[..., None]
STEPPERS = {
    "ancestral": steppers.ancestral,
    "ddim": partial(steppers.ddim, 0.5),
    "dpmpp": steppers.dpm_solver_pp_2m,
}


@pytest.fixture(scope="module")
def pipelines(tokenizer):
    return {m: Pipeline(m, tiny.random_params(model=m), tokenizer) for m in (MODEL, INPAINTER)}


@pytest.fixture(scope="module")
def critics(tokenizer):
    return {
        m: NoisedClip(m, tiny.random_params(3, m) | {"logit_scale": np.float32(4)}, tokenizer)
        for m in (NOISED, ORDINARY)
    }


@cache
def score_of(critic):
    """(x, t) -> the gradient of exp(logit_scale) * cosine, a noised CLIP's at t."""
    model, params = critic.network.model, critic.network.params
    text = clip.text_embedding(model, params, *critic.tokenizer.encode([PROMPT]))[0]

    def cosine(x, t):
        image = clip.image_embedding(model, params, x, t)[0]
        return image @ text / jax.numpy.sqrt((image @ image) * (text @ text))

    gradient = jax.jit(jax.grad(cosine))
    return lambda x, t: np.exp(4) * gradient(x, t if model.timesteps else 0 * t)


@cache
def denoiser_of(pipeline):
    """(x, t) -> the network's output under the caption."""
    model = pipeline.model
    sees = {"inpaint_image": KNOWN[0], "inpaint_mask": KNOWN[1]} if model.unet.inpaint else {}
    captions = pipeline.tokenizer.encode([PROMPT])
    cond = text2im.encode_text(model, pipeline.params, *captions) | sees
    return jax.jit(lambda x, t: text2im.denoise(model, pipeline.params, x, t, cond))


def led_by_loop(pipeline, critic, settings, known=None, scale=SCALE):
    """The picture that a loop over the steps draws; the settings are those of a run."""
    model, denoise, score = pipeline.model, denoiser_of(pipeline), score_of(critic)
    stepper, run = STEPPERS[settings.sampler](), settings.trajectory(model)
    keys = jax.random.key(SEED)[None]
    x = samplers.normal(samplers.fold_in(keys, sampling.FIRST), (SIDE, SIDE, 3))
    if settings.strength < 1:
        here = run.here
        x = here.sqrt_one_minus_alphas_cumprod[0] * x + here.sqrt_alphas_cumprod[0] * KNOWN[0]
    state = stepper.init(x)
    for step in range(len(run.t)):
        entry = jax.tree.map(lambda leaf, step=step: leaf[step], run)
        t = np.full(1, entry.t, np.int32)
        eps, fraction = gaussian.split_output(denoise(x, t))
        x_0, led = gaussian.predict_x_0(x, eps, entry.here), scale * score(x, t)
        if known == "model":
            x_0 = np.where(MASK[..., None], KNOWN[0], x_0)
        if settings.sampler != "ancestral" and entry.t >= 900:  # docs/guidance.md
            led = np.zeros_like(led)
        if known is not None:
            led = np.where(MASK[..., None], 0, led)
        own = samplers.fold_in(keys, entry.number)
        noise = samplers.normal(own, (SIDE, SIDE, 3)) if stepper.noisy else None
        prediction = steppers.Prediction(np.clip(x_0, -1, 1), fraction, led)
        state, x = stepper.step(state, x, prediction, entry, noise)
        if known == "replace":
            put_back = replace_known(*KNOWN, make_schedule(model.schedule, model.timesteps))
            x = put_back(x, np.full(1, entry.t_next), samplers.fold_in(own, 1))
    return to_uint8(x)


def run_of(sampler, **more):
    """How a run is sampled, as the Pipeline and as the loop take it."""
    how = {"guidance_scale": 1.0, "sampler": sampler, "steps": 6}
    return how | ({"eta": 0.5} if sampler == "ddim" else {}) | more


def check(made, loop):
    """Asserts that it is the loop's picture but for rounding, and not the one that nothing led."""
    assert np.abs(made.astype(int) - loop()).max() <= 1
    assert np.abs(made.astype(int) - loop(scale=0)).mean() > 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "kept_by", "critic", "sampler"),
    [(MODEL, "replace", ORDINARY, "dpmpp"), (INPAINTER, "model", NOISED, "ancestral")],
)
def test_inpainting_is_led_where_it_draws(pipelines, critics, model, kept_by, critic, sampler):
    pipeline, own, how = pipelines[model], critics[critic], run_of(sampler)
    led = {"clip": own, "clip_guidance_scale": SCALE, "seed": SEED}
    made = pipeline.inpaint(IMAGE, MASK, [PROMPT], method=kept_by, **how, **led)
    check(made, partial(led_by_loop, pipeline, own, Settings(**how), kept_by))
    np.testing.assert_array_equal(made[MASK], IMAGE[MASK])


@pytest.mark.long
def test_sdedit_is_led(pipelines, critics):
    pipeline, own, how = pipelines[MODEL], critics[NOISED], run_of("ddim", strength=0.8)
    led = {"clip": own, "clip_guidance_scale": SCALE, "seed": SEED}
    made = pipeline.image_to_image(IMAGE, [PROMPT], **how, **led)
    check(made, partial(led_by_loop, pipeline, own, Settings(**how)))


def test_each_edit_is_led(pipelines, critics):
    led = {"clip": critics[NOISED], "clip_guidance_scale": SCALE, "method": "model"}
    own = run_of("ancestral", seed=SEED)
    made = pipelines[INPAINTER].edit(IMAGE[0], [(MASK[0], PROMPT)], **own, **led)
    once = pipelines[INPAINTER].inpaint(IMAGE, MASK, [PROMPT], **own, **led)
    np.testing.assert_array_equal(made, once)


def test_an_inversion_is_led_on_the_way_down_alone(pipelines, critics, monkeypatch):
    judges = []
    monkeypatch.setattr(
        sampling, "_run", lambda carry, *_, judge, **more: judges.append(judge) or carry
    )
    pipelines[MODEL].image_to_image(
        *(IMAGE, [PROMPT]), edit_from=[""], steps=4, clip=critics[ORDINARY], seed=SEED
    )
    assert judges[0] is None and judges[-1][0] == ORDINARY
