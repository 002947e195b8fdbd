"""The page as a person uses it, in headless Chromium, and fifty requests at once over HTTP."""

import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from glide_jax import model_folder
from glide_jax.images import read_settings, save_png
from glide_jax.web import studio as studios
from glide_jax.web.asked import Asked, Limits
from tests import tiny, web_requests
from tests.slow_painter import SIDE, SlowPainter

pytest.importorskip("gradio", reason="Gradio is not installed: requirements-web.txt")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REQUESTS = 50
BROWSERS = 3
# The machine may have no network and no screen.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# Gradio's own warnings are not ours to mend.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def address(tmp_path_factory, tokenizer):
    """A page of the models that ship and an upsampler, all of them SlowPainters, at a free port."""
    from glide_jax.web import page

    upsampler = tmp_path_factory.mktemp("models") / "upsampler"
    sizes = replace(tiny.SMALLER.unet, low_res_size=SIDE, image_size=2 * SIDE)
    model = replace(tiny.SMALLER, unet=sizes)
    model_folder.save_model(upsampler, model, tokenizer, tiny.random_params(model=model))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studios, "Pipeline", SlowPainter)
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        blocks = page.build(studios.Studio([str(upsampler)])).queue(max_size=64)
        _, where, _ = blocks.launch(prevent_thread_lock=True, **page.LAUNCH)
        yield where
        blocks.close()


def test_the_settings_begin_within_the_limits(monkeypatch):
    from glide_jax.web import page

    gradio = MagicMock()
    monkeypatch.setattr(page, "gr", gradio)
    page._settings(SimpleNamespace(limits=Limits(images=2, steps=9), base={"tiny": None}), {})
    ranges = {call.kwargs["label"]: call.args for call in gradio.Slider.call_args_list}
    assert ranges["Steps"] == (1, 9, 9) and ranges["Number"] == (1, 2, 2)


@pytest.fixture(scope="module")
def launch():
    """Starts a Chromium, or skips and says why there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        yield lambda: playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture
def tab(launch, address):
    """The page, opened; what it holds of an earlier test is another session's.

    A headless Chromium on a busy machine may never draw a frame, and what clicks would then wait
    for one; such a browser gives way to a new one.
    """
    for _ in range(BROWSERS):
        browser = launch()
        tab = browser.new_page(viewport={"width": 1280, "height": 1500})
        tab.set_default_timeout(60_000)
        tab.goto(address)
        tab.locator("#draw").wait_for()
        if draws_frames(tab):
            break
        browser.close()
    else:
        pytest.fail(f"none of {BROWSERS} browsers has drawn the page")
    yield tab
    browser.close()


def draws_frames(tab):
    """Whether the browser calls back for some frames within 20 seconds."""
    from playwright.sync_api import TimeoutError

    # The function is called once a frame.
    count = "() => { window.drawn = (window.drawn || 0) + 1; return window.drawn > 5; }"
    try:
        tab.wait_for_function(count, polling="raf", timeout=20_000)
    except TimeoutError:
        return False
    return True


def told(tab, words):
    """Waits until the page says so."""
    tab.locator("#status", has_text=words).wait_for()


def draw(tab, prompt="a red circle"):
    tab.fill("#prompt textarea", prompt)
    tab.click("#draw")
    told(tab, "Drawn")


def pictures(tab):
    return tab.locator("#gallery .thumbnail-item img, #gallery button img")


def side(tab):
    """Of the chosen picture, once the browser has got it: its place is told before."""
    loaded = """() => { const image = document.querySelector('#chosen img');
        return image && image.complete && image.naturalWidth; }"""
    return tab.wait_for_function(loaded).json_value()


def colour(tab, x, y):
    """Of the chosen picture as the browser has it, at a part of its width and height."""
    side(tab)
    script = """([x, y]) => { const image = document.querySelector('#chosen img');
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
        return [...context.getImageData(x * canvas.width, y * canvas.height, 1, 1).data]; }"""
    return tab.evaluate(script, [x, y])[:3]


def test_a_person_draws_chooses_paints_and_goes_back(tab):
    draw(tab)
    assert pictures(tab).count() == 4
    before = colour(tab, 0.2, 0.8)
    pictures(tab).nth(2).click()
    canvas = tab.locator("#canvas canvas").first
    canvas.scroll_into_view_if_needed()
    tab.wait_for_timeout(1000)  # the canvas fades in
    box = canvas.bounding_box()
    place = [
        (box["x"] + box["width"] * part, box["y"] + box["height"] * 0.3) for part in (0.6, 0.8)
    ]
    tab.mouse.move(*place[0])
    tab.mouse.down()
    tab.mouse.move(*place[1], steps=8)
    tab.mouse.up()
    tab.wait_for_timeout(500)  # the stroke becomes the editor's value
    chosen = colour(tab, 0.2, 0.8)
    tab.click("#edit")
    told(tab, "Edited")
    tab.locator("#place", has_text="2 of 2 · Edited").wait_for()
    assert colour(tab, 0.2, 0.8) == chosen != before  # where nothing was painted
    assert colour(tab, 0.7, 0.3) != chosen
    tab.click("#back")
    tab.locator("#place", has_text="1 of 2 · Drawn").wait_for()
    assert pictures(tab).count() == 4


def test_pictures_appear_as_they_denoise_and_a_cancel_frees_the_queue(tab, monkeypatch):
    monkeypatch.setattr(SlowPainter, "pause", 1.0)
    tab.fill("#prompt textarea", "a red circle")
    tab.click("#draw")
    told(tab, "Drawing: 10%")
    assert pictures(tab).count() == 4 and tab.locator("#status .bar").is_visible()
    tab.click("#cancel")
    told(tab, "Cancelling")
    assert tab.locator("#draw").is_disabled()  # Gradio would lose a click
    told(tab, "Cancelled")
    monkeypatch.setattr(SlowPainter, "pause", 0.0)
    draw(tab)
    assert tab.inner_text("#place .md").strip() == "1 of 1 · Drawn"


def test_pictures_are_varied_enlarged_and_found_again(tab):
    draw(tab)
    drawn = colour(tab, 0.5, 0.5)
    tab.get_by_role("tab", name="Vary").click()
    tab.click("#vary")
    tab.locator("#place", has_text="2 of 2 · Varied").wait_for()
    varied = colour(tab, 0.5, 0.5)
    assert pictures(tab).count() == 4 and varied != drawn
    tab.get_by_role("tab", name="Upscale").click()
    tab.click("#upscale")
    tab.locator("#place", has_text="3 of 3 · Upscaled").wait_for()
    assert side(tab) == 2 * SIDE and colour(tab, 0.5, 0.5) == varied
    assert tab.locator("#upscale").is_disabled()  # there is none from 64 pixels on
    tab.click("#back")
    tab.locator("#place", has_text="2 of 3 · Varied").wait_for()
    assert side(tab) == SIDE
    tab.click("#back")
    tab.locator("#place", has_text="1 of 3 · Drawn").wait_for()
    assert colour(tab, 0.5, 0.5) == drawn and tab.locator("#back").is_disabled()
    for place in ("2 of 3 · Varied", "3 of 3 · Upscaled"):
        tab.click("#forward")
        tab.locator("#place", has_text=place).wait_for()
    assert side(tab) == 2 * SIDE and tab.locator("#forward").is_disabled()


def test_a_click_before_gradio_is_done_with_an_act_is_not_undone(tab, monkeypatch):
    from glide_jax.web import acts

    run, late = acts.run, 2.0

    def slow(*arguments):
        yield from run(*arguments)
        time.sleep(late)

    draw(tab)
    monkeypatch.setattr(acts, "run", slow)
    tab.get_by_role("tab", name="Vary").click()
    tab.click("#vary")
    tab.locator("#place", has_text="2 of 2 · Varied").wait_for()
    tab.click("#back")
    tab.locator("#place", has_text="1 of 2 · Drawn").wait_for()
    tab.wait_for_timeout(1000 * (late + 1))
    assert tab.inner_text("#place .md").strip() == "1 of 2 · Drawn"


def test_bad_input_is_answered_in_the_page(tab):
    draw(tab)
    tab.click("#edit")
    told(tab, "nothing is painted: brush over what is to be drawn anew")
    assert pictures(tab).count() == 4


def test_a_dropped_picture_brings_its_settings_back(tab, tmp_path):
    asked = Asked("a <b>blue</b> star", negative_prompt="red", seed=77)
    save_png(tmp_path / "a.png", SlowPainter.painted(3), asked.recorded(0))
    tab.set_input_files("#drop input[type=file]", tmp_path / "a.png")
    told(tab, "The picture's settings are back")
    assert tab.input_value("#prompt textarea") == "a <b>blue</b> star"
    tab.click("#draw")
    told(tab, "Drawn")
    tab.locator("#place", has_text="2 of 2").wait_for()
    with tab.expect_download() as download:
        tab.locator("#chosen button[title=Download], #chosen [aria-label=Download]").first.click()
    saved = download.value.path()
    settings = read_settings(saved)
    assert settings["prompts"] == [asked.prompt] and settings["negative_prompt"] == "red"
    # The seed came back, too: it is the same picture as that seed's.
    assert settings["seed"] == 77
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), SlowPainter.painted(77))


def test_of_fifty_requests_at_once_none_is_lost(address):
    threads = threading.active_count()
    assert web_requests.at_once(address, REQUESTS) == list(range(REQUESTS))
    assert SlowPainter.working == 0 and threading.active_count() < threads + REQUESTS
