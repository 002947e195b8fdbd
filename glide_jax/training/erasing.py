"""Masks that erase random parts of pictures, drawn on the device (GLIDE §3).

Each kind is a function of even random numbers from 0 to 1, which it takes as many of as it needs.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp

from glide_jax.config import Erase

BOXES = 3  # a mask has at most
STROKES = 3
SEGMENTS = 4  # of a stroke, straight ones
OF_BOX, OF_STROKE = 4, 4 + 2 * SEGMENTS  # numbers that each takes
NUMBERS = 1 + max(BOXES * OF_BOX, STROKES * OF_STROKE)


def draw_masks(erase: Erase, keys, side):
    """A mask for each key, float32 [B, side, side, 1], 1 = keep; each erases at least a pixel."""
    numbers = jax.vmap(lambda key: jax.random.uniform(key, (1 + NUMBERS,)))(keys)
    return jax.vmap(partial(make_mask, erase, side))(numbers)


def make_mask(erase, side, numbers):
    """A mask of one of the kinds that `Erase` names, [side, side, 1]."""
    kinds = boxes, half_plane, strokes, whole  # in the order of its fields
    ends = jnp.cumsum(jnp.array(dataclasses.astuple(erase)))
    kind = jnp.searchsorted(ends, numbers[0] * ends[-1], side="right")
    erased = jnp.stack([make(numbers[1:], side) for make in kinds])
    return 1 - erased[kind, :, :, None].astype(jnp.float32)


def boxes(numbers, side):
    """What one to three boxes cover, each as long and as high as an eighth to three quarters."""
    of_each = numbers[1 : 1 + BOXES * OF_BOX].reshape(BOXES, 2, 2)
    least, most = max(1, side // 8), max(1, 3 * side // 4)
    length = whole_number(of_each[:, :, 0], least, most)
    start = whole_number(of_each[:, :, 1], 0, side - length)
    pixel = jnp.arange(side)[None, None]
    inside = (start[..., None] <= pixel) & (pixel < (start + length)[..., None])
    covered = inside[:, 0, :, None] & inside[:, 1, None, :]  # [BOXES, side, side]
    return first_of(covered, whole_number(numbers[0], 1, BOXES))


def half_plane(numbers, side):
    """All on one side of a line at any angle."""
    along = dot(centres(side), direction(2 * math.pi * numbers[0]))
    low, high = jnp.min(along), jnp.max(along)
    # Rounding must not take the line past the last pixel.
    return along >= jnp.minimum(low + numbers[1] * (high - low), high)


def strokes(numbers, side):
    """What one to three brush strokes cover."""
    of_each = numbers[1 : 1 + STROKES * OF_STROKE].reshape(STROKES, OF_STROKE)
    covered = jax.vmap(partial(stroke, side=side))(of_each)
    return first_of(covered, whole_number(numbers[0], 1, STROKES))


def stroke(numbers, side):
    """What a thick polyline covers, which wanders from anywhere and never turns by more than 90°.

    The line stays in the picture: what would leave it goes on along the rim.
    """
    start, (heading, width), lengths, turns = jnp.split(numbers, [2, 4, 4 + SEGMENTS])
    angles = 2 * math.pi * heading + jnp.cumsum(math.pi * (turns - 0.5))
    steps = side * (1 / 8 + 3 / 8 * lengths)[:, None] * direction(angles)
    points = side * start[None] + jnp.concatenate([jnp.zeros((1, 2)), jnp.cumsum(steps, axis=0)])
    points = jnp.clip(points, 0, side)
    distances = jax.vmap(partial(distance_to_segment, centres(side)))(points[:-1], points[1:])
    radius = side * (1 / 32 + (1 / 10 - 1 / 32) * width)
    # No point of the picture is further from a pixel's middle than the root of a half.
    return jnp.min(distances, axis=0) <= jnp.maximum(radius, 0.75)


def whole(numbers, side):
    """All of the picture."""
    return jnp.ones((side, side), bool)


def whole_number(number, least, most):
    """An even number from 0 to below 1 as one of the integers `least` to `most`."""
    return least + jnp.floor(number * (most - least + 1)).astype(jnp.int32)


def first_of(covered, number):
    """What the first `number` of covered [N, side, side] cover together."""
    return jnp.any(covered & (jnp.arange(len(covered)) < number)[:, None, None], axis=0)


def direction(angle):
    """The unit vector (down, across) of each angle [...], [..., 2]."""
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def centres(side):
    """Each pixel's middle, (down, across), float32 [side, side, 2]."""
    middle = jnp.arange(side) + 0.5
    return jnp.stack(jnp.meshgrid(middle, middle, indexing="ij"), axis=-1)


def dot(points, direction):
    """The products of points [H, W, 2] with a direction [2], in full precision on any device."""
    return jnp.sum(points * direction[None, None], axis=-1)


def distance_to_segment(points, start, stop):
    """How far points [H, W, 2] are from the straight line from start [2] to stop [2]."""
    line = stop - start
    fraction = dot(points - start[None, None], line) / jnp.maximum(jnp.sum(line * line), 1e-6)
    nearest = start[None, None] + jnp.clip(fraction, 0, 1)[..., None] * line[None, None]
    return jnp.sqrt(jnp.sum(jnp.square(points - nearest), axis=-1))
