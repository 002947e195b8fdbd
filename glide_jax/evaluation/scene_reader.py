"""Reads a picture of Shapes back into its objects, by the same outlines that drew it.

A picture is its background's colour and connected regions that differ from it. Each region is one
object: its colour is that of its most different pixels, and its shape, place and radius those of
the outline that covers its pixels best. A region that is no such object has the shape None.
"""

from typing import NamedTuple

import numpy as np

from glide_jax.data.scenes import COLOURS, SHAPES, coverage

# Levels between a pixel and the background from which it belongs to an object. The closest colours,
# cyan and a grey background, are 181 apart: a third covered is enough, and the gap stays open.
CONTRAST = 64
# Levels between a region's colour and a colour's own; two colours are at least 105 apart.
COLOUR_TOLERANCE = 50
# Regions of so few pixels are specks and do not count. The smallest object has over twenty.
SPECK = 3
# Levels by which background pixels may differ from their median, as root mean square.
BACKGROUND_NOISE = 12
# The background's darkest channel may be this dark. Those that are drawn have 210 and more, but
# captions do not speak of it.
BACKGROUND_LEAST = 140
# Root of the squared error of the best outline's coverage, over the area it covers.
MISFIT = 0.3
# Radii in picture widths that read as small and as big: those drawn (0.105 and 0.17), 18 % around.
SIZES = {"small": (0.086, 0.124), "big": (0.140, 0.201)}
# Regions are fitted with so many pixels around them.
RIM = 2
_PALETTE = np.array(list(COLOURS.values()), float)
_STEP = 0.05  # pixels, of the fit's numerical derivatives


class Found(NamedTuple):
    """An object that was read: what is not recognised is None. x, y, radius in picture widths."""

    shape: str | None
    colour: str | None
    size: str | None
    x: float
    y: float
    radius: float
    misfit: float


class Reading(NamedTuple):
    """A picture's objects, and whether its background is one light tint; without that, none."""

    objects: tuple[Found, ...]
    is_clean: bool


def read_scene(image) -> Reading:
    """What a picture, uint8 [S, S, 3], shows."""
    image = np.asarray(image, float)
    background = _background(image)
    different = np.linalg.norm(image - background, axis=-1)
    if not _is_clean(image, background, different):
        return Reading((), is_clean=False)
    regions = [r for r in connected_regions(different > CONTRAST) if len(r) > SPECK]
    objects = tuple(_read_object(image, background, different, region) for region in regions)
    return Reading(objects, is_clean=True)


def _background(image):
    """The median colour of the picture's rim, which no object touches."""
    rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    return np.median(rim, axis=0)


def _is_clean(image, background, different):
    """Whether all that is no object, nor beside one, has the background's tint."""
    apart = ~_grown(different > CONTRAST)
    if not apart.any() or background.min() < BACKGROUND_LEAST:
        return False
    return np.sqrt(np.mean(np.square(image - background)[apart])) <= BACKGROUND_NOISE


def _grown(mask):
    """A mask with the eight neighbours of its pixels."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any(
        [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0
    )


def connected_regions(mask):
    """The regions of a mask [H, W], joined over edges and corners: int arrays [n, 2] of (y, x)."""
    remaining, regions = {tuple(p) for p in np.argwhere(mask).tolist()}, []
    while remaining:
        region, frontier = [], [remaining.pop()]
        while frontier:
            y, x = frontier.pop()
            region.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & remaining
            remaining -= near
            frontier += near
        regions.append(np.array(region))
    return regions


def _read_object(image, background, different, region):
    size = len(image)
    colour = _colour(image, different, region)
    contrast = colour - background
    cover = np.clip((image - background) @ contrast / (contrast @ contrast), 0, 1)
    # Beyond the region's neighbours is another object's, or nothing.
    own = np.zeros(different.shape, bool)
    own[tuple(region.T)] = True
    rows, columns = (_span(region[:, axis], size) for axis in (0, 1))
    cover = (cover * _grown(own))[np.ix_(rows, columns)]
    fits = [_fit(shape, cover, rows, columns) for shape in SHAPES]
    misfit, shape, (x, y, radius) = min(fits, key=lambda fit: fit[0])
    x, y, radius = x / size, y / size, radius / size
    return Found(
        shape if misfit <= MISFIT else None,
        _name_of(colour),
        next((name for name, (low, high) in SIZES.items() if low <= radius <= high), None),
        x,
        y,
        radius,
        misfit,
    )


def _span(numbers, size):
    return np.arange(max(numbers.min() - RIM, 0), min(numbers.max() + RIM + 1, size))


def _colour(image, different, region):
    """The median colour of the third of a region's pixels that differ most from the background."""
    y, x = region.T
    order = np.argsort(different[y, x], kind="stable")[-max(1, len(region) // 3) :]
    return np.median(image[y[order], x[order]], axis=0)


def _name_of(colour):
    distances = np.linalg.norm(_PALETTE - colour, axis=-1)
    return list(COLOURS)[distances.argmin()] if distances.min() <= COLOUR_TOLERANCE else None


def _fit(shape, cover, rows, columns, iterations=8):
    """(misfit, shape, (x, y, radius) in pixels) of the outline nearest to a coverage [h, w].

    Gauss-Newton from the middle and the area, with shorter steps where one leads uphill. The misfit
    is the root of the squared error over the area.
    """
    area = cover.sum()
    middle = (cover.sum(0) @ (columns + 0.5), cover.sum(1) @ (rows + 0.5))
    p = np.array([middle[0] / area, middle[1] / area, np.sqrt(area / _AREAS[shape])])
    p[1] -= p[2] * _DROPS[shape]

    def error(p):
        return (coverage(shape, *p, columns, rows) - cover).ravel()

    now, length = error(p), 1.0
    for _ in range(iterations):
        slopes = np.stack([error(p + _STEP * unit) - now for unit in np.eye(3)]) / _STEP
        change = np.linalg.lstsq(slopes.T, -now, rcond=None)[0]
        trial = p + length * np.clip(change, -1, 1)
        trial[2] = max(trial[2], 1.0)
        then = error(trial)
        if then @ then < now @ now:
            p, now, length = trial, then, 1.0
        else:
            length /= 3
        if np.abs(change).max() * length < 0.01:
            break
    return np.sqrt(now @ now / area), shape, p


def _moments(shape, radius=100):
    """Area of a shape of radius 1, and how far its centre of gravity lies below its own centre."""
    pixels = np.arange(-130, 130)
    cover = coverage(shape, 0, 0, radius, pixels, pixels)
    area = cover.sum()
    return area / radius**2, cover.sum(1) @ (pixels + 0.5) / area / radius


_AREAS, _DROPS = ({shape: _moments(shape)[i] for shape in SHAPES} for i in (0, 1))
