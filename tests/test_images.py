"""Grids and PNG files."""

import numpy as np
from PIL import Image

from glide_jax.images import enlarge, make_grid, read_settings, save_png, to_uint8


def test_the_range_is_rounded_to_the_nearest_and_clipped():
    x = np.array([-2, -1, 0, 1, 2, 1 - 0.9 / 127.5])
    np.testing.assert_array_equal(to_uint8(x), [0, 0, 128, 255, 255, 254])


def test_a_grid_is_filled_row_by_row():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    grid = make_grid(images, columns=2, gap=1)
    assert grid.shape == (16, 11, 3)
    np.testing.assert_array_equal(grid[[3, 3, 8, 8, 13], [3, 8, 3, 8, 3], 0], range(5))
    assert (grid[13, 8] == 255).all() and (grid[0] == 255).all()
    assert make_grid(images).shape == (2 + 2 * 6, 2 + 3 * 6, 3)


def test_enlarging_repeats_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    big = enlarge(image, 5)
    assert big.shape == (6, 6, 3)
    np.testing.assert_array_equal(big[::3, ::3], image)
    np.testing.assert_array_equal(enlarge(image, 1), image)


def test_a_png_carries_its_settings(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    settings = {"prompts": ["ein roter Kreis 🎨"], "seed": 7}
    save_png(tmp_path / "x.png", image, settings)
    assert read_settings(tmp_path / "x.png") == settings
    with Image.open(tmp_path / "x.png") as read:
        np.testing.assert_array_equal(np.asarray(read), image)
