"""What is on the page, and which act each button does."""

from functools import partial
from pathlib import Path

import gradio as gr

from glide_jax.settings import SAMPLERS
from glide_jax.web import acts
from glide_jax.web.asked import Asked
from glide_jax.web.history import History

STYLE = Path(__file__).parent / "style.css"
HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}
KEPT = {"trigger_mode": "always_last"}  # a click that comes before the last one's answer
DEVICE = {"concurrency_id": "device", "concurrency_limit": 1, "show_progress": "hidden"}


def theme():
    """Calm colours, and only fonts that the reader's machine has."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    soft = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", **fonts)
    plain = {f"block_{part}_background_fill": "none" for part in ("title", "label")}
    plain |= {f"block_{part}_text_color": "*neutral_500" for part in ("title", "label")}
    return soft.set(**plain, block_title_padding="0", block_border_width="1px")


# What is the same wherever the page is served.
LAUNCH = {
    "theme": theme(),
    "css_paths": STYLE,
    "max_file_size": "10mb",
    "state_session_capacity": 128,
    "share": False,
    "quiet": True,
    "ssr_mode": False,
    "footer_links": [],
}


def build(studio):
    """The page of a `Studio`, not yet served."""
    with gr.Blocks(title="glide_jax", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        parts = {"history": gr.State(History(), time_to_live=3600), "made": gr.State()}
        gr.HTML('<h1>glide_jax</h1><p class="about">Pictures from words, and from pictures</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                asked = _settings(studio, parts)
            with gr.Column(scale=5, min_width=480):
                _pictures(parts)
                with gr.Column(visible=False, elem_id="panel") as parts["panel"]:
                    _chosen(studio, parts)
        _wire(studio, parts, asked)
    return page


def _settings(studio, parts):
    """The left side; gives the components of the fields of Asked, in their order."""
    first, limits = Asked(), studio.limits
    asked = {
        "prompt": gr.Textbox(
            label="Prompt",
            placeholder="a red circle to the left of a blue square",
            **{"lines": 2, "max_length": limits.characters, "elem_id": "prompt"},
        )
    }
    with gr.Row():
        parts["draw"] = gr.Button("Draw", variant="primary", elem_id="draw", min_width=80)
        parts["cancel"] = gr.Button("Cancel", elem_id="cancel", min_width=80)
    asked["negative_prompt"] = gr.Textbox(
        label="Negative prompt",
        placeholder="what to lead away from",
        max_length=limits.characters,
    )
    asked["num"] = gr.Slider(
        1, limits.images, min(first.num, limits.images), step=1, label="Number"
    )
    scale = 0, limits.guidance_scale, first.guidance_scale
    asked["guidance_scale"] = gr.Slider(*scale, step=0.5, label="Guidance scale")
    with gr.Accordion("More", open=False, elem_id="more"):
        asked["sampler"] = gr.Dropdown(list(SAMPLERS), value=first.sampler, label="Sampler")
        steps = 1, limits.steps, min(first.steps, limits.steps)
        asked["steps"] = gr.Slider(*steps, step=1, label="Steps")
        asked["seed"] = gr.Number(first.seed, precision=0, label="Seed", elem_id="seed")
        parts["another"] = gr.Checkbox(True, label="Another seed each time")
        names = list(studio.base)
        asked["model"] = gr.Dropdown(names, value=names[0], label="Model")
    parts["drop"] = gr.File(
        label="Settings from a picture",
        **{"type": "binary", "file_types": ["image"], "height": 160, "elem_id": "drop"},
    )
    return [asked[name] for name in Asked.__dataclass_fields__]


def _pictures(parts):
    """The pictures of a step, what is told of them, and the way back."""
    parts["gallery"] = gr.Gallery(
        **{"show_label": False, "columns": 4, "height": "auto", "object_fit": "contain"},
        **{"format": "png", "allow_preview": False, "buttons": [], "elem_id": "gallery"},
    )
    parts["status"] = gr.HTML(elem_id="status")
    with gr.Row(elem_id="history", equal_height=True):
        parts["back"] = gr.Button("← Back", interactive=False, elem_id="back", min_width=80)
        parts["place"] = gr.Markdown(elem_id="place")
        parts["forward"] = gr.Button(
            "Forward →", interactive=False, elem_id="forward", min_width=80
        )


def _chosen(studio, parts):
    """The picture to go on from, and what can be done with it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=200):
            parts["chosen"] = gr.Image(
                label="Chosen picture",
                height=260,
                **{"format": "png", "type": "pil", "interactive": False, "elem_id": "chosen"},
                buttons=["download"],
            )
            parts["caption"] = gr.Textbox(label="It is to show", lines=2, elem_id="caption")
        with gr.Column(scale=2, min_width=360), gr.Tabs():
            with gr.Tab("Edit"):
                _edit_tab(studio, parts)
            with gr.Tab("Vary"):
                parts["strength"] = gr.Slider(
                    *(0.05, 1, 0.6),
                    **{"step": 0.05, "label": "Strength", "elem_id": "strength"},
                    info="How much of the picture may change",
                )
                parts["vary"] = gr.Button("Vary", variant="primary", elem_id="vary")
            with gr.Tab("Upscale"):
                there = "Enlarges the chosen picture." if studio.upsamplers else NO_UPSAMPLER
                gr.Markdown(there)
                parts["upscale"] = gr.Button(
                    "Upscale", variant="primary", interactive=False, elem_id="upscale"
                )


NO_UPSAMPLER = "No upsampler is here: start the page with `--models` and one that was trained."


def _edit_tab(studio, parts):
    gr.Markdown(
        "Paint over what is to be drawn anew, and say under *It is to show* what is to be seen."
    )
    parts["canvas"] = gr.ImageEditor(
        **{"show_label": False, "sources": (), "transforms": (), "layers": False, "buttons": []},
        **{"canvas_size": (acts.CANVAS, acts.CANVAS), "fixed_canvas": True, "elem_id": "canvas"},
        **{"type": "numpy", "format": "png", "height": acts.CANVAS + 80},
        brush=gr.Brush(48, colors=["#6366f1"], color_mode="fixed"),
        eraser=gr.Eraser(48),
    )
    trained = [name for name, known in studio.base.items() if known.model.unet.inpaint]
    names = trained + [name for name in studio.base if name not in trained]
    parts["inpainter"] = gr.Dropdown(names, value=names[0], label="Model that edits")
    parts["edit"] = gr.Button("Draw it anew", variant="primary", elem_id="edit")


def _wire(studio, parts, asked):
    """Gives each button its act."""
    shown = [parts[name] for name in acts.VIEW]
    history, caption, seed = parts["history"], parts["caption"], asked[6]
    news = [parts[name] for name in acts.NEWS]
    running = []
    starts = {
        acts.draw: ([parts["draw"].click, asked[0].submit], []),
        acts.vary: ([parts["vary"].click], [caption, parts["strength"]]),
        acts.edit: ([parts["edit"].click], [caption, parts["canvas"], parts["inpainter"]]),
        acts.upscale: ([parts["upscale"].click], [caption]),
    }
    for act, (triggers, own) in starts.items():
        known = {"api_name": act.__name__} if act is acts.draw else {"api_visibility": "private"}
        seeded = gr.on(triggers, acts.reseed, [parts["another"], seed], seed, queue=False, **HIDDEN)
        given = [history, *own, *asked]
        running.append(seeded.then(partial(act, studio), given, news, **DEVICE, **known))
        finish = partial(acts.finish, studio)
        made = [history, parts["made"]]
        running[-1].success(finish, made, [*shown, parts["made"]], queue=False, **HIDDEN)
    buttons = [parts[name] for name in ("draw", "vary", "edit")]
    told = [parts["status"], *buttons]
    stopped = parts["cancel"].click(acts.stop, None, told, cancels=running, queue=False, **HIDDEN)
    stopped.then(
        partial(acts.cancelled, studio), history, [*shown, *buttons], queue=False, **HIDDEN
    )
    for name, by in {"back": -1, "forward": 1}.items():
        go = partial(acts.go, studio, by)
        parts[name].click(go, history, shown, queue=False, **HIDDEN, **KEPT)

    def choose(history, event: gr.SelectData):  # Gradio looks for the type of its argument
        return acts.choose(studio, history, event.index)

    parts["gallery"].select(choose, history, shown, queue=False, **HIDDEN, **KEPT)
    restored = [parts["another"], *asked]
    given = [history, parts["drop"], *restored]
    parts["drop"].upload(partial(acts.drop, studio), given, [*shown, *restored], **HIDDEN)
