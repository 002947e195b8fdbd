"""What a scene of coloured shapes is, and how it is drawn.

Positions and radii are in units of the image width, x to the right and y down, so that one scene
can be drawn at every size.
"""

from math import cos, hypot, pi, sin
from typing import NamedTuple

import numpy as np

from glide_jax.data.captions import Phrase

COLOURS = {
    "red": (220, 30, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 225),
    "yellow": (240, 215, 20),
    "purple": (140, 40, 170),
    "orange": (245, 130, 20),
    "cyan": (30, 190, 215),
    "black": (20, 20, 20),
}


class Object(NamedTuple):
    """One shape: centre (x, y) and nominal radius in units of the width; `size` is small or big."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


class Scene(NamedTuple):
    """What is in a picture, and what its caption claims.

    Attributes:
        objects: in the order of `claims`, each claim's `count` objects together.
        background: (r, g, b) in 0..255.
        tier: 1 (one object), 2 (two with a relation) or 3 (three objects, or counted ones).
        claims: what the caption says of the objects; their counts add up to all of the objects.
        relation: None, or the side of claims[1] on which claims[0] is: left, right, above, below.
    """

    objects: tuple[Object, ...]
    background: tuple[int, int, int]
    tier: int
    claims: tuple[Phrase, ...]
    relation: str | None


def _circle(x, y):
    return np.hypot(x, y) - 1.0


def _square(x, y):
    return np.maximum(np.abs(x), np.abs(y)) - 0.86


def _diamond(x, y):
    x, y = np.abs(x), np.abs(y)
    line = (x + y - 1.18) * 0.5**0.5
    return np.maximum(line, np.maximum(x, y) - 1.18)  # a point else fades out beyond its tip


def _cross(x, y):
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 1.1, np.minimum(x, y) - 0.36)


def _pointed(x, y, points, inner, outer=1.2):
    """A star with a point upwards; its folded half point is bounded by a single line."""
    half = pi / points
    angle = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)  # from the nearest point
    edge_x, edge_y = inner * cos(half) - outer, inner * sin(half)
    radius = np.hypot(x, y)
    line = (radius * np.cos(angle) - outer) * edge_y - radius * np.sin(angle) * edge_x
    line /= hypot(edge_x, edge_y)
    return np.maximum(line, radius - outer)  # the tip, as in a diamond


def _triangle(x, y):
    return _pointed(x, y, points=3, inner=0.6)


def _star(x, y):
    return _pointed(x, y, points=5, inner=0.5)


# For each shape of radius 1: the distance to its outline (negative inside), and the radius of the
# circle around it. The outlines look alike in size, so the pointed ones reach further.
_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "star": _star,
}
REACHES = {
    "circle": 1.0,
    "square": 1.22,
    "triangle": 1.2,
    "diamond": 1.18,
    "cross": 1.16,
    "star": 1.2,
}

SHAPES = tuple(_DISTANCES)


def render(scene: Scene, size: int) -> np.ndarray:
    """The picture of a scene.

    Args:
        scene: what to draw.
        size: width and height in pixels.

    Returns:
        uint8 [size, size, 3]. A pixel that an outline crosses mixes the colours on both sides of
        it; all others have exactly the colour of an object or of the background.
    """
    image = np.empty((size, size, 3), np.float32)
    image[:] = scene.background
    for item in scene.objects:
        _paint(image, item)
    return np.rint(image).astype(np.uint8)


def _paint(image, item):
    """Mixes one object into the float image [size, size, 3], in place and only around it."""
    size = len(image)
    reach = REACHES[item.shape] * item.radius
    columns, rows = (_pixels(centre, reach, size) for centre in (item.x, item.y))
    outline = item.shape, item.x * size, item.y * size, item.radius * size
    patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    patch += coverage(*outline, columns, rows)[..., None] * (np.array(COLOURS[item.colour]) - patch)


def coverage(shape, x, y, radius, columns, rows):
    """How much of each pixel a shape covers, 0 to 1, float [rows, columns].

    Args:
        shape: one of SHAPES.
        x, y, radius: of the shape, in pixels; the first pixel's middle is at 0.5.
        columns, rows: the pixels' numbers, int [w] and [h].
    """
    across = (columns + (0.5 - x)) / radius
    down = (rows[:, None] + (0.5 - y)) / radius
    distance = _DISTANCES[shape](across, down) * radius  # in pixels
    return np.minimum(np.maximum(0.5 - distance, 0.0), 1.0)


def _pixels(centre, reach, size):
    """The rows or columns of the picture that an object can touch."""
    first, last = int((centre - reach) * size), int((centre + reach) * size)
    return np.arange(max(first, 0), min(last + 1, size))
