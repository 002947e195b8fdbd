"""What is under the page: its limits, its history, dropped pictures, and what a Studio draws."""

import io
import os
import threading
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glide_jax import model_folder
from glide_jax.images import read_settings, save_png
from glide_jax.web import __main__ as command
from glide_jax.web import studio as studios
from glide_jax.web.asked import Asked, Limits, read_drop, recall, whole
from glide_jax.web.history import LARGEST, LONGEST, History, Picture
from glide_jax.web.running import Stopped, watched
from glide_jax.web.studio import Studio, find_models
from tests import tiny
from tests.slow_painter import SlowPainter

LIMITS = Limits(images=4, steps=50, characters=20)
MODELS = {"mine": None, "yours": None}
ASKED = Asked(model="mine", steps=10)
GREY = np.full((32, 32, 3), 128, np.uint8)


def silent(fraction, images):
    """A progress that tells nobody."""


def picture(value=0, **settings):
    return Picture(np.full((4, 4, 3), value, np.uint8), settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": "x" * 21}, "prompt has 21 characters; at most 20 are taken"),
        ({"negative_prompt": "x" * 21}, "negative_prompt has 21 characters"),
        ({"num": 5}, "num is 5; it must be a whole number from 1 to 4"),
        ({"num": 1.5}, "num is 1.5; it must be a whole number"),
        ({"num": None}, "num is None; it must be a whole number"),
        ({"steps": 51}, "steps is 51; it must be a whole number from 1 to 50"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to 4294967291"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan; it must be from 0"),
        ({"guidance_scale": "3"}, "guidance_scale is 3; it must be from 0 to 20"),
        ({"sampler": "euler"}, "sampler is 'euler'; it must be one of ancestral, ddim, dpmpp"),
        ({"model": "/etc"}, "model is '/etc'; it must be one of mine, yours"),
    ],
)
def test_what_is_asked_has_limits(changed, message):
    ASKED.check(LIMITS, MODELS)
    with pytest.raises(ValueError, match=message):
        replace(ASKED, **changed).check(LIMITS, MODELS)


def test_numbers_of_a_browser_become_whole():
    assert [whole(n) for n in (3.0, 3, 2.5, None)] == [3, 3, 2.5, None]
    assert isinstance(whole(3.0), int) and whole(float("inf")) == float("inf")


def test_settings_come_back_from_a_dropped_picture(tmp_path):
    asked = replace(ASKED, prompt="ein größerer Kreis", num=3, seed=7, guidance_scale=4.5)
    save_png(tmp_path / "a.png", GREY, asked.recorded(2))
    dropped = read_drop((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(dropped.image, GREY)
    recalled = replace(asked, num=1, seed=9), []
    assert recall(dropped.settings, Asked(), LIMITS, MODELS) == recalled


def test_settings_that_are_of_no_use_are_named():
    settings = {"prompts": ["a"], "seed": "x", "model": "theirs", "steps": "fast27", "num": 2}
    asked, useless = recall(settings | {"sampler": [], "eta": 1}, ASKED, LIMITS, MODELS)
    assert asked == replace(ASKED, prompt="a", num=2)
    assert useless == ["model", "sampler", "seed", "steps"]
    assert recall({"prompts": [5], "steps": "27"}, ASKED, LIMITS, MODELS) == (
        replace(ASKED, steps=27),
        ["prompt"],
    )


def test_the_browser_gets_a_picture_with_its_settings_from_a_file_written_once(
    tmp_path, monkeypatch
):
    pytest.importorskip("gradio", reason="Gradio is not installed: requirements-web.txt")
    from glide_jax.web.served import served

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    settings = ASKED.recorded(1)
    path = Path(served(GREY, settings))
    assert read_settings(path) == settings and read_settings(served(GREY)) == {}
    np.testing.assert_array_equal(Image.open(path), GREY)
    os.utime(path, (0, 0))
    before = path.stat()
    assert served(GREY, dict(settings)) == str(path)
    # It is the same file, but has been shown again: Gradio goes by that.
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime > before.st_mtime
    path.unlink()
    assert served(GREY, settings) == str(path) and path.exists()
    others = [GREY + np.uint8(1), GREY.reshape(2, -1, 3)]
    assert len({str(path), *[served(other, settings) for other in others]}) == 3


def test_what_was_made_is_shown_once_and_bad_input_leaves_the_history(tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="Gradio is not installed: requirements-web.txt")
    from glide_jax.web import acts

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    studio, history = Studio(limits=LIMITS), History().add("Drawn", [Picture(GREY, {})])
    *_, (_, _, made) = acts.run("Varying", "Varied", lambda progress: (Picture(GREY, {}),) * 2)
    after, *shown, left = acts.finish(studio, history, made)
    assert [step.title for step in after.steps] == ["Drawn", "Varied"] and left is None
    assert len(after.step.pictures) == 2 and "Varied" in shown[-1]
    assert all(value == acts.gr.skip() for value in acts.finish(studio, history, left))

    def refused(progress):
        raise ValueError("no such thing")

    *_, (_, told, made) = acts.run("Varying", "Varied", refused)
    assert "no such thing" in told  # to who asks by HTTP, and has no `finish`
    after, *shown, left = acts.finish(studio, history, made)
    assert after == history and left is None and "no such thing" in shown[-1]


def encoded(size, kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", size[::-1], "red").save(file, kind)
    return file.getvalue()


def test_of_a_photograph_the_middle_square_is_taken_and_made_smaller():
    assert read_drop(encoded((20, 31), "JPEG")).image.shape == (20, 20, 3)
    large = read_drop(encoded((1100, 1200)))
    assert large.image.shape == (1024, 1024, 3) and large.settings == {}


@pytest.mark.parametrize("data", [b"", b"no picture", encoded((20, 20))[:60]])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ValueError, match="the dropped file"):
        read_drop(data)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("glide_jax.web.asked.read_rgb", lambda *_: pytest.fail("it reads"))
    with pytest.raises(ValueError, match="has 5000 x 4000 pixels; at most 16,777,216 are taken"):
        read_drop(encoded((4000, 5000)))


def test_a_history_goes_back_and_forgets_what_was_ahead():
    history = History().add("one", [picture(1)]).add("two", [picture(2), picture(3)])
    history = history.choose(1)
    assert history.picture.image[0, 0, 0] == 3
    assert history.go(-1).step.title == "one" and history.go(-5).place == 0
    assert history.go(-1).go(1) == history and history.go(1) == history
    other = history.go(-1).add("other", [picture(4)])
    assert [step.title for step in other.steps] == ["one", "other"] and other.place == 1
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"picture {wrong + 1} is not there"):
            history.choose(wrong)
    assert History().picture is None and History().go(-1).step is None


def test_a_history_is_bounded():
    history = History()
    for number in range(LONGEST + 5):
        history = history.add(str(number), [picture()])
    assert len(history.steps) == LONGEST and history.step.title == str(LONGEST + 4)
    large = Picture(np.zeros((LARGEST // 10, 3), np.uint8), {})  # a fourth is too many
    for title in "abcd":
        history = history.add(title, [large])
    assert [step.title for step in history.steps] == ["b", "c", "d"]


def test_work_is_watched_to_its_end():
    def work(progress):
        for part in (0.5, 1.0):
            progress(part, "images")
        return "result"

    news = [n for n in watched(work) if n.images or n.result]
    assert [n.fraction for n in news] == [0.5, 1.0, 1.0] and news[-1].result == "result"


def test_an_error_of_the_work_is_raised_where_it_is_watched():
    def work(progress):
        raise ValueError("num is 0")

    with pytest.raises(ValueError, match="num is 0"):
        list(watched(work))


def test_work_ends_when_nobody_watches(monkeypatch):
    ended, closed = threading.Event(), threading.Event()

    def work(progress):
        progress(0.1, "images")
        closed.wait(5)
        try:
            progress(0.2, "images")
        except Stopped:
            ended.set()
            raise

    watching = watched(work)
    assert next(n for n in watching if n.images).fraction == 0.1
    watching.close()
    closed.set()
    assert ended.wait(5)


def test_a_watcher_hears_of_nothing_new_too(monkeypatch):
    monkeypatch.setattr("glide_jax.web.running.HEARTBEAT", 0.01)
    release = threading.Event()
    watching = watched(lambda progress: release.wait(5))
    assert [next(watching).result for _ in range(3)] == [None] * 3
    release.set()
    assert list(takewhile(lambda n: n.result is None, watching)) is not None


@pytest.fixture(scope="module")
def places(tmp_path_factory, tokenizer):
    """A folder that holds the folder of a tiny model, and one that is no model."""
    folder = tmp_path_factory.mktemp("models")
    params = tiny.random_params(model=tiny.SMALLER)
    model_folder.save_model(folder / "tiny", tiny.SMALLER, tokenizer, params)
    (folder / "notes").mkdir()
    return (str(folder),)


@pytest.fixture(scope="module")
def studio(places):
    return Studio(places, Limits())


def test_local_models_stand_beside_those_that_ship(places):
    shipped = {"shapes32", "shapes32-inpaint", "shapes-upsample"}
    assert shipped <= set(find_models())
    assert set(find_models(places)) - set(find_models()) == {"tiny"}
    inside = find_models((f"{places[0]}/tiny", places[0]))
    assert sum(known.folder == f"{places[0]}/tiny" for known in inside.values()) >= 1


def test_a_place_without_models_is_refused(places):
    with pytest.raises(ValueError, match="notes', which holds no model: name another folder"):
        find_models((f"{places[0]}/notes",))
    with pytest.raises(ValueError, match="there is no model 'nothing'"):
        find_models(("nothing",))


def test_a_studio_draws_what_the_pipeline_draws(studio):
    asked = Asked("a red circle", num=2, sampler="ddim", steps=8, seed=5, model="tiny")
    told = []
    drawn = studio.draw(asked, lambda fraction, images: told.append((fraction, images)))
    pipeline = studio._pipeline("tiny")
    settings = {"sampler": "ddim", "steps": 8, "seed": 5, "batch_size": 4}
    expected = pipeline.text_to_image(["a red circle"], num=2, **settings)
    np.testing.assert_array_equal([p.image for p in drawn], expected)
    assert [p.settings["seed"] for p in drawn] == [5, 6] and drawn[0].prompt == "a red circle"
    assert told[0] == (0.0, None) and [f for f, _ in told[1:]] == [0.5, 1.0]
    # The last that is told is what comes out.
    np.testing.assert_array_equal(told[-1][1], expected)
    assert not np.array_equal(told[1][1], expected)


@pytest.fixture
def painter(monkeypatch):
    """A studio of the models that ship whose Pipeline is a SlowPainter."""
    monkeypatch.setattr(studios, "Pipeline", SlowPainter)
    return Studio()


def test_an_edit_keeps_what_is_not_painted_at_any_size(painter):
    image = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    painted = np.zeros((512, 512), bool)
    painted[:, :100] = True  # 100 / 512 of 100 pixels are 19.5: the 20th is drawn anew, too
    (edited, _) = painter.edit(Asked(num=2, seed=9), Picture(image, {}), painted, silent)
    np.testing.assert_array_equal(edited.image[:, 20:], image[:, 20:])
    assert (edited.image[:, :12] == SlowPainter.painted(9)[0, 0]).all()  # not near the border
    assert (edited.image[:, 19] != image[:, 19]).any(axis=-1).mean() > 0.9
    assert edited.settings["edited"] and edited.settings["seed"] == 9


def test_an_edit_needs_something_painted(painter):
    for painted in (None, np.zeros((8, 8), bool)):
        with pytest.raises(ValueError, match="nothing is painted: brush over"):
            painter.edit(Asked(), Picture(GREY, {}), painted, silent)
    with pytest.raises(ValueError, match=r"the mask is \[8, 9\]; it must be square"):
        painter.edit(Asked(), Picture(GREY, {}), np.ones((8, 9), bool), silent)


def test_a_variation_has_the_model_s_size_and_tells_its_strength(painter):
    large = Picture(np.zeros((64, 64, 3), np.uint8), {})
    (varied,) = painter.vary(Asked(num=1), large, 0.4, silent)
    assert varied.image.shape == (32, 32, 3) and varied.settings["strength"] == 0.4


def test_without_an_upsampler_nothing_is_enlarged(painter):
    small = Picture(np.zeros((31, 31, 3), np.uint8), {})
    assert painter.upsampler_for(small) is None
    with pytest.raises(ValueError, match="there is no upsampler for 31 pixels: add --models"):
        painter.upscale(Asked(), small, silent)


def test_one_thing_is_drawn_at_a_time(painter, monkeypatch):
    monkeypatch.setattr(SlowPainter, "pause", 0.002)
    monkeypatch.setattr(SlowPainter, "most", 0)
    threads = [
        threading.Thread(target=painter.draw, args=(Asked(num=1, seed=i), silent)) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SlowPainter.most == 1


def test_what_is_compiled_is_dropped_before_it_is_too_much(painter, monkeypatch):
    cleared = []
    monkeypatch.setattr(studios.jax, "clear_caches", lambda: cleared.append(1))
    for steps in [*range(1, studios.PROGRAMS + 1), 1]:
        painter.draw(Asked(num=1, steps=steps), silent)
    assert not cleared
    painter.draw(Asked(num=1, steps=studios.PROGRAMS + 1), silent)
    assert len(cleared) == 1


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--port", "0", "from 1 to 65535"),
        ("--port", "65536", "from 1 to 65535"),
        *((option, "0", "1 or more") for option in ("--max-images", "--max-steps", "--queue")),
    ],
)
def test_the_command_line_refuses_what_makes_no_page(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option} is {value}; it must be {allowed}"):
        command.main([option, value])


def test_without_gradio_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install -r requirements-web.txt"):
        command.main([])
