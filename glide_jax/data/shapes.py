"""The embedded data set: captioned scenes of one to three shapes, drawn at random but by rules."""

from typing import NamedTuple

import numpy as np

from glide_jax.data.captions import RELATIONS, Phrase, caption, pick
from glide_jax.data.scenes import COLOURS, REACHES, SHAPES, Object, Scene, render

# Nominal radii of the two sizes; each object's own is within RADIUS_JITTER (a fraction) of one.
RADII = {"small": 0.105, "big": 0.17}
RADIUS_JITTER = 0.04

# Background channels: light enough to be far from every colour.
BACKGROUND = range(210, 256)

# Between an object and the rim, and between two objects: about 1 and 2 pixels at the size of 32.
MARGIN, GAP = 0.035, 0.065

# A stated relation: centres this far apart along its axis, and across it at most this much of that.
ALONG, ACROSS = 0.25, 0.6

# Below this side, in pixels, small shapes cannot be told apart.
SMALLEST = 32

SPLITS = ("train", "test", "compositional")

# Scenes of one object; of two, with a relation; of three, or of several alike, with their number.
TIERS = (1, 2, 3)

# The (colour, shape) pairs of the compositional split, which the other splits never show.
HELD_OUT = frozenset(
    {
        ("red", "triangle"),
        ("green", "diamond"),
        ("blue", "star"),
        ("yellow", "cross"),
        ("purple", "circle"),
        ("orange", "square"),
        ("cyan", "star"),
        ("black", "circle"),
    }
)


# So many objects a scene has at most; each is of one of these kinds, or there is none: the last.
MOST_OBJECTS = 3
OBJECT_KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
NOTHING = len(OBJECT_KINDS)


class Example(NamedTuple):
    """A picture (uint8 [size, size, 3]), its caption and its scene."""

    image: np.ndarray
    caption: str
    scene: Scene


def _kinds(held_out):
    pairs = ((colour, shape) for colour in COLOURS for shape in SHAPES)
    return tuple(pair for pair in pairs if (pair in HELD_OUT) == held_out)


_KINDS = {"train": _kinds(False), "test": _kinds(False), "compositional": _kinds(True)}


def _draw_claims(rng, split, tiers):
    """A tier, its phrases and their relation; no two phrases share both colour and shape."""
    tier = pick(rng, tiers)
    relation = pick(rng, tuple(RELATIONS)) if tier == 2 else None
    counts = _draw_counts(rng) if tier == 3 else (1,) * tier
    kinds = _KINDS[split]
    chosen = rng.permutation(len(kinds))[: len(counts)]
    claims = [
        Phrase(shape, colour, pick(rng, ("small", "big", None, None)), count)
        for (colour, shape), count in zip((kinds[k] for k in chosen), counts, strict=True)
    ]
    return tier, tuple(claims), relation


def _draw_counts(rng):
    """How many of each kind are in a scene of the third tier: half are of a single kind."""
    if rng.random() < 0.5:
        return pick(rng, ((2,), (3,)))
    return pick(rng, ((1, 1, 1), (1, 1, 1), (2, 1), (1, 2)))


_TRIES = 64
_DRIFT = np.linspace(0.0, 1.0, _TRIES)[:, None, None] ** 2
_TOWARDS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
_COUPLES = {1: (), 2: ((0, 1),), 3: ((0, 1), (0, 2), (1, 2))}


def _draw_centres(rng, reaches, relation):
    """Centres [n, 2] that keep the objects apart, off the rim, and in their relation.

    The tries drift from uniform ones to a layout with room for any objects, so one always fits.
    """
    reaches = np.array(reaches)
    low = MARGIN + reaches[:, None]
    spread = _draw_spread(rng, len(reaches), relation)
    tries = (1 - _DRIFT) * rng.random((_TRIES, len(reaches), 2)) + _DRIFT * spread
    tries = low + tries * (1 - 2 * low)  # [tries, n, 2]
    good = _are_apart(tries, reaches)
    if relation is not None:
        good &= _are_related(tries, relation)
    return tries[good.argmax()]


def _draw_spread(rng, number, relation):
    """The layout [n, 2] in the unit square that is furthest spread, turned and dealt at random."""
    if relation is not None:
        return 0.5 + 0.5 * np.outer((1, -1), _TOWARDS[relation])
    layout = rng.permutation(_CORNERS)[:number, :: pick(rng, (1, -1))]
    return layout if rng.random() < 0.5 else 1 - layout


def _are_apart(centres, reaches):
    good = np.ones(len(centres), bool)
    for i, j in _COUPLES[len(reaches)]:
        x, y = (centres[:, i] - centres[:, j]).T
        good &= np.hypot(x, y) >= reaches[i] + reaches[j] + GAP
    return good


def _are_related(centres, relation):
    x, y = (centres[:, 0] - centres[:, 1]).T
    towards_x, towards_y = _TOWARDS[relation]
    along, across = towards_x * x + towards_y * y, np.abs(towards_y * x + towards_x * y)
    return (along >= ALONG) & (across <= ACROSS * along)


def _draw_scene(rng, split, tiers):
    tier, claims, relation = _draw_claims(rng, split, tiers)
    kinds = [phrase for phrase in claims for _ in range(phrase.count)]
    sizes = [phrase.size or pick(rng, ("small", "big")) for phrase in kinds]
    radii = [RADII[size] * (1 + RADIUS_JITTER * (2 * rng.random() - 1)) for size in sizes]
    reaches = [REACHES[kind.shape] * radius for kind, radius in zip(kinds, radii, strict=True)]
    centres = _draw_centres(rng, reaches, relation).tolist()
    objects = tuple(
        Object(kind.shape, kind.colour, size, x, y, radius)
        for kind, size, (x, y), radius in zip(kinds, sizes, centres, radii, strict=True)
    )
    background = tuple(pick(rng, BACKGROUND) for _ in range(3))
    return Scene(objects, background, tier, claims, relation)


def describe(
    index: int, seed: int = 0, split: str = "train", tiers: tuple[int, ...] = TIERS
) -> tuple[Scene, str]:
    """The scene and the caption of the example at an index, without its picture; see `example`."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if not tiers or not {*tiers} <= {*TIERS}:
        raise ValueError(f"tiers is {tiers!r}; it must be one or more of {TIERS}")
    for name, value in (("index", index), ("seed", seed)):
        if value < 0:
            raise ValueError(f"{name} is {value}; it must be at least 0")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    scene = _draw_scene(rng, split, tiers)
    return scene, caption(scene.claims, scene.relation, rng)


def label(
    index: int, seed: int = 0, split: str = "train", tiers: tuple[int, ...] = TIERS
) -> list[int]:
    """The kind of each object of the example at an index, from left to right; see `describe`.

    Numbers of OBJECT_KINDS by the objects' centres, MOST_OBJECTS of them: NOTHING behind the last.
    """
    objects = sorted(describe(index, seed, split, tiers)[0].objects, key=lambda each: each.x)
    kinds = [OBJECT_KINDS.index((each.colour, each.shape)) for each in objects]
    return kinds + [NOTHING] * (MOST_OBJECTS - len(kinds))


def example(
    index: int,
    seed: int = 0,
    split: str = "train",
    size: int = 32,
    tiers: tuple[int, ...] = TIERS,
) -> Example:
    """The example at an index: a pure function of its arguments.

    Args:
        index: from 0 on, without end.
        seed: of the whole data set, from 0 on.
        split: train, test (other scenes of the same kinds) or compositional (only objects whose
            pair of colour and shape the other two never show).
        size: width and height of the picture in pixels, from 32 on; the scene is the same at all.
        tiers: of the scenes, from TIERS, each as often as it is named.

    Returns:
        The picture, its caption and its scene.

    Raises:
        ValueError: if an argument is outside what is allowed.
    """
    if size < SMALLEST:
        raise ValueError(f"size is {size}; it must be at least {SMALLEST}")
    scene, text = describe(index, seed, split, tiers)
    return Example(render(scene, size), text, scene)
