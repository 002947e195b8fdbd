"""Scenes of Shapes with a hole that a model is to fill, and how much the hole's border shows."""

from typing import Literal, NamedTuple

import numpy as np

from glide_jax.data import shapes
from glide_jax.data.scenes import render
from glide_jax.evaluation.caption_accuracy import Claims

Kind = Literal["alone", "related", "half"]
# It hides the only object, one of two that the caption relates, or half of the only one.
TIERS = {"alone": 1, "related": 2, "half": 1}


class Item(NamedTuple):
    """A picture uint8 [S, S, 3], its mask bool [S, S] (True = keep), and what is to be there."""

    caption: str
    claims: Claims
    kind: Kind
    seed: int
    image: np.ndarray
    mask: np.ndarray


def items(split, number, seed, size, kinds):
    """The first scenes of a split with a hole, as many of each kind (the first ones have more).

    Args:
        split, seed: of `shapes.describe`.
        number: of items.
        size: of the pictures, in pixels.
        kinds: of holes.
    """
    rooms = {kind: number // len(kinds) + (i < number % len(kinds)) for i, kind in enumerate(kinds)}
    found, index = [], 0
    while len(found) < number:
        scene, caption = shapes.describe(index, seed, split)
        # Of two kinds that a scene suits, the one that lacks more.
        kind = max((k for k in kinds if TIERS[k] == scene.tier), key=rooms.get, default=None)
        if kind is not None and rooms[kind]:
            mask = make_mask(scene, index % scene.tier, size, index % 4 if kind == "half" else None)
            if mask is not None:
                rooms[kind] -= 1
                claims = Claims(scene.claims, scene.relation)
                picture = render(scene, size)
                found.append(Item(caption, claims, kind, index, picture, mask))
        index += 1
    return found


def make_mask(scene, which, size, half=None):
    """A mask, bool [size, size], True = keep, that hides an object in a box around it.

    The box leaves a sixteenth of the picture around the object; with `half`, 0 to 3, it ends at the
    object's middle instead on its upper, lower, left or right side.

    Args:
        which: the object's number.

    Returns:
        The mask; None where the box would reach the picture's rim or cut another object.
    """
    apart = [scene._replace(objects=(each,)) for each in scene.objects]
    nothing = render(scene._replace(objects=()), size)
    covered = [(render(each, size) != nothing).any(-1) for each in apart]
    own = np.argwhere(covered.pop(which))
    margin = size // 16
    box = np.stack([own.min(0) - margin, own.max(0) + margin], axis=1)  # [axis, first or last]
    if box.min() < 1 or box.max() > size - 2:
        return None
    if half is not None:
        axis, end = divmod(half, 2)
        middle = int((own[:, axis].min() + own[:, axis].max() + 1) // 2)
        box[axis, end] = middle - end  # the two halves share no pixel
    mask = np.ones((size, size), bool)
    mask[box[0, 0] : box[0, 1] + 1, box[1, 0] : box[1, 1] + 1] = False
    return None if any(other[~mask].any() for other in covered) else mask


def border_jump(image, mask):
    """How much neighbours on the two sides of a mask's border differ.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [H, W], of which some pixels are True and some False.

    Returns:
        The mean absolute difference, in grey levels, over all pairs of pixels side by side or one
        above the other that the border runs between.
    """
    image, pairs = image.astype(float), []
    for axis in (0, 1):
        across = np.diff(mask, axis=axis)
        pairs.append(np.abs(np.diff(image, axis=axis)).mean(-1)[across])
    return float(np.concatenate(pairs).mean())
