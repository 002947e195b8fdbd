"""Users' pictures and masks: of every kind, and in a sentence where they cannot be taken."""

import re

import numpy as np
import pytest
from etils import epath
from PIL import Image

from glide_jax.given import read_mask, read_picture
from tests.pictures import UPRIGHT

RNG = np.random.default_rng(0)
SIZE = 6, 9


def draw(*shape, high=256, dtype=np.uint8):
    return RNG.integers(0, high, shape).astype(dtype)


@pytest.fixture
def save(tmp_path):
    """Writes an image, or a file's bytes, into a folder; its path."""

    def save(image, name="given.png", **options):
        path = tmp_path / name
        if isinstance(image, bytes):
            path.write_bytes(image)
            return path
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(path, **options)
        return path

    return save


@pytest.fixture
def refused():
    """Checks that a call is refused in just this sentence."""

    def refused(sentence, call, *arguments):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            call(*arguments)

    return refused


def test_a_picture_is_read_bit_for_bit(save):
    pixels = draw(*SIZE, 3)
    read = read_picture(save(pixels))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(read_picture(str(save(pixels, "given.tif"))), pixels)


def test_every_mode_becomes_rgb(save):
    grey, inks, alpha = draw(*SIZE), draw(*SIZE, 4), draw(*SIZE)
    np.testing.assert_array_equal(read_picture(save(grey)), grey[..., None].repeat(3, -1))
    deep = draw(*SIZE, high=65536, dtype=np.uint16)
    np.testing.assert_array_equal(read_picture(save(deep))[..., 1], np.rint(deep / 257))
    palette = Image.fromarray(grey).convert("RGB").quantize(4)
    np.testing.assert_array_equal(read_picture(save(palette)), np.asarray(palette.convert("RGB")))
    light = (255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    cmyk = read_picture(save(Image.fromarray(inks, "CMYK"), "inks.tif"))
    np.testing.assert_allclose(cmyk, light, atol=1)
    over_white = (grey * (alpha / 255) + 255 - alpha)[..., None].repeat(3, -1)
    transparent = np.stack([grey, grey, grey, alpha], axis=-1)
    np.testing.assert_allclose(read_picture(save(transparent)), over_white, atol=1)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_and_masks_are_upright(save, orientation):
    stored, exif = draw(*SIZE, 3), Image.Exif()
    exif[0x0112] = orientation
    upright = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(read_picture(save(stored, exif=exif)), upright)
    mask = save(stored[..., 0], exif=exif)
    np.testing.assert_array_equal(read_mask(mask, upright.shape[:2]), upright[..., 0] >= 128)


def test_of_an_animation_it_is_the_first_frame(save):
    first, second = (Image.new("L", SIZE, value) for value in (40, 200))
    path = save(first, "moving.gif", save_all=True, append_images=[second])
    assert (read_picture(path) == 40).all()


def test_files_that_are_no_pictures_are_refused(save, tmp_path, refused):
    for name in ("missing.png", ""):
        refused(f"there is no file {tmp_path / name}", read_picture, tmp_path / name)
    for content in (b"", b"no picture"):
        path = save(content)
        refused(
            f"{path} cannot be read as a picture: cannot identify image file", read_picture, path
        )
    whole = save(draw(64, 64, 3), "given.jpg").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-2], whole[:20]):
        path = save(content)
        sentence = f"^{re.escape(str(path))} cannot be read as a picture: [^<]+$"
        for call, arguments in ((read_picture, ()), (read_mask, ((64, 64),))):
            with pytest.raises(ValueError, match=sentence):
                call(path, *arguments)


def test_a_file_that_may_not_be_read_is_refused(save, refused, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    path = save(draw(*SIZE, 3))
    monkeypatch.setattr(type(epath.Path(path)), "open", denied)
    refused(f"{path} cannot be read: Permission denied", read_picture, path)


@pytest.mark.parametrize("width", [101, 1234], ids=["Pillow warns", "Pillow refuses"])
def test_huge_pictures_are_refused_before_they_are_decoded(save, refused, monkeypatch, width):
    whole = save(draw(10, width, 3)).read_bytes()
    path = save(whole[: whole.index(b"IDAT") + 8])  # what is to be decoded is not there
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    refused(
        f"{path} has {width * 10:,} pixels; at most 1,000 are read: make it smaller first",
        read_picture,
        path,
    )
    assert read_picture(save(draw(10, 100, 3))).shape == (10, 100, 3)


def test_light_is_kept(save):
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8), (2, 256))
    expected = np.broadcast_to(np.arange(256) >= 128, (2, 256))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    colours = grey[..., None].repeat(3, -1)
    for mask in (grey.copy(), colours, deep):
        keep = read_mask(save(mask), grey.shape)
        assert keep.dtype == bool
        np.testing.assert_array_equal(keep, expected)
        np.testing.assert_array_equal(read_mask(save(mask), grey.shape, invert=True), ~expected)
    bits = draw(*SIZE, high=2) > 0
    np.testing.assert_array_equal(read_mask(save(bits), SIZE), bits)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (9, 200, 30)])
def test_in_a_mask_of_one_colour_what_is_transparent_is_drawn_anew(save, colour):
    mask = np.empty((*SIZE, 4), np.uint8)
    mask[..., :3], mask[..., 3] = colour, draw(*SIZE)
    mask[0, :2, 3] = 127, 128
    np.testing.assert_array_equal(read_mask(save(mask), SIZE), mask[..., 3] >= 128)


def test_in_a_mask_of_several_colours_transparency_says_nothing(save):
    """White strokes on a transparent layer, whose other pixels are stored as black."""
    strokes = draw(*SIZE, high=2)[..., None] * np.full(4, 255, np.uint8)
    np.testing.assert_array_equal(read_mask(save(strokes), SIZE), strokes[..., 0] > 0)


def test_an_opaque_alpha_says_nothing(save):
    black = save(np.full((*SIZE, 4), (0, 0, 0, 255), np.uint8))
    assert not read_mask(black, SIZE).any()


@pytest.mark.parametrize("size", [(6, 9), (12, 18), (32, 47), (2, 3), (600, 900)])
def test_a_mask_of_another_size_is_brought_to_the_picture_s(save, size):
    """Nearest: of the mask's pixel that the middle of a pixel lies on."""
    bits = draw(*SIZE, high=2) > 0
    rows, columns = (
        (2 * np.arange(n) + 1) * own // (2 * n) for n, own in zip(size, SIZE, strict=True)
    )
    bits[rows[0], columns[0]] = False  # one that is drawn anew
    resized = read_mask(save(bits), size)
    np.testing.assert_array_equal(resized, bits[rows][:, columns])


def test_shapes_that_rounding_explains_are_taken(save):
    for _ in range(30):
        size = RNG.integers(1, 300, 2)
        scale = RNG.uniform(1 / 8, 1)
        for rounded in (np.floor, np.rint, np.ceil):
            smaller = np.maximum(1, rounded(size * scale)).astype(int)
            path = save(Image.new("L", tuple(smaller[::-1].tolist()), 0))
            assert read_mask(path, tuple(size.tolist())).shape == tuple(size)


def test_a_mask_of_another_shape_is_refused(save, refused):
    for height, width in ((100, 203), (203, 100), (64, 64)):
        path = save(np.full((height, width), 0, np.uint8))
        refused(
            f"the mask {path} is {width} x {height} pixels and the picture 200 x 100; "
            "give one of the picture's own width to height",
            *(read_mask, path, (100, 200)),
        )


def test_a_mask_that_keeps_everything_is_refused(save, refused):
    half = np.full((*SIZE, 4), 200, np.uint8)
    for mask in (np.full(SIZE, 128, np.uint8), half):
        path = save(mask)
        refused(
            f"there is nothing to draw: the mask {path} keeps every pixel; "
            "paint black what is to be drawn anew",
            *(read_mask, path, SIZE),
        )
