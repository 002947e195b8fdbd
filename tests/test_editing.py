"""Pictures made from pictures, by tiny models: what is kept, what is given, where a run begins."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import Pipeline, editing, pipeline, sampling
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.drawing import Order
from glide_jax.settings import Settings
from tests import tiny

MODEL = tiny.SMALLER
INPAINTER = replace(MODEL, unet=replace(MODEL.unet, inpaint=True))
UPSAMPLER = replace(INPAINTER, unet=replace(INPAINTER.unet, low_res_size=8), schedule="linear")
SIDE = MODEL.unet.image_size
PROMPTS = ["a red circle", "two blue squares"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
MASKS = np.ones((2, SIDE, SIDE), bool)
MASKS[0, 4:12, 4:12] = MASKS[1, :, 8:] = False


@pytest.fixture(scope="module")
def base(tokenizer):
    return Pipeline(MODEL, tiny.random_params(model=MODEL), tokenizer)


@pytest.fixture(scope="module")
def inpainter(tokenizer):
    return Pipeline(INPAINTER, tiny.random_params(model=INPAINTER), tokenizer)


@pytest.fixture(scope="module")
def upsampler(tokenizer):
    return Pipeline(UPSAMPLER, tiny.random_params(model=UPSAMPLER), tokenizer)


@pytest.mark.parametrize("method", ["replace", "repaint"])
def test_any_model_keeps_known_pixels_and_draws_the_others(base, method):
    settings = {"steps": 8, "method": method, "jump_length": 2, "resamplings": 2}
    made = base.inpaint(IMAGES, MASKS, PROMPTS, seed=3, **settings)
    assert made.dtype == np.uint8 and made.shape == IMAGES.shape
    np.testing.assert_array_equal(made[MASKS], IMAGES[MASKS])
    assert np.abs(made[~MASKS].astype(int) - IMAGES[~MASKS]).mean() > 20
    other = base.inpaint(IMAGES, MASKS, PROMPTS, seed=4, **settings)
    assert (made[~MASKS] != other[~MASKS]).mean() > 0.5


def test_a_picture_depends_on_its_own_image_mask_prompt_and_seed_alone(base):
    settings = {"steps": 4, "sampler": "dpmpp", "method": "replace"}
    both = base.inpaint(IMAGES, MASKS, PROMPTS, num=2, seed=[5, 9], **settings)
    alone = base.inpaint(IMAGES[1:], MASKS[1:], PROMPTS[1:], seed=10, **settings)
    assert len(both) == 4
    assert np.abs(both[3].astype(int) - alone[0]).max() <= 1
    np.testing.assert_array_equal(both[:2][:, MASKS[0]], IMAGES[[0, 0]][:, MASKS[0]])


def test_a_model_that_inpaints_sees_the_kept_pixels_only(inpainter):
    made = inpainter.inpaint(IMAGES, MASKS, PROMPTS, steps=4)
    # Known pixels are set in the last step's x_0, which is the picture.
    np.testing.assert_array_equal(made[MASKS], IMAGES[MASKS])
    hidden = np.where(MASKS[..., None], IMAGES, 255 - IMAGES)
    np.testing.assert_array_equal(inpainter.inpaint(hidden, MASKS, PROMPTS, steps=4), made)
    other = np.where(MASKS[..., None], 255 - IMAGES, IMAGES)
    seen = inpainter.inpaint(other, MASKS, PROMPTS, steps=4)
    assert (seen[~MASKS] != made[~MASKS]).mean() > 0.1


def test_with_nothing_kept_it_draws_what_the_caption_alone_gives(inpainter):
    nothing = np.zeros_like(MASKS)
    made = inpainter.inpaint(IMAGES, nothing, PROMPTS, steps=4, guidance_scale=3.0)
    alone = inpainter.text_to_image(PROMPTS, steps=4, guidance_scale=3.0)
    np.testing.assert_array_equal(made, alone)


def test_an_upsampler_sees_all_of_the_small_picture_and_keeps_known_large_ones(upsampler):
    small = RNG.integers(0, 256, (2, 8, 8, 3), np.uint8)
    settings = {"steps": "4", "known": (IMAGES, MASKS)}
    made = upsampler.upsample(small, PROMPTS, **settings)
    np.testing.assert_array_equal(made[MASKS], IMAGES[MASKS])
    other = upsampler.upsample(255 - small, PROMPTS, **settings)
    assert (made[~MASKS] != other[~MASKS]).mean() > 0.1
    hidden = np.where(MASKS[..., None], IMAGES, 255 - IMAGES)
    again = upsampler.upsample(small, PROMPTS, steps="4", known=(hidden, MASKS))
    np.testing.assert_array_equal(again, made)
    # As published: known pixels are drawn around by the ancestral sampler, others by DDIM.
    np.testing.assert_array_equal(
        made, upsampler.upsample(small, PROMPTS, sampler="ancestral", **settings)
    )
    plain = upsampler.upsample(small, PROMPTS, steps="4")
    np.testing.assert_array_equal(
        plain, upsampler.upsample(small, PROMPTS, steps="4", sampler="ddim")
    )


def distance(made):
    return np.abs(made.astype(int) - IMAGES).mean()


def test_sdedit_leaves_less_of_the_picture_the_stronger_it_is(base):
    near, far = (
        base.image_to_image(IMAGES, PROMPTS, strength=s, steps=20, sampler="ddim") for s in (0.1, 1)
    )
    assert distance(near) < 0.5 * distance(far)


def test_sdedit_begins_from_the_picture_noised_as_far_as_its_first_step(base, monkeypatch):
    begun = []
    monkeypatch.setattr(
        sampling, "_run", lambda carry, rows, whole, **static: begun.append((carry, whole)) or carry
    )
    base.image_to_image(IMAGES[:1], [""], strength=0.5, steps=10, num=400, batch_size=400)
    carry, (*_, piece) = begun[0]
    assert piece.t[0] == max(t for t in np.linspace(0, 999, 10).round() if t < 500)
    a = make_schedule(MODEL.schedule).alphas_cumprod[piece.t[0]]
    noise = np.asarray(carry.x) - np.sqrt(a) * (IMAGES[0] / 127.5 - 1)
    assert abs(noise.std() / np.sqrt(1 - a) - 1) < 0.01
    assert np.abs(noise.mean(axis=0)).max() < 6 * np.sqrt((1 - a) / 400)


def test_inversion_under_the_same_caption_gives_the_picture_back_and_another_one_changes_it(base):
    # Smooth pictures: a random network's path is followed by small steps only.
    smooth = np.full_like(IMAGES, 128)
    smooth[:, 4:12, 4:12] = 150
    settings = {"edit_from": PROMPTS, "guidance_scale": 1.0, "strength": 0.3}
    errors = {}
    for steps in (20, 100):
        settings["steps"] = steps
        same = base.image_to_image(smooth, PROMPTS, **settings)
        errors[steps] = np.abs(same.astype(int) - smooth).mean()
    assert errors[100] < 0.6 * errors[20]
    other = base.image_to_image(smooth, PROMPTS[::-1], **settings)
    assert np.abs(other.astype(int) - smooth).mean() > errors[100]


def test_edits_follow_each_other(base):
    settings = {"steps": 4, "method": "replace"}
    steps = [(MASKS[0], PROMPTS[0]), (MASKS[1], PROMPTS[1])]
    made = base.edit(IMAGES[0], steps, seed=7, **settings)
    first = base.inpaint(IMAGES[:1], MASKS[:1], PROMPTS[:1], seed=7, **settings)
    second = base.inpaint(first, MASKS[1:], PROMPTS[1:], seed=8, **settings)
    np.testing.assert_array_equal(made, np.concatenate([first, second]))


def test_a_run_shorter_than_the_noise_keeps_its_timesteps():
    settings = Settings(steps=100, strength=0.25)
    short, whole = settings.trajectory(MODEL), Settings(steps=100).trajectory(MODEL)
    assert short.t[0] < 250 <= whole.t[-len(short.t) - 1]
    np.testing.assert_array_equal(short.t, whole.t[-len(short.t) :])
    up = settings.inversion(MODEL)
    np.testing.assert_array_equal(up.t, short.t[:0:-1])
    assert up.t_next[-1] == short.t[0]
    # RePaint's jumps are no part of the way up.
    assert len(settings._replace(inpaint_method="repaint").inversion(MODEL).t) == len(up.t)


HOW = {"guidance_scale": 2.5, "negative_prompt": "x", "sampler": "ddim", "steps": 7}
MORE = {"guidance_interval": (9, 99), "dynamic_threshold": 0.5, "eta": 0.25}
CLIP = {"clip": "a CLIP", "clip_guidance_scale": 1.5}
MANY = {"num": 2, "seed": 5, "batch_size": 3, "progress": True}
ASKED = Settings(2.5, (9, 99), 0.5, "ddim", 7, 0.25, clip_guidance_scale=1.5)
REPAINT = {"inpaint_method": "repaint", "jump_length": 2, "resamplings": 3}


@pytest.fixture
def orders(monkeypatch):
    """(settings, order, negative prompt, clip) of each call of `draw`, which draws white."""
    made = []

    def draw(network, tokenizer, prompts, settings, order, *, given, negative_prompt, clip=None):
        made.append((settings, order, negative_prompt, clip))
        side = network.model.unet.image_size
        return np.full((len(prompts) * order.num, side, side, 3), 255, np.uint8)

    monkeypatch.setattr(editing, "draw", draw)
    monkeypatch.setattr(pipeline, "draw", draw)
    return made


def test_every_method_passes_on_what_is_asked(base, upsampler, orders):
    everything = HOW | MORE | CLIP | MANY
    base.text_to_image(PROMPTS, **everything)
    method = {"method": "repaint", "jump_length": 2, "resamplings": 3}
    base.inpaint(IMAGES, MASKS, PROMPTS, **everything, **method)
    base.image_to_image(IMAGES, PROMPTS, strength=0.75, **everything)
    upsampling = HOW | {"eta": 0.25, "strength": 0.5, "noise_scale": 0.9, "seed": 5}
    small = IMAGES[:, ::2, ::2]
    upsampler.upsample(small, PROMPTS, batch_size=3, progress=True, **upsampling)
    kinds = (
        ("sampling", 2, ASKED, "a CLIP"),
        ("inpainting", 2, ASKED._replace(**REPAINT), "a CLIP"),
        ("editing", 2, ASKED._replace(strength=0.75), "a CLIP"),
        (
            "upsampling",
            1,
            Settings(2.5, sampler="ddim", steps=7, eta=0.25, noise_scale=0.9, strength=0.5),
            None,
        ),
    )
    assert orders == [
        (settings, Order(num, 5, 3, True, what), "x", clip) for what, num, settings, clip in kinds
    ]


def test_each_edit_is_asked_for_alike_and_keeps_what_it_may(base, orders):
    edits = list(zip(MASKS, PROMPTS, strict=True))
    made = base.edit(IMAGES[0], edits, method="repaint", seed=5, progress=True, **HOW, **CLIP)
    expected = Settings(
        2.5, None, None, "ddim", 7, clip_guidance_scale=1.5, inpaint_method="repaint"
    )
    assert orders == [
        (expected, Order(1, seed, 16, True, "inpainting"), "x", "a CLIP") for seed in (5, 6)
    ]
    kept = IMAGES[0]
    for image, mask in zip(made, MASKS, strict=True):  # white where it was drawn
        kept = np.where(mask[..., None], kept, 255)
        np.testing.assert_array_equal(image, kept)


def test_a_threshold_is_taken_by_every_way_to_keep_pixels():
    x_0, known = jnp.array([4.0, -2, 1]).reshape(1, 1, 1, 3), jnp.zeros((1, 1, 1, 3))
    own = Settings(dynamic_threshold=1.0).traced()
    for method in (None, "model", "replace", "repaint"):
        hooks = sampling._hooks(MODEL, own, method, (known, known[..., :1]))
        scaled = hooks.x0_fn(x_0, x_0, jnp.zeros(1, int))
        np.testing.assert_allclose(scaled.ravel(), [1, -0.5, 0.25])  # by 4, Imagen §2.3
        assert (hooks.after_step is None) == (method in (None, "model"))


NOTHING = np.ones_like(MASKS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: p.inpaint(IMAGES, MASKS, PROMPTS, method="model"),
            "method is 'model', but the model was not trained to inpaint",
        ),
        (
            lambda p: p.inpaint(IMAGES, MASKS, PROMPTS, method="paint"),
            "method is 'paint'; it must be one of model, replace, repaint",
        ),
        (lambda p: p.inpaint(IMAGES, NOTHING, PROMPTS), "which leaves nothing to draw"),
        (lambda p: p.inpaint(IMAGES, MASKS * 1, PROMPTS), "masks are int64 .* must be bool"),
        (lambda p: p.inpaint(IMAGES[:, :8], MASKS, PROMPTS), "images are uint8 .2, 8, 16, 3.; "),
        (lambda p: p.inpaint(IMAGES, MASKS, PROMPTS[:1]), "there are 2 images for 1 prompts"),
        (lambda p: p.inpaint(IMAGES, MASKS, PROMPTS, num=-1), "num is -1; it must be 1 or more"),
        (lambda p: p.image_to_image(IMAGES, PROMPTS, num=-1), "num is -1; it must be 1 or more"),
        (
            lambda p: p.image_to_image(IMAGES, PROMPTS, strength=0.0),
            "strength is 0.0; it must be above 0 and at most 1",
        ),
        (
            lambda p: p.image_to_image(IMAGES, PROMPTS, edit_from=PROMPTS, sampler="dpmpp"),
            "sampler is 'dpmpp' with eta 0.0; an inversion takes ddim with eta 0",
        ),
        (
            lambda p: p.image_to_image(IMAGES, PROMPTS, edit_from=PROMPTS[:1]),
            "edit_from is .* give a list, one for each prompt",
        ),
    ],
)
def test_what_means_nothing_is_refused(base, call, message):
    with pytest.raises(ValueError, match=message):
        call(base)


def test_pictures_may_be_a_list(base):
    drawn = base.inpaint(list(IMAGES), list(MASKS), PROMPTS, steps=2)
    np.testing.assert_array_equal(drawn, base.inpaint(IMAGES, MASKS, PROMPTS, steps=2))


def test_a_strength_that_leaves_no_step_is_refused(base):
    with pytest.raises(ValueError, match="strength is 0.01, which leaves none of the 3 steps"):
        base.image_to_image(IMAGES, PROMPTS, strength=0.01, sampler="dpmpp", steps=3)


def test_known_pixels_need_an_upsampler_that_inpaints(tokenizer):
    model = replace(UPSAMPLER, unet=replace(UPSAMPLER.unet, inpaint=False))
    plain = Pipeline(model, tiny.random_params(model=model), tokenizer)
    small = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="the upsampler was not trained to inpaint"):
        plain.upsample(small, PROMPTS, known=(IMAGES, MASKS))
    with pytest.raises(ValueError, match="the model is an upsampler"):
        plain.inpaint(IMAGES, MASKS, PROMPTS)


def test_pictures_do_not_depend_on_the_devices(tokenizer):
    made = [
        Pipeline(
            INPAINTER, tiny.random_params(model=INPAINTER), tokenizer, devices=devices
        ).inpaint(IMAGES, MASKS, PROMPTS, steps=5)
        for devices in (jax.local_devices()[:1], jax.local_devices())
    ]
    assert np.abs(made[0].astype(int) - made[1]).max() <= 1
