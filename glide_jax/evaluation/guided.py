"""What evaluate.py draws with: a model, a CLIP that may lead it, and one that may choose."""

from functools import partial
from itertools import product
from pathlib import Path

from glide_jax.editing import check_base
from glide_jax.evaluation.beforehand import check_settings
from glide_jax.guiding import Guided
from glide_jax.model_folder import model_hash
from glide_jax.reranking import rerank
from glide_jax.settings import default_steps


def ways(guides, scales, clip_models, rerank_froms):
    """The fields of `Guided` for each way of guiding and each number to rerank from.

    Args:
        guides: cfg, clip and both; of the last, classifier-free guidance keeps its own scale.
        scales: of the guidance; with both of the CLIP.
        clip_models: the CLIPs that guide, each in its turn.
        rerank_froms: pictures a caption, of which one is kept; 1 is without reranking.
    """
    for number, guide in product(rerank_froms, guides):
        names = (None,) if guide == "cfg" else clip_models
        for name, scale in product(names, scales):
            way = {"guide": guide, "clip_model": name}
            way |= {"guidance_scale" if guide == "cfg" else "clip_scale": scale}
            if guide == "clip":
                way |= {"guidance_scale": Guided.guidance_scale}
            ranked = {"rerank_from": number}
            yield way | (ranked if number != 1 else {"rerank_from": None, "rerank_model": None})


def check(pipeline, arguments: Guided, load_clip):
    """Raises a ValueError where what `drawer` gives could not draw; it loads the CLIPs for that."""
    check_base(pipeline.model)
    clip, _ = arguments.judges(partial(load_clip, dtype=arguments.dtype))
    led = {"clip_guidance_scale": arguments.clip_scale}
    check_settings(pipeline.model, arguments.settings(default_steps(pipeline.model)) | led)
    if clip is not None:
        clip.check_fits(pipeline.network)


def drawer(pipeline, arguments: Guided, load_clip):
    """(prompts, seed=seeds) -> pictures, as the arguments say; and the settings that a row keeps.

    Settings name a CLIP, with its hash, only where it has a part. `load_clip` makes a `NoisedClip`
    of a name and a dtype.
    """
    clip, ranker = arguments.judges(partial(load_clip, dtype=arguments.dtype))
    settings = arguments.settings(default_steps(pipeline.model))
    led = {"clip": clip, "clip_guidance_scale": arguments.clip_scale}
    draw = partial(pipeline.text_to_image, **settings, **led)
    told = arguments.told()
    if clip is not None:
        told |= {"clip_hash": hash_of(clip)}
    if ranker is not None:
        told |= {"rerank_hash": hash_of(ranker)}
        draw = partial(_best, draw, ranker, arguments)
    return draw, settings | told


def _best(draw, ranker, arguments, prompts, seed):
    own = {"rerank_from": arguments.rerank_from, "batch_size": arguments.batch_size}
    return rerank(draw, prompts, ranker, seed=seed, **own).images


def hash_of(clip):
    """What a CLIP is, in 16 digits."""
    return model_hash(clip.network.model, clip.tokenizer, clip.network.params)


def in_words(settings):
    """How the settings of a row guide: "3", "CLIP 2 (shapes-clip)", "3, best of 16"."""
    own = []
    if settings["guidance_scale"] != 1 or "clip" not in settings:
        own.append(f"{settings['guidance_scale']:g}")
    if "clip" in settings:
        own.append(f"CLIP {settings['clip_guidance_scale']:g} ({Path(settings['clip']).name})")
    if "rerank_from" in settings:
        own.append(f"best of {settings['rerank_from']}")
    return ", ".join(own)
