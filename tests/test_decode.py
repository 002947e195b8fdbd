"""Pictures of every mode and orientation, against numbers that numpy gives, and ADM's crop."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from glide_jax.data.decode import centre_crop, decode
from glide_jax.data.examples import BadExample
from tests.pictures import UPRIGHT

SIDE = 12
RNG = np.random.default_rng(0)


def draw(*shape, high=256, dtype=np.uint8):
    return RNG.integers(0, high, shape).astype(dtype)


def encode(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def read(encoded, size=SIDE):
    return decode(encoded, size, "the picture").astype(int)


def grey(values):
    """Grey values [H, W] as RGB."""
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


def over_white(colours, alpha):
    alpha = alpha[..., None] / 255
    return colours * alpha + 255 * (1 - alpha)


def test_rgb_is_kept():
    pixels = draw(SIDE, SIDE, 3)
    for format in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(read(encode(Image.fromarray(pixels), format)), pixels)
    webp = encode(Image.fromarray(pixels), "WEBP", lossless=True)
    np.testing.assert_array_equal(read(webp), pixels)


def test_grey_and_black_and_white():
    pixels = draw(SIDE, SIDE)
    np.testing.assert_array_equal(read(encode(Image.fromarray(pixels))), grey(pixels))
    bits = Image.fromarray(pixels > 127)
    assert bits.mode == "1"
    np.testing.assert_array_equal(read(encode(bits)), grey(np.where(pixels > 127, 255, 0)))


def with_palette(indices, palette):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(palette.ravel().tolist())
    return image


def test_palettes():
    indices, palette = draw(SIDE, SIDE, high=7), draw(7, 3)
    encoded = encode(with_palette(indices, palette))
    np.testing.assert_array_equal(read(encoded), palette[indices])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_alpha_lies_over_white(format):
    pixels, alpha = draw(SIDE, SIDE, 3), draw(SIDE, SIDE)
    rgba = Image.fromarray(np.concatenate([pixels, alpha[..., None]], axis=-1))
    np.testing.assert_allclose(read(encode(rgba, format)), over_white(pixels, alpha), atol=1)


def test_grey_with_alpha_lies_over_white():
    pixels, alpha = draw(SIDE, SIDE), draw(SIDE, SIDE)
    encoded = encode(Image.merge("LA", [Image.fromarray(pixels), Image.fromarray(alpha)]))
    np.testing.assert_allclose(read(encoded), over_white(grey(pixels), alpha), atol=1)


def test_a_transparent_colour_is_white():
    pixels = draw(SIDE, SIDE, 3)
    pixels[3:6] = (10, 20, 30)
    encoded = encode(Image.fromarray(pixels), transparency=(10, 20, 30))
    pixels[3:6] = 255
    np.testing.assert_array_equal(read(encoded), pixels)


def test_a_palette_with_transparency():
    indices, palette, alpha = draw(SIDE, SIDE, high=7), draw(7, 3), draw(7)
    encoded = encode(with_palette(indices, palette), transparency=alpha.tobytes())
    expected = over_white(palette[indices], alpha[indices])
    np.testing.assert_allclose(read(encoded), expected, atol=1)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(format):
    values = draw(SIDE, SIDE, high=65536, dtype=np.uint16)
    values[0, :2] = 0, 65535
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(read(encode(image, format)), grey(np.rint(values / 257)))


def test_16_bit_grey_of_a_pgm_is_scaled():
    values = draw(SIDE, SIDE, high=65536, dtype=np.uint16)
    encoded = f"P5 {SIDE} {SIDE} 65535\n".encode() + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(encoded), grey(np.rint(values / 257)))


def png_16_bit_rgb(values):
    """A PNG that Pillow can read but not write, from uint16 [H, W, 3]."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def test_16_bit_rgb_is_scaled():
    values = draw(SIDE, SIDE, 3, high=65536, dtype=np.uint16)
    np.testing.assert_allclose(read(png_16_bit_rgb(values)), values / 257, atol=1)


def test_32_bits_are_taken_as_16():
    values = draw(SIDE, SIDE, high=65536, dtype=np.int32)
    expected = grey(np.rint(values / 257))
    values[0, :2], expected[0, :2] = (-5, 70000), [[0] * 3, [255] * 3]
    np.testing.assert_array_equal(read(encode(Image.fromarray(values), "TIFF")), expected)


def test_floats_are_taken_as_up_to_1_or_to_255():
    values = RNG.random((SIDE, SIDE), np.float32)
    for scale in (1, 255):
        encoded = encode(Image.fromarray(values * np.float32(scale)), "TIFF")
        np.testing.assert_allclose(read(encoded), grey(values * 255), atol=0.51)


def test_cmyk():
    inks = draw(SIDE, SIDE, 4)
    expected = (255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    encoded = encode(Image.fromarray(inks, "CMYK"), "TIFF")
    np.testing.assert_allclose(read(encoded), expected, atol=1)


def test_a_cmyk_jpeg_is_not_inverted():
    """Adobe stores the inks inverted, and so does Pillow; a light blue stays one."""
    inks = np.full((SIDE, SIDE, 4), (128, 26, 0, 13), np.uint8)
    encoded = encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
    expected = np.full((SIDE, SIDE, 3), (127 * 242 / 255, 229 * 242 / 255, 242))
    np.testing.assert_allclose(read(encoded), expected, atol=3)


def test_the_first_frame_counts():
    first, second = (Image.fromarray(np.full((SIDE, SIDE), v, np.uint8)) for v in (40, 200))
    encoded = encode(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read(encoded), np.full((SIDE, SIDE, 3), 40))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientations(orientation, format):
    stored = draw(SIDE, SIDE + 5, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    encoded = encode(Image.fromarray(stored), format, exif=exif, **options)
    shown = UPRIGHT[orientation](stored)
    top, left = ((side - SIDE) // 2 for side in shown.shape[:2])
    expected = shown[top : top + SIDE, left : left + SIDE]
    np.testing.assert_array_equal(read(encoded), expected)


def test_orientation_of_a_jpeg():
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is to be on the right
    shown = read(encode(Image.fromarray(stored), "JPEG", quality=100, exif=exif), 16)
    assert shown[:, 8:].min() > 250 and shown[:, :8].max() < 5


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", [b"rubbish", b"II*\0\xff\xff\xff\xff", b"II+\0", b""])
def test_broken_exif_is_passed_over(exif, format):
    pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
    encoded = encode(Image.fromarray(pixels), format, exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(read(encoded), pixels)


def mean_of_two(a, b):
    return (a.astype(int) + b + 1) // 2


@pytest.mark.parametrize("height, width, halvings", [(16, 16, 1), (32, 48, 2), (72, 64, 3)])
def test_halving_is_a_mean_over_rows_then_columns(height, width, halvings):
    pixels = draw(height, width, 3)
    size = min(height, width) >> halvings
    expected = pixels
    for _ in range(halvings):
        expected = mean_of_two(expected[:, ::2], expected[:, 1::2])
        expected = mean_of_two(expected[::2], expected[1::2])
    top, left = ((side - size) // 2 for side in expected.shape[:2])
    expected = expected[top : top + size, left : left + size]
    np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), size), expected)


@pytest.mark.parametrize(
    "height, width", [(64, 64), (65, 101), (100, 67), (129, 256), (128, 257), (333, 250), (20, 9)]
)
def test_crop_is_adm_s(height, width):
    """ADM's steps by Pillow's general resize, for sides that are odd, not multiples, or small."""
    image, size = Image.fromarray(draw(height, width, 3)), 32
    small = image
    while min(small.size) >= 2 * size:
        small = small.resize(tuple(side // 2 for side in small.size), Resampling.BOX)
    sides = tuple(round(side * (size / min(small.size))) for side in small.size)
    pixels = np.asarray(small.resize(sides, Resampling.BICUBIC))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    expected = pixels[top : top + size, left : left + size]
    np.testing.assert_array_equal(centre_crop(image, size), expected)


def test_crop_is_of_the_centre():
    columns = np.broadcast_to(np.arange(15, dtype=np.uint8)[None, :, None], (8, 15, 3))
    for pixels, axis in ((columns, 1), (columns.swapaxes(0, 1), 0)):
        cut = centre_crop(Image.fromarray(pixels.copy()), 8)
        np.testing.assert_array_equal(cut.take(0, axis=1 - axis)[:, 0], np.arange(3, 11))


def test_broken_pictures_are_named():
    whole = encode(Image.fromarray(draw(64, 64, 3)), "JPEG", quality=90)
    for broken in (whole[: len(whole) // 2], whole[:-2], whole[:20], b"", b"no picture"):
        with pytest.raises(BadExample, match="^the picture: [^<]+$"):
            decode(broken, SIDE, "the picture")
