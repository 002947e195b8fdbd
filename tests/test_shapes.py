"""The shapes data set: pictures, scenes and captions agree, and keep the rules."""

import re
import time
from collections import Counter
from math import hypot, pi

import numpy as np
import pytest

from glide_jax.config import Data
from glide_jax.data import scenes
from glide_jax.data.captions import RELATIONS, Phrase, caption
from glide_jax.data.shapes import (
    COLOURS,
    HELD_OUT,
    SHAPES,
    SPLITS,
    TIERS,
    Object,
    Scene,
    describe,
    example,
    label,
    render,
)
from glide_jax.data.sources import open_source

MANY = 2000
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
SIDES = {"left": "left", "right": "right", "top": "above", "bottom": "below"}
NOUN = re.compile(
    r"\b(a|an|one|two|three) (?:(small|little|big|large) )?"
    r"(red|green|blue|yellow|purple|orange|cyan|black) "
    r"(circle|square|triangle|diamond|cross|star)(s|es)?\b"
)

# How the caption may place the two things that it mentions, X first; with the side of X.
SAME_SIDE = (
    r"X (?:to the )?(left|right) of Y",
    r"X (above|over|below|under) Y",
    r"X (?:on|at) the (left|right|top|bottom) and Y (?:on|at) the (left|right|top|bottom)",
    r"(?:on|at) the (left|right|top|bottom) there is X and (?:on|at) the (\w+) Y",
)
OTHER_SIDE = (
    r"X with Y on its (left|right)",
    r"X with Y (above|below|under) it",
    r"to the (left|right) of X there is Y",
    r"(above|below) X there is Y",
)


@pytest.fixture(scope="module")
def examples():
    return {split: [example(i, 0, split) for i in range(MANY)] for split in SPLITS}


def kinds(scene):
    return [(item.colour, item.shape) for item in scene.objects]


def read(words):
    """The phrases of a caption, in the order of mention."""
    sizes = {"little": "small", "large": "big", "": None}
    counts = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
    return [
        Phrase(shape, colour, sizes.get(size, size), counts[first])
        for first, size, colour, shape, _ in NOUN.findall(words)
    ]


def side_of_first(words):
    """The side on which a caption puts what it mentions first."""
    frame = NOUN.sub("Y", NOUN.sub("X", words, count=1))
    canonical = {"over": "above", "under": "below"} | SIDES
    for pattern in SAME_SIDE + OTHER_SIDE:
        found = re.fullmatch(pattern, frame)
        if found:
            sides = [canonical.get(side, side) for side in found.groups()]
            assert len(sides) == 1 or sides[1] == OPPOSITE[sides[0]]
            return sides[0] if pattern in SAME_SIDE else OPPOSITE[sides[0]]
    raise AssertionError(f"unknown wording: {words}")


def count_regions(image, background):
    """The number of 8-connected regions that clearly differ from the background."""
    differs = np.abs(image.astype(int) - background).max(axis=-1) > 60
    todo = set(zip(*np.nonzero(differs), strict=True))
    regions = 0
    while todo:
        regions += 1
        edge = [todo.pop()]
        while edge:
            row, column = edge.pop()
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & todo
            todo -= near
            edge += near
    return regions


def lone(shape, radius=0.3, x=0.5, y=0.5):
    """A scene of one black shape on white."""
    item = Object(shape, "black", "big", x, y, radius)
    return Scene((item,), (255, 255, 255), 1, (Phrase(shape, "black", None, 1),), None)


def cover(image):
    """The part of each pixel that a black shape on white covers."""
    return (255.0 - image[..., 0]) / (255 - COLOURS["black"][0])


def test_example_is_pure():
    first = example(7, 3, "test")
    for other in (0, 8, 7):
        again = example(other, 3, "test")
    assert again.caption == first.caption and again.scene == first.scene
    np.testing.assert_array_equal(again.image, first.image)


def test_example_is_pinned():
    """Models that ship were trained on these very scenes."""
    assert [example(i).caption for i in (0, 10, 40)] == [
        "to the right of a red diamond there is a cyan diamond",
        "above an orange circle there is a big purple triangle",
        "a picture of one small yellow circle, a big cyan diamond, a little red circle",
    ]
    place = example(0).scene.objects[0][3:]
    assert place == pytest.approx((0.7986779354836606, 0.4101428830287565, 0.1082716978085316))


@pytest.mark.long
def test_one_core_draws_over_two_thousand_a_second():
    def seconds():
        since = time.process_time()
        for index in range(200):
            example(index)
        return time.process_time() - since

    assert 200 / min(seconds() for _ in range(10)) > 2000


def test_streams_differ():
    streams = ((0, "train"), (1, "train"), (0, "test"), (0, "compositional"))
    tints = [example(i, *stream).scene.background for stream in streams for i in range(20)]
    assert len(set(tints)) == len(tints)


@pytest.mark.parametrize("split", SPLITS)
def test_tiers_come_in_thirds(examples, split):
    counts = Counter(each.scene.tier for each in examples[split])
    spread = (MANY * 1 / 3 * 2 / 3) ** 0.5
    assert set(counts) == {1, 2, 3}
    assert all(abs(count - MANY / 3) < 4 * spread for count in counts.values())


def test_tiers_come_as_often_as_they_are_named():
    drawn = Counter(describe(index, 5, "train", (2, 2, 3))[0].tier for index in range(900))
    assert set(drawn) == {2, 3}
    assert abs(drawn[2] - 600) < 4 * (900 * 2 / 3 * 1 / 3) ** 0.5
    assert Data().tiers == TIERS
    named = [describe(index, 5, "train", (1, 2, 3)) for index in range(20)]
    assert named == [describe(index, 5) for index in range(20)]


def test_a_recipe_s_tiers_are_those_of_its_examples():
    source = open_source(Data(tiers=(3,), seed=4), 32)
    scenes = [describe(index, 4, "train", (3,)) for index in range(6)]
    assert {scene.tier for scene, _ in scenes} == {3}
    for index, (scene, text) in enumerate(scenes):
        assert source.captions(index) == [text] == source[index].captions
        np.testing.assert_array_equal(source[index].image, render(scene, 32))
        assert source.label(index) == label(index, 4, "train", (3,))
        assert len(source.spans(index)) == len(scene.claims)


@pytest.mark.parametrize("split", SPLITS)
def test_tier_says_what_is_there(examples, split):
    for _, _, scene in examples[split]:
        counts = [claim.count for claim in scene.claims]
        number, related = len(scene.objects), scene.relation is not None
        assert sum(counts) == number <= 3
        assert (scene.tier == 2) == related
        assert scene.tier != 1 or number == 1
        assert scene.tier != 2 or counts == [1, 1]
        assert scene.tier != 3 or number == 3 or counts == [2]


def test_half_of_the_third_tier_is_of_one_kind(examples):
    third = [each.scene for each in examples["train"] if each.scene.tier == 3]
    single = sum(len(scene.claims) == 1 for scene in third)
    assert abs(single - len(third) / 2) < 4 * (len(third) / 4) ** 0.5


def test_held_out_pairs_cover_every_shape_and_colour():
    assert len(HELD_OUT) == len(COLOURS)
    assert {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)


def test_splits_show_exactly_their_pairs(examples):
    everything = {(colour, shape) for colour in COLOURS for shape in SHAPES}
    shown = {
        split: {kind for each in examples[split] for kind in kinds(each.scene)} for split in SPLITS
    }
    assert shown["train"] == shown["test"] == everything - HELD_OUT
    assert shown["compositional"] == HELD_OUT


def test_everything_occurs(examples):
    drawn = [each.scene for each in examples["train"]]
    firsts = {(scene.claims[0].size, scene.objects[0].size) for scene in drawn}
    counts = {tuple(claim.count for claim in scene.claims) for scene in drawn if scene.tier == 3}
    assert {scene.relation for scene in drawn} == {None, *RELATIONS}
    assert firsts == {("small", "small"), ("big", "big"), (None, "small"), (None, "big")}
    assert counts == {(2,), (3,), (1, 1, 1), (2, 1), (1, 2)}


@pytest.mark.parametrize("split", SPLITS)
def test_claims_are_true_of_their_objects(examples, split):
    for _, _, scene in examples[split]:
        claimed = [claim for claim in scene.claims for _ in range(claim.count)]
        for claim, item in zip(claimed, scene.objects, strict=True):
            assert (claim.shape, claim.colour) == (item.shape, item.colour)
            assert claim.size in (None, item.size)
        assert len({(claim.colour, claim.shape) for claim in scene.claims}) == len(scene.claims)


def test_sizes_are_far_apart(examples):
    radii = {"small": [], "big": []}
    for each in examples["train"]:
        for item in each.scene.objects:
            radii[item.size].append(item.radius)
    assert min(radii["big"]) > 1.4 * max(radii["small"])
    assert all(max(values) < 1.1 * min(values) for values in radii.values())


@pytest.mark.parametrize("split", SPLITS)
def test_relations_hold_clearly(examples, split):
    signs = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
    for _, _, scene in examples[split]:
        if scene.relation is None:
            continue
        a, b = scene.objects
        x, y = signs[scene.relation]
        along = x * (a.x - b.x) + y * (a.y - b.y)
        across = y * (a.x - b.x) + x * (a.y - b.y)
        assert along >= 0.25
        assert abs(across) <= 0.6 * along + 1e-9


@pytest.mark.parametrize("split", SPLITS)
def test_objects_are_separate_regions_off_the_rim(examples, split):
    for image, _, scene in examples[split][:600]:
        assert count_regions(image, scene.background) == len(scene.objects)
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (rim == scene.background).all()


def test_three_big_shapes_find_room():
    """The hardest scenes: they exist, and so their placing ends."""
    crowded = [
        scene
        for scene in (example(i, 5).scene for i in range(1000))
        if [item.size for item in scene.objects] == ["big"] * 3
    ]
    assert len(crowded) > 30
    for scene in crowded:
        for i, a in enumerate(scene.objects):
            for b in scene.objects[:i]:
                assert hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + 0.065


def test_places_are_all_over_the_picture(examples):
    spots = [each.scene.objects[0] for each in examples["train"] if each.scene.tier == 1]
    cells = Counter((int(3 * item.x), int(3 * item.y)) for item in spots)
    assert len(cells) == 9 and min(cells.values()) > 20


def test_centres_have_their_colour(examples):
    for image, _, scene in examples["train"][:600]:
        for item in scene.objects:
            assert tuple(image[int(item.y * 32), int(item.x * 32)]) == COLOURS[item.colour]


def test_backgrounds_are_light_tints_far_from_colours(examples):
    tints = np.array([each.scene.background for each in examples["train"]])
    assert tints.min() >= 209 and tints.max() <= 255
    assert len({tuple(tint) for tint in tints}) > 0.9 * MANY
    for colour in COLOURS.values():
        assert np.abs(tints - colour).max(axis=1).min() > 150


@pytest.mark.parametrize(
    "shape, area",
    [
        ("circle", pi),
        ("square", 4 * 0.86**2),
        ("diamond", 2 * 1.18**2),
        ("cross", 8 * 1.1 * 0.36 - 4 * 0.36**2),
        ("triangle", 0.75 * 3**0.5 * 1.2**2),
        ("star", 5 * 1.2 * 0.5 * np.sin(pi / 5)),
    ],
)
def test_covered_area_is_the_shape_s(shape, area):
    """Whole pixels would miss these by more; n tips and n dents make n r R sin(pi / n)."""
    scene = lone(shape, radius=0.2, x=0.503, y=0.491)
    assert cover(render(scene, 64)).sum() == pytest.approx(area * 12.8**2, rel=0.01)


def test_edges_are_antialiased():
    covered = cover(render(lone("circle"), 64))
    partly = (covered > 0.02) & (covered < 0.98)
    assert 80 < partly.sum() < 200  # the outline is 2 pi 0.3 64 = 121 pixels long


def test_pictures_are_upright():
    """A triangle's and a star's single point is on top; x is to the right and y down."""
    for shape in ("triangle", "star"):
        rows = cover(render(lone(shape), 64)).sum(axis=1)
        assert rows[:8].sum() == 0 and 0 < rows[10] < 3 and rows[52:].sum() == 0
    y, x = np.nonzero(cover(render(lone("circle", 0.1, x=0.25, y=0.625), 64)) > 0.5)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx((16, 40), abs=0.1)


def test_painting_around_an_object_cuts_nothing_off(monkeypatch):
    drawn = [example(i) for i in range(150)]
    monkeypatch.setattr(scenes, "_pixels", lambda centre, reach, size: np.arange(size))
    for image, _, scene in drawn:
        np.testing.assert_array_equal(image, render(scene, 32))


def test_every_size_shows_the_same_scene():
    for index in range(40):
        small, large = example(index), example(index, size=64)
        assert small.caption == large.caption and small.scene == large.scene
        assert large.image.shape == (64, 64, 3) and large.image.dtype == np.uint8
        boxed = large.image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.abs(boxed - small.image).mean() < 1.0


@pytest.mark.parametrize("split", SPLITS)
def test_captions_say_the_claims(examples, split):
    for _, words, scene in examples[split]:
        assert Counter(read(words)) == Counter(scene.claims)


@pytest.mark.parametrize("split", SPLITS)
def test_captions_place_things_where_they_are(examples, split):
    for _, words, scene in examples[split]:
        if scene.relation is None:
            continue
        places = {(item.colour, item.shape): item for item in scene.objects}
        x, y = (places[phrase.colour, phrase.shape] for phrase in read(words))
        side = side_of_first(words)
        first, second = (x, y) if side in ("left", "above") else (y, x)
        axis = "x" if side in ("left", "right") else "y"
        assert getattr(first, axis) < getattr(second, axis)


def test_captions_are_good_english(examples):
    for _, words, _ in examples["train"]:
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", words)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", words)
        for first, _, _, shape, ending in NOUN.findall(words):
            plural = "es" if shape == "cross" else "s"
            assert ending == (plural if first in ("two", "three") else "")


def test_captions_vary(examples):
    assert len({each.caption for each in examples["train"]}) > 0.75 * MANY


def wordings(claims, relation=None):
    return {caption(claims, relation, np.random.default_rng(i)) for i in range(400)}


def test_paraphrases():
    red, blue = Phrase("circle", "red", None, 1), Phrase("square", "blue", None, 1)
    assert {
        "a red circle left of a blue square",
        "a blue square with a red circle on its left",
        "on the left there is one red circle and on the right a blue square",
    } <= wordings((red, blue), "left")
    assert {"a red circle over a blue square", "above a blue square there is a red circle"} <= (
        wordings((red, blue), "above")
    )
    stars = Phrase("star", "green", "small", 2)
    assert {"two small green stars", "a picture of two little green stars"} <= wordings((stars,))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "val"}, "split is 'val'; it must be one of train, test, compositional"),
        ({"tiers": (1, 4)}, "tiers is (1, 4); it must be one or more of (1, 2, 3)"),
        ({"tiers": ()}, "tiers is (); it must be one or more of (1, 2, 3)"),
        ({"size": 31}, "size is 31; it must be at least 32"),
        ({"index": -1}, "index is -1; it must be at least 0"),
        ({"seed": -2}, "seed is -2; it must be at least 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        example(**{"index": 0, **arguments})
