"""Sample grids: what each kind of model is asked to draw, and what is shown beside it."""

import dataclasses
import inspect

import numpy as np
import pytest

from glide_jax import Pipeline
from glide_jax.config import Erase
from glide_jax.training import grids, loop
from glide_jax.training.log import read_metrics
from tests import tiny

CAPTIONS = ["a", "b", "c", "d", "e", "f"]
ERASE = Erase()
IMAGES = np.random.default_rng(0).integers(100, 256, (6, 32, 32, 3), np.uint8)


class Recorder:
    """A stand-in for a Pipeline that draws black pictures and keeps what it was given."""

    def __init__(self, **unet):
        self.model = dataclasses.replace(
            tiny.MODEL, unet=dataclasses.replace(tiny.MODEL.unet, **unet)
        )
        self.asked = []

    def __getattr__(self, name):
        def draw(*arguments, **settings):
            self.asked.append((name, arguments, settings))
            inspect.signature(getattr(Pipeline, name)).bind(self, *arguments, **settings)
            return np.zeros((len(CAPTIONS), 32, 32, 3), np.uint8)

        return draw


def grid_of(erase=ERASE, **unet):
    """The one call that a grid needs, the grid's places [N, 32, 32, 3], and its settings."""
    pipeline, recipe = Recorder(**unet), dataclasses.replace(tiny.RECIPE, erase=erase)
    grid, settings = grids.draw_grid(pipeline, recipe, IMAGES, CAPTIONS)
    (asked,) = pipeline.asked
    rows = [
        grid[2 + 34 * row : 34 + 34 * row, 2 + 34 * i : 34 + 34 * i]
        for row in range(grid.shape[0] // 34)
        for i in range(grid.shape[1] // 34)
    ]
    return asked, np.stack(rows), settings


def test_a_base_model_draws_from_captions():
    (name, arguments, settings), pictures, said = grid_of()
    assert (name, arguments) == ("text_to_image", (CAPTIONS,))
    assert settings == said | {"batch_size": 6} and said["guidance_scale"] == 3
    assert len(pictures) == 6 and not pictures.any()


def test_an_upsampler_enlarges_what_is_shown_beside():
    (name, (small, captions), settings), pictures, said = grid_of(low_res_size=16)
    assert name == "upsample" and captions == CAPTIONS
    assert settings == said | {"known": None} and said["guidance_scale"] == 1
    blocks = IMAGES.reshape(6, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, np.rint(blocks))
    shown, drawn = pictures[0:12:2], pictures[1:12:2]
    np.testing.assert_array_equal(shown, small.repeat(2, axis=1).repeat(2, axis=2))
    assert not drawn.any()


def test_an_inpainting_model_paints_what_is_grey_beside():
    (name, (images, masks, captions), settings), pictures, said = grid_of(inpaint=True)
    assert name == "inpaint" and captions == CAPTIONS
    assert settings == said | {"batch_size": 6}
    np.testing.assert_array_equal(images, IMAGES)
    assert masks.shape == (6, 32, 32) and masks.dtype == bool
    assert masks.any() and not masks.all(axis=(1, 2)).any()
    shown, drawn = pictures[0:12:2], pictures[1:12:2]
    np.testing.assert_array_equal(shown[masks], IMAGES[masks])
    assert (shown[~masks] == 128).all() and not drawn.any()
    again = grid_of(inpaint=True)[0]
    np.testing.assert_array_equal(again[1][1], masks)


def test_an_upsampler_that_inpaints_is_given_both():
    (name, (small, captions), settings), _, said = grid_of(inpaint=True, low_res_size=16)
    assert name == "upsample" and small.shape == (6, 16, 16, 3) and captions == CAPTIONS
    images, masks = settings.pop("known")
    assert settings == said and said["sampler"] == "ancestral"
    np.testing.assert_array_equal(images, IMAGES)
    coarse = masks[:, ::2, ::2]
    np.testing.assert_array_equal(masks, coarse.repeat(2, axis=1).repeat(2, axis=2))


def test_masks_are_of_the_kinds_that_are_trained():
    (_, (_, masks, _), _), *_ = grid_of(Erase(0, 0, 0, 1), inpaint=True)
    assert not masks.any()


@pytest.mark.long
def test_an_upsampler_is_trained_and_leaves_its_grid(tmp_path):
    short = {"steps": 2, "batch_size": 4, "log_every": 1, "sample_every": 2}
    recipe = dataclasses.replace(tiny.RECIPE, model=tiny.UPSAMPLER, **short)
    loop.train(recipe, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if np.isfinite(row.get("loss", np.nan))] == [1, 2]
    assert [row["step"] for row in rows if np.isfinite(row.get("caption_gap", np.nan))] == [2]
    assert (tmp_path / "samples" / "00000002.png").exists()
    small = np.zeros((1, 16, 16, 3), np.uint8)
    assert (
        Pipeline.load(tmp_path).upsample(small, ["x"], steps="fast27", batch_size=4).shape[1] == 32
    )
