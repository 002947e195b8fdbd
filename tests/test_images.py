"""Grids and PNG files."""

import numpy as np
from PIL import Image

from glide_jax.images import enlarge, make_grid, read_settings, save_png, sheet, to_uint8


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


def test_a_sheet_has_titles_above_columns_and_captions_above_rows():
    images = [np.full((4, 4, 3), (tone, 0, 0), np.uint8) for tone in (60, 70, 80, 90, 100, 110)]
    titled = np.asarray(sheet(images, ["one", "two"], ["a", "b", "c"], shown=30))
    corners = [np.argwhere((titled == image[0, 0]).all(axis=2)) for image in images]
    assert [len(found) for found in corners] == [32 * 32] * 6
    assert [tuple(found[0]) for found in corners] == [
        (top, left) for top in (46, 104) for left in (6, 44, 82)
    ]
    assert titled.shape == (142, 120, 3)
    inks = titled.min(axis=2) < 128
    assert inks[6:20].any() and inks[26:46, :60].any() and inks[84:104, :60].any()
    plain = np.asarray(sheet(images, shown=30))
    assert plain.shape == (44, 234, 3) and (plain[:6] == 255).all()


def test_a_png_carries_its_settings(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    settings = {"prompts": ["ein roter Kreis 🎨"], "seed": 7}
    save_png(tmp_path / "x.png", image, settings)
    assert read_settings(tmp_path / "x.png") == settings
    with Image.open(tmp_path / "x.png") as read:
        np.testing.assert_array_equal(np.asarray(read), image)
