"""What a network is given beside the noised picture: small pictures, masked ones, and whose."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.config import Diffusion, Erase, LowRes
from glide_jax.training import given, tasks
from tests import tiny

BASE = tiny.MODEL.unet
LAYOUTS = {
    "base": BASE,
    "upsampler": tiny.UPSAMPLER.unet,
    "inpainting": dataclasses.replace(BASE, inpaint=True),
    "inpainting upsampler": dataclasses.replace(tiny.UPSAMPLER.unet, inpaint=True),
}
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
ROW = {"row": np.arange(6, dtype=np.int32), "image": IMAGE}


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def test_a_small_picture_is_the_means_of_blocks_in_8_bits():
    blocks = IMAGE.astype(int).reshape(6, 16, 2, 16, 2, 3).sum(axis=(2, 4))
    small = given.make_small(IMAGE, 16, LowRes(), keys(6))
    np.testing.assert_allclose((small + 1) * 127.5, np.rint(blocks / 4), atol=1e-4)


def test_a_blur_is_a_gaussian_by_each_picture_s_own_sigma():
    x = np.zeros((3, 31, 31, 1), np.float32)
    x[:, 15, 15] = 1  # far from the rim
    sigma = np.array([0.0, 0.6, 1.5], np.float32)
    found = np.asarray(given.blur(x, sigma))[..., 0]
    np.testing.assert_array_equal(found[0], x[0, ..., 0])
    offset = np.arange(31) - 15
    for blurred, s in zip(found[1:], sigma[1:], strict=True):
        gaussian = np.exp(-0.5 * (offset / s) ** 2)
        gaussian /= gaussian.sum()
        np.testing.assert_allclose(blurred, np.outer(gaussian, gaussian), atol=1e-5)
    grey = np.full((1, 15, 15, 1), 200, np.float32)  # at the rim, too
    np.testing.assert_allclose(given.blur(grey, sigma[2:]), grey, rtol=1e-6)


def test_noise_and_blur_are_drawn_evenly_up_to_the_most(monkeypatch):
    number, most = 4000, 0.1
    grey = np.full((number, 4, 4, 3), 128, np.uint8)
    small = given.make_small(grey, 4, LowRes(noise=most), keys(number))
    deviation = np.std(np.asarray(small), axis=(1, 2, 3))
    # Of an even s the mean square is a third of the most one's; steps of 8 bits add a twelfth.
    variance = most**2 / 3 + (1 / 127.5) ** 2 / 12
    assert np.var(small) == pytest.approx(variance, rel=0.04)
    assert np.mean(deviation < most / 2) == pytest.approx(0.5, abs=0.04)
    sigmas = []
    monkeypatch.setattr(given, "blur", lambda x, sigma: sigmas.append(np.asarray(sigma)) or x)
    given.make_small(grey, 4, LowRes(blur=2.0), keys(number))
    assert 0 <= sigmas[0].min() < 0.01 and 1.99 < sigmas[0].max() <= 2
    assert sigmas[0].mean() == pytest.approx(1, abs=0.04)


def test_each_layout_is_given_its_pictures():
    @jax.jit
    def pictures_of(image, row_keys):
        give = partial(given.given_pictures, image=image, keys=row_keys)
        return {name: give(unet, Erase(), LowRes()) for name, unet in LAYOUTS.items()}

    pictures = pictures_of(IMAGE, keys(6))
    assert pictures["base"] == {}
    upsampler, inpainting, both = (
        jax.tree.map(np.asarray, pictures[name]) for name in [*LAYOUTS][1:]
    )
    assert [*upsampler] == ["low_res"] and [*inpainting] == ["inpaint_image", "inpaint_mask"]
    # The small picture is whole; the mask is one of its pixels, enlarged.
    np.testing.assert_array_equal(both["low_res"], upsampler["low_res"])
    image = IMAGE.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(both["inpaint_image"], image, atol=1e-6)
    small = both["inpaint_mask"][:, ::2, ::2]
    np.testing.assert_array_equal(both["inpaint_mask"], small.repeat(2, axis=1).repeat(2, axis=2))
    fine = inpainting["inpaint_mask"]
    assert fine.shape == (6, 32, 32, 1)
    assert (fine != fine[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)).any()


def recipe_of(unet, **others):
    model = Diffusion(unet, tiny.MODEL.text, "linear")
    return dataclasses.replace(tiny.RECIPE, model=model, **others)


BOTH = recipe_of(LAYOUTS["inpainting upsampler"], low_res=LowRes(noise=0.2, blur=1.0))


def test_draws_depend_on_the_row_alone():
    draw = jax.jit(tasks.Diffusion(BOTH).draw)
    whole = draw(ROW, jax.random.key(3))
    last = draw(jax.tree.map(lambda leaf: leaf[2:], ROW), jax.random.key(3))
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=1e-6),
        jax.tree.map(lambda leaf: leaf[2:], whole),
        last,
    )
    other = draw(ROW, jax.random.key(4))
    for name, picture in whole.given.items():
        assert (picture != other.given[name]).any() == (name != "inpaint_image")


@pytest.mark.long
def test_what_is_given_leaves_the_other_draws_as_they_were():
    key, rows = jax.random.key(5), ROW["row"]
    old = jax.vmap(lambda row: jax.random.split(jax.random.fold_in(key, row), 3))(rows)
    t = jax.vmap(lambda k: jax.random.randint(k, (), 0, 1000))(old[:, 0])
    eps = jax.vmap(lambda k: jax.random.normal(k, (32, 32, 3)))(old[:, 1])
    keep = jax.vmap(jax.random.uniform)(old[:, 2]) >= 0.2
    draws = tasks.Diffusion(BOTH).draw(ROW, key)
    for found, expected in ((draws.t, t), (draws.eps, eps), (draws.keep_caption, keep)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.long
def test_the_network_gets_what_was_drawn(monkeypatch):
    seen = []

    def denoise(model, params, x, t, cond, dropout_key, **traced):
        seen.append(cond)
        return jnp.zeros((*x.shape[:3], 6))

    monkeypatch.setattr(tasks.text2im, "encode_text", lambda *_, **traced: {"text_emb": 7})
    monkeypatch.setattr(tasks.text2im, "denoise", denoise)
    task, captions = tasks.Diffusion(BOTH), np.ones((6, 4), np.int32)
    batch = ROW | {"tokens": captions, "mask": captions > 0}
    key = jax.random.key(6)
    task.loss({}, batch, key)
    (cond,) = seen
    jax.tree.map(np.testing.assert_array_equal, cond, {"text_emb": 7} | task.draw(batch, key).given)
    assert np.isfinite(task.evaluate({}, batch, key)["eval_loss"])


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("upsampler", {"erase": Erase(1, 0, 0, 0)}, r"Recipe.erase is Erase\(boxes=1.*: leave it"),
        ("inpainting", {"low_res": LowRes(noise=0.1)}, r"Recipe.low_res is LowRes\(noise=0.1"),
    ],
)
def test_what_a_model_is_not_given_cannot_be_asked_for(layout, change, message):
    with pytest.raises(ValueError, match=message):
        tasks.Diffusion(recipe_of(LAYOUTS[layout], **change))
