"""What happens on a click: each act gives the values of what changes on the page."""

import dataclasses
import html
import random
from functools import partial

import gradio as gr

from glide_jax.images import enlarge
from glide_jax.web.asked import Asked, read_drop, recall, whole
from glide_jax.web.running import watched

CANVAS = 512  # pixels that the picture to paint on has, at least
VIEW = (
    *("history", "gallery", "chosen", "canvas", "caption", "place"),
    *("back", "forward", "upscale", "panel", "status"),
)  # the parts of the page that an act changes, in order


def view(studio, history, told=""):
    """The values of all of VIEW for a History, and what is told."""
    step, picture = history.step, history.picture
    gallery, chosen, canvas, caption, upscale = None, None, None, "", False
    if picture:
        gallery = gr.Gallery([p.to_pil() for p in step.pictures], selected_index=step.chosen)
        chosen = picture.to_pil()
        shown = enlarge(picture.image, CANVAS)
        canvas = {"background": shown, "layers": [], "composite": shown}
        caption = picture.prompt
        upscale = studio.upsampler_for(picture) is not None
    place = f"{history.place + 1} of {len(history.steps)} · {step.title}" if step else ""
    back, forward = history.place > 0, history.place < len(history.steps) - 1
    buttons = [gr.Button(interactive=can) for can in (back, forward, upscale)]
    panel = gr.Column(visible=picture is not None)
    return [history, gallery, chosen, canvas, caption, place, *buttons, panel, told]


def under_way(news, doing):
    """The values of VIEW while something runs: what there is of the pictures, and a bar."""
    values = dict.fromkeys(VIEW, gr.skip())
    if news.images is not None:
        values["gallery"] = gr.Gallery(list(news.images), selected_index=None)
    told = f"{doing}: {news.fraction:.0%}"
    if not news.fraction:
        told = f"{doing}: getting ready; what has not been done before is compiled first"
    values["status"] = status(told, news.fraction)
    return list(values.values())


def status(told, fraction=None, wrong=False):
    """A line under the pictures, with a bar if there is a fraction of something done."""
    bar = "" if fraction is None else f'<div class="bar"><i style="width:{fraction:.0%}"></i></div>'
    kind = "status wrong" if wrong else "status"
    return f'<div class="{kind}" role="status">{html.escape(told)}{bar}</div>'


def run(studio, history, doing, done, work):
    """Yields the values of VIEW while `work(progress)` runs and after it; bad input is told."""
    try:
        for news in watched(work):
            if news.result is None:
                yield under_way(news, doing)
    except ValueError as error:
        yield view(studio, history, status(str(error), wrong=True))
        return
    yield view(studio, history.add(done, news.result), status(done))


def ask(prompt, negative_prompt, num, guidance_scale, sampler, steps, seed, model):
    """What the browser asks for."""
    numbers = whole(num), guidance_scale, sampler, whole(steps), whole(seed)
    return Asked(prompt or "", negative_prompt or "", *numbers, model)


def draw(studio, history, *asked):
    """Pictures for the prompt."""
    yield from run(studio, history, "Drawing", "Drawn", partial(studio.draw, ask(*asked)))


def vary(studio, history, caption, strength, _, *asked):
    """Pictures like the chosen one; the prompt is its caption."""
    asked = ask(caption, *asked)
    work = partial(studio.vary, asked, history.picture, strength)
    yield from run(studio, history, "Varying", "Varied", work)


def edit(studio, history, caption, canvas, model, _, *asked):
    """The chosen picture with what is painted drawn anew, by a model that may be another one."""
    asked = ask(caption, *asked[:-1], model)
    work = partial(studio.edit, asked, history.picture, painted(canvas))
    yield from run(studio, history, "Editing", "Edited", work)


def upscale(studio, history, caption, _, *asked):
    """The chosen picture, enlarged."""
    work = partial(studio.upscale, ask(caption, *asked), history.picture)
    yield from run(studio, history, "Upscaling", "Upscaled", work)


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


def cancel(studio, history):
    """After the running act was ended: what was there before it."""
    return view(studio, history, status("Cancelled"))


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
