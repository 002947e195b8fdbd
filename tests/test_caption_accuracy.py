"""The referee of captions: right on real pictures, and on all that is wrong with others."""

import numpy as np
import pytest

from glide_jax.data import shapes
from glide_jax.data.captions import Phrase
from glide_jax.data.scenes import COLOURS, REACHES, SHAPES, Object, Scene, render
from glide_jax.evaluation.caption_accuracy import Claims, failures
from glide_jax.evaluation.referee import CHANGES, SPOILED, Check, change, check
from glide_jax.evaluation.scene_reader import connected_regions, read_scene
from glide_jax.evaluation.scores import share, wilson_interval

TINT = (230, 240, 220)


def circle(colour="red", size="big", x=0.5, y=0.5):
    return Object("circle", colour, size, x, y, shapes.RADII[size])


def draw(*objects):
    return render(Scene(objects, TINT, 1, (), None), 32)


def say(*phrases, relation=None):
    return Claims(tuple(Phrase(*phrase) for phrase in phrases), relation)


RED, BLUE = ("circle", "red", None, 1), ("circle", "blue", None, 1)


@pytest.mark.parametrize("size", (32, 64))
def test_a_picture_is_read_back(size):
    for index in range(60):
        real = shapes.example(index, seed=5, split="test", size=size)
        found = sorted(read_scene(real.image).objects, key=lambda o: (o.x, o.y))
        drawn = sorted(real.scene.objects, key=lambda o: (o.x, o.y))
        assert [f[:3] for f in found] == [d[:3] for d in drawn]
        np.testing.assert_allclose([f[3:6] for f in found], [d[3:6] for d in drawn], atol=2e-3)


def test_every_shape_and_colour_is_told_apart():
    for shape in SHAPES:
        for colour in COLOURS:
            for size, radius in shapes.RADII.items():
                thing = Object(shape, colour, size, 0.47, 0.52, radius)
                (found,) = read_scene(draw(thing)).objects
                assert found[:3] == thing[:3]


@pytest.mark.long
def test_the_referee_is_right_about_real_changed_and_spoiled_pictures(capsys):
    shares = check(Check(number=300))
    expected = {f"another {kind} rejected" for kind in CHANGES}
    expected |= {f"{how} rejected" for how in SPOILED} | {"real pictures accepted"}
    assert set(shares) == expected
    assert all(each["value"] >= 0.99 for each in shares.values()), shares
    assert "| real pictures accepted | 100.0 %" in capsys.readouterr().out


def test_a_changed_caption_differs_in_that_alone():
    claims, rng = say(RED, ("star", "blue", "small", 2), relation="left"), np.random.default_rng(0)
    for kind in ("colour", "shape", "size", "count"):
        changed = change(claims, kind, rng)
        differing = [
            name
            for before, after in zip(claims.phrases, changed.phrases, strict=True)
            for name in Phrase._fields
            if getattr(before, name) != getattr(after, name)
        ]
        assert differing == [kind] and changed.relation == "left"
    assert change(claims, "relation", rng) == claims._replace(relation="right")
    assert change(say(RED), "relation", rng) is change(say(RED), "size", rng) is None


LEFT, RIGHT = circle(x=0.25), circle("blue", x=0.75)


@pytest.mark.parametrize(
    ("picture", "claims", "expected"),
    [
        ((LEFT, RIGHT), say(RED, BLUE), ()),
        ((LEFT, RIGHT), say(BLUE, RED), ()),
        ((LEFT, RIGHT), say(RED, BLUE, relation="left"), ()),
        ((LEFT, RIGHT), say(RED, BLUE, relation="right"), ("relation",)),
        ((LEFT, RIGHT), say(RED, BLUE, relation="above"), ("relation",)),
        ((LEFT, RIGHT), say(RED), ("count",)),
        ((LEFT,), say(RED, BLUE), ("count",)),
        ((LEFT, RIGHT), say(RED, ("circle", "green", None, 1)), ("colour",)),
        ((LEFT, RIGHT), say(RED, ("square", "blue", None, 1)), ("shape",)),
        ((LEFT, RIGHT), say(("circle", "red", "small", 1), BLUE), ("size",)),
        ((LEFT, RIGHT), say(RED, ("star", "green", "small", 1)), ("colour", "shape", "size")),
        ((LEFT, RIGHT, circle(y=0.2, size="small")), say(("circle", "red", None, 2), BLUE), ()),
        (
            (LEFT, RIGHT, circle(y=0.2, size="small")),
            say(RED, ("circle", "blue", None, 2)),
            ("count",),
        ),
    ],
)
def test_what_is_wrong_is_named(picture, claims, expected):
    assert failures(draw(*picture), claims) == expected


def test_two_objects_side_by_side_are_neither_above_nor_below():
    picture = draw(circle(x=0.25, y=0.45), circle("blue", x=0.75, y=0.55))
    for relation, expected in (("left", ()), ("above", ("relation",)), ("below", ("relation",))):
        assert failures(picture, say(RED, BLUE, relation=relation)) == expected


def test_a_radius_between_small_and_big_is_neither():
    picture = draw(circle()._replace(radius=0.132))
    assert failures(picture, say(RED)) == ()
    for size in shapes.RADII:
        assert failures(picture, say(("circle", "red", size, 1))) == ("size",)


def test_what_is_no_shape_is_none():
    bar = np.full((32, 32, 3), TINT, np.uint8)
    bar[10:13, 4:28] = COLOURS["red"]
    assert all(failures(bar, say((shape, "red", None, 1))) == ("shape",) for shape in SHAPES)


def test_a_dark_background_is_refused():
    assert failures(np.full((32, 32, 3), 120, np.uint8), say(RED)) == ("unreadable",)


def test_a_speck_does_not_count_but_a_blot_does():
    picture = draw(circle())
    picture[2, 2:5] = 20
    assert failures(picture, say(RED)) == ()
    picture[3, 2:5] = 20
    assert failures(picture, say(RED)) == ("count",)


def test_neighbours_at_the_smallest_gap_are_two():
    apart = 2 * 0.17 + shapes.GAP
    for angle in np.linspace(0, np.pi, 40):
        x, y = 0.5 + apart / 2 * np.cos(angle), 0.5 + apart / 2 * np.sin(angle)
        picture = draw(circle("black", x=x, y=y), circle("black", x=1 - x, y=1 - y))
        assert failures(picture, say(("circle", "black", "big", 2))) == ()
    assert max(REACHES.values()) * 0.17 * 2 < 1


def test_regions_are_joined_over_corners():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert sorted(len(region) for region in connected_regions(mask)) == [1, 1, 2]


def test_wilson_s_interval():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    np.testing.assert_allclose(wilson_interval(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(15, 148), (0.0624, 0.1605), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(0, 20), (0.0, 0.1611), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(1, 29), (0.0061, 0.1718), atol=5e-5)
    assert share(3, 3)["interval"][1] == 1.0
    with pytest.raises(ValueError, match="4 successes of 3"):
        wilson_interval(4, 3)
