"""Draws asked of a served page by HTTP, as a browser's page asks for them."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from glide_jax.images import read_settings

GALLERY = 0  # among what an act answers: the first of acts.NEWS, for which Gradio is needed


def draw(address, number):
    """Asks for one picture of this seed; gives the seed that the picture that came tells."""
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
    gallery = parts[GALLERY]["value"]
    with urllib.request.urlopen(gallery[0]["image"]["url"], timeout=60) as file:
        return read_settings(file)["seed"]


def at_once(address, number):
    """So many draws at once; the seeds of the pictures that came, in the order of asking."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda seed: draw(address, seed), range(number)))
