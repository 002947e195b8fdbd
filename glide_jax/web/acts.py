"""What happens on a click: each act gives the values of what changes on the page."""

import dataclasses
import html
import random
import time
from functools import partial
from typing import NamedTuple

import gradio as gr

from glide_jax.images import enlarge
from glide_jax.web.asked import Asked, read_drop, recall, whole
from glide_jax.web.running import HEARTBEAT, watched
from glide_jax.web.served import served

CANVAS = 512  # pixels that the picture to paint on has, at least
VIEW = (
    *("history", "gallery", "chosen", "canvas", "caption", "place"),
    *("back", "forward", "upscale", "panel", "status"),
)  # the parts of the page that show a History, in order
NEWS = "gallery", "status", "made"  # those that change while something runs, in order


def view(studio, history, told=""):
    """The values of all of VIEW for a History, and what is told."""
    step, picture = history.step, history.picture
    gallery, chosen, canvas, caption, upscale = None, None, None, "", False
    if picture:
        files = [served(*picture) for picture in step.pictures]
        gallery = gr.Gallery(files, selected_index=step.chosen)
        chosen = files[step.chosen]
        shown = served(enlarge(picture.image, CANVAS))
        canvas = {"background": shown, "layers": [], "composite": shown}
        caption = picture.prompt
        upscale = studio.upsampler_for(picture) is not None
    place = f"{history.place + 1} of {len(history.steps)} · {step.title}" if step else ""
    back, forward = history.place > 0, history.place < len(history.steps) - 1
    buttons = [gr.Button(interactive=can) for can in (back, forward, upscale)]
    panel = gr.Column(visible=picture is not None)
    return [history, gallery, chosen, canvas, caption, place, *buttons, panel, told]


def under_way(news, doing):
    """The values of NEWS while something runs: what there is of the pictures, and a bar."""
    gallery = gr.skip()
    if news.images is not None:
        gallery = gr.Gallery(list(map(served, news.images)), selected_index=None)
    told = f"{doing}: {news.fraction:.0%}"
    if not news.fraction:
        told = f"{doing}: getting ready; what has not been done before is compiled first"
    return [gallery, status(told, news.fraction), None]


def status(told, fraction=None, wrong=False):
    """A line under the pictures, with a bar if there is a fraction of something done."""
    bar = "" if fraction is None else f'<div class="bar"><i style="width:{fraction:.0%}"></i></div>'
    kind = "status wrong" if wrong else "status"
    return f'<div class="{kind}" role="status">{html.escape(told)}{bar}</div>'


class Made(NamedTuple):
    """What came of an act, for `finish`."""

    told: str
    title: str = ""
    pictures: tuple = ()


def run(doing, done, work):
    """Yields the values of NEWS while `work(progress)` runs and after it; bad input is told."""
    try:
        for news in watched(work):
            if news.result is None:
                yield under_way(news, doing)
    except ValueError as error:
        told = status(str(error), wrong=True)
        yield [gr.skip(), told, Made(told)]
        return
    files = [served(*picture) for picture in news.result]
    yield [gr.Gallery(files), gr.skip(), Made(status(done), done, news.result)]


def finish(studio, history, made):
    """Shows what was made, and forgets it.

    This is not an act's last yield, for Gradio answers with that twice: what was clicked on in
    between, "Back" for one, would be undone.
    """
    if made is None:
        return [gr.skip()] * (len(VIEW) + 1)
    if made.pictures:
        history = history.add(made.title, made.pictures)
    return [*view(studio, history, made.told), None]


def ask(prompt, negative_prompt, num, guidance_scale, sampler, steps, seed, model):
    """What the browser asks for."""
    numbers = whole(num), guidance_scale, sampler, whole(steps), whole(seed)
    return Asked(prompt or "", negative_prompt or "", *numbers, model)


def draw(studio, _, *asked):
    """Pictures for the prompt."""
    yield from run("Drawing", "Drawn", partial(studio.draw, ask(*asked)))


def vary(studio, history, caption, strength, _, *asked):
    """Pictures like the chosen one; the prompt is its caption."""
    asked = ask(caption, *asked)
    work = partial(studio.vary, asked, history.picture, strength)
    yield from run("Varying", "Varied", work)


def edit(studio, history, caption, canvas, model, _, *asked):
    """The chosen picture with what is painted drawn anew, by a model that may be another one."""
    asked = ask(caption, *asked[:-1], model)
    work = partial(studio.edit, asked, history.picture, painted(canvas))
    yield from run("Editing", "Edited", work)


def upscale(studio, history, caption, _, *asked):
    """The chosen picture, enlarged."""
    work = partial(studio.upscale, ask(caption, *asked), history.picture)
    yield from run("Upscaling", "Upscaled", work)


def painted(canvas):
    """Where the brush was, bool [h, w], or None."""
    layers = [layer[..., 3] > 0 for layer in (canvas or {}).get("layers") or []]
    return sum(layers[1:], layers[0]) if layers else None


def go(studio, by, history):
    """To a step before or after."""
    return view(studio, history.go(by))


def choose(studio, history, index):
    """Another picture of the shown step."""
    try:
        return view(studio, history.choose(index))
    except ValueError as error:
        return view(studio, history, status(str(error), wrong=True))


def stop():
    """While the running act is being ended nothing can be started: Gradio would lose it."""
    return [status("Cancelling"), *[gr.Button(interactive=False)] * 3]


def cancelled(studio, history):
    """What was there before the act that was ended, once it has heard of it."""
    time.sleep(2 * HEARTBEAT)
    return [*view(studio, history, status("Cancelled")), *[gr.Button(interactive=True)] * 3]


def reseed(another, seed):
    """The next seed: another one where the box is ticked."""
    return random.randrange(2**31) if another else seed


def drop(studio, history, data, another, *asked):
    """A dropped picture: it can be gone on from, and its settings come back."""
    unchanged = [another, *asked]
    try:
        picture = read_drop(data or b"")
    except ValueError as error:
        return [*view(studio, history, status(str(error), wrong=True)), *unchanged]
    history = history.add("Dropped", [picture])
    if not picture.settings:
        told = status("The picture carries no settings; it can be varied and edited")
        return [*view(studio, history, told), *unchanged]
    told = picture.settings
    recalled, useless = recall(told, ask(*asked), studio.limits, studio.base)
    left_out = f", but for {', '.join(useless)}, which this page cannot do" if useless else ""
    told = status(f"The picture's settings are back{left_out}")
    return [*view(studio, history, told), False, *dataclasses.astuple(recalled)]
