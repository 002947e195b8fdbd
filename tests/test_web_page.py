"""The page as a person uses it, in headless Chromium, and fifty requests at once over HTTP."""

import json
import shutil
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from glide_jax.images import read_settings, save_png
from glide_jax.web import studio as studios
from glide_jax.web.asked import Asked
from tests.slow_painter import SlowPainter

pytest.importorskip("gradio", reason="Gradio is not installed: requirements-web.txt")
from glide_jax.web.acts import VIEW  # noqa: E402 (it needs Gradio)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REQUESTS = 50
# The machine may have no network and no screen.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
pytestmark = pytest.mark.filterwarnings("default")  # Gradio's own are not ours to mend


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of the models that ship, whose Pipeline is a SlowPainter, at a free port."""
    from glide_jax.web import page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studios, "Pipeline", SlowPainter)
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        blocks = page.build(studios.Studio()).queue(max_size=64)
        _, where, _ = blocks.launch(prevent_thread_lock=True, **page.LAUNCH)
        yield where
        blocks.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium, or a skip that says why there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser, address):
    """The page, opened; what it holds of an earlier test is another session's."""
    tab = browser.new_page(viewport={"width": 1280, "height": 1500})
    tab.set_default_timeout(60_000)
    tab.goto(address)
    yield tab
    tab.close()


def told(tab, words):
    """Waits until the page says so."""
    tab.locator("#status", has_text=words).wait_for()


def draw(tab, prompt="a red circle"):
    tab.fill("#prompt textarea", prompt)
    tab.click("#draw")
    told(tab, "Drawn")


def pictures(tab):
    return tab.locator("#gallery .thumbnail-item img, #gallery button img")


def colour(tab, x, y):
    """Of the chosen picture as the browser has it, at a part of its width and height."""
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
    told(tab, "Cancelled")
    while SlowPainter.working:  # Gradio loses a click that comes before the run has ended
        tab.wait_for_timeout(100)
    monkeypatch.setattr(SlowPainter, "pause", 0.0)
    draw(tab)
    assert tab.inner_text("#place").strip() == "1 of 1 · Drawn"


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


def request(address, number):
    """A draw by HTTP as the page asks for it; the seeds of the pictures that come back."""
    data = ["a red circle", "", 1, 3.0, "ddim", 10, number, "shapes32"]
    asked = urllib.request.Request(
        f"{address}gradio_api/call/draw",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}gradio_api/call/draw/{event}", timeout=120) as answer:
        lines = answer.read().decode().split("\n\n")
    (last,) = [line for line in lines if line.startswith("event: complete")]
    parts = json.loads(last.partition("data: ")[2])
    gallery = parts[VIEW.index("gallery")]["value"]
    with urllib.request.urlopen(gallery[0]["image"]["url"], timeout=60) as file:
        return read_settings(file)["seed"]


def test_of_fifty_requests_at_once_none_is_lost(address):
    threads = threading.active_count()
    with ThreadPoolExecutor(REQUESTS) as pool:
        seeds = list(pool.map(lambda number: request(address, number), range(REQUESTS)))
    assert seeds == list(range(REQUESTS))
    assert SlowPainter.working == 0 and threading.active_count() < threads + REQUESTS
