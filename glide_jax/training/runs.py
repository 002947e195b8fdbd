"""A run's folder before its first step: begun, or recognised; and the model that it starts from."""

import dataclasses

from glide_jax import checkpoint, config, model_folder, parallel
from glide_jax.data import pipeline as data
from glide_jax.files import is_left_over, writing_to
from glide_jax.models.growing import grow_for_inpainting
from glide_jax.text import tokenizer as text

# That a tokenizer is trained on: ten for each of its tokens, and no more than these.
MOST_CAPTIONS = 20_000
# What the checkpoints and the stream of examples were made for; the rest of a recipe may change.
FIXED = (
    "model",
    "data.source",
    "data.name",
    "data.split",
    "data.image_field",
    "data.caption_field",
    "data.flip",
    "data.tiers",
    "data.seed",
    "optim.optimizer",
    "optim.ema_decays",
    "optim.freeze",
    "optim.no_weight_decay",
    "batch_size",
    "seed",
    "timestep_sampler",
    "logit_normal",
    "loss_weighting",
    "init_from",
    "text_from",
)

# What a recipe may ask for that the model it starts from has not.
MAY_DIFFER = ("unet.dropout", "unet.inpaint")


def adopt_model(recipe: config.Recipe, run):
    """The recipe with the model it starts from, and that model's (tokenizer, params).

    A recipe that asks for `unet.inpaint` gets a parent without it grown to take masked pictures.
    Of a recipe with `text_from` the parameters are those of its text encoder alone. A run with a
    checkpoint has its parameters already: then, and without a model to start from, there are none.
    """
    if recipe.text_from is not None and not _has_checkpoint(run):
        return recipe, _adopt_text(recipe)
    if recipe.init_from is None:
        return recipe, None
    kind = model_folder.kind_of(recipe.model)
    if _has_checkpoint(run):
        model, parent = model_folder.load_description(run, kind)[0], None
    else:
        model, *parent = checkpoint.load_model(recipe.init_from, kind=kind)
    own = own_model(recipe, model)
    if parent and own != model and own.unet.inpaint != model.unet.inpaint:
        tokenizer, params = parent
        parent = tokenizer, grow_for_inpainting(params, own.unet.patch)
    return dataclasses.replace(recipe, model=own), parent


def _adopt_text(recipe):
    """The tokenizer and the text encoder that a recipe takes.

    Its projection to a UNet's embedding is not taken: that belongs to the UNet, which is fresh.
    """
    model, tokenizer, params = checkpoint.load_model(recipe.text_from, kind=None)
    encoder = params.get("text_encoder")
    if encoder is None:
        title = model_folder.KINDS[model_folder.kind_of(model)].title
        raise ValueError(
            f"Recipe.text_from is {recipe.text_from}, {title}, whose text encoder is not of the "
            "kind that a UNet takes; allowed: a tagger or a diffusion model"
        )
    for name, now, then in _differences(recipe.model.text, model.text):
        raise ValueError(
            f"model.text.{name} is {now}, but {recipe.text_from}, whose text encoder the training "
            f"starts from, has {then}: say the same"
        )
    encoder = {name: leaves for name, leaves in encoder.items() if name != "project"}
    return tokenizer, {"text_encoder": encoder}


def own_model(recipe, model):
    """The model that a recipe trains which starts from another: that one, but as MAY_DIFFER says.

    Raises a ValueError where the recipe asks for more.
    """
    own = model
    for name, now, then in _said(recipe.model, model):
        if name not in MAY_DIFFER:
            raise ValueError(
                f"model.{name} is {now}, but {recipe.init_from}, which the training starts from, "
                f"has {then}: leave it out"
            )
        unet = dataclasses.replace(own.unet, **{name.removeprefix("unet."): now})
        own = dataclasses.replace(own, unet=unet)
    return own


def _said(wanted, model):
    """The `_differences` that a recipe asks for: what has its default was left out."""
    defaults = dict(_flat(config.to_dict(type(wanted)())))
    differences = _differences(wanted, model)
    return [(name, now, then) for name, now, then in differences if now != defaults[name]]


def _has_checkpoint(run):
    if not (run / "checkpoints").exists():
        return False
    with checkpoint.Checkpoints(run, read_only=True) as checkpoints:
        return checkpoints.latest_step() is not None


def prepare(recipe: config.Recipe, run, source, tokenizer=None):
    """Writes what a new run needs, or checks that an old one is of this recipe; its tokenizer.

    Args:
        recipe: with its own model (see `adopt_model`).
        run: the folder.
        source: of the examples.
        tokenizer: of a new run; by default one is trained on the data's captions.

    Raises a ValueError for a folder that holds something else or a run of another recipe, and an
    OSError for one that cannot be written to.
    """
    if parallel.is_lead():
        with writing_to(run):
            _prepare(recipe, run, source, tokenizer)
    parallel.wait_for_all("the run's folder")
    return model_folder.load_description(run, kind=None)[1]


def _prepare(recipe, run, source, tokenizer):
    before = checkpoint.load_recipe(run)
    if before is not None:
        _check_same(recipe, before, run)
    elif run.exists() and not all(is_left_over(path) for path in run.iterdir()):
        raise ValueError(f"{run} is not empty and holds no run: choose another --run")
    is_described = (run / "config.json").exists()
    own = None if is_described else _tokenizer(recipe, source, tokenizer)
    run.mkdir(parents=True, exist_ok=True)
    checkpoint.save_recipe(run, recipe)  # first: by it the folder is a run, whole or not yet
    if not is_described:
        model_folder.save_description(run, recipe.model, own)


def _tokenizer(recipe, source, parents):
    """A new run's: its parent's, or one trained on its captions; none where it reads none."""
    if isinstance(recipe.model, config.Classifier):
        return None
    if parents is None:
        captions = data.captions(source, min(10 * recipe.model.text.vocab_size, MOST_CAPTIONS))
        return text.train(captions, recipe.model.text)
    # Of a model that has none: it says so before anything is written.
    parents.encode(data.captions(source, 1), warn=False)
    return parents


def _check_same(recipe, before, run):
    now, then = (model_folder.KINDS[model_folder.kind_of(r.model)].title for r in (recipe, before))
    if now != then:
        raise ValueError(f"{run} holds a run of {then}, not of {now}: choose another --run")
    for name, now, then in _differences(recipe, before):
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in FIXED):
            raise ValueError(
                f"{run} holds a run with {name} {then}, not {now}: choose another --run"
            )
    with checkpoint.Checkpoints(run, read_only=True) as checkpoints:
        done = checkpoints.latest_step() or 0
    if done > recipe.steps:
        raise ValueError(f"{run} is at step {done} already; --steps is {recipe.steps}")


def _differences(one, other):
    """(name, value, value) of each field in which two configs differ."""
    one, other = (dict(_flat(config.to_dict(c))) for c in (one, other))
    return ((name, one[name], other[name]) for name in one if one[name] != other[name])


def _flat(values, prefix=""):
    """("model.unet.dropout", 0.1) and so on, of nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
