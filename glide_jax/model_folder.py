"""Model folders: what ships, converts, and what `Pipeline` loads.

A model folder holds `config.json`, `tokenizer.json` and `params.safetensors`; a model that knows no
captions has no `tokenizer.json`. Nothing half-written ever has a final name.
"""

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from glide_jax import config
from glide_jax.files import cache_folder, read_text, write_text
from glide_jax.models import classifier, clip, tagger, text2im
from glide_jax.tensors import write_safetensors
from glide_jax.text import tokenizer as text

FORMAT_VERSION = 1
PUBLISHED = "glide-"  # begins the names of published models
PRETRAINED = epath.Path(__file__).parent / "pretrained"


class Kind(NamedTuple):
    """What the models of one `kind` in config.json are."""

    title: str
    option: str  # of the command line that takes them
    config: type
    init: Callable  # (config, key) -> params


KINDS = {
    "diffusion": Kind("a diffusion model", "--model", config.Diffusion, text2im.init),
    "clip": Kind("a CLIP", "--clip-model", config.Clip, clip.init),
    "classifier": Kind("a classifier", "--features", config.Classifier, classifier.init),
    "tagger": Kind("a tagger", "--text-from", config.Tagger, tagger.init),
}


def pretrained_names():
    """The models that ship."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())


def find_model(name_or_folder):
    """The folder of a model's name, shipped or published, or of a path; a ValueError if none."""
    name, folder = str(name_or_folder), epath.Path(name_or_folder)
    if name in pretrained_names():
        return PRETRAINED / name
    if (folder / "config.json").exists():
        return folder
    if not name.startswith(PUBLISHED):
        raise ValueError(
            f"there is no model {name!r}: it is neither a folder with a config.json nor one of "
            f"{', '.join(pretrained_names())}"
        )
    folder = published_folder(name)
    if not (folder / "config.json").exists():
        raise ValueError(
            f"the published model {name!r} is not in {folder.parent}: bring it there by python -m "
            f"glide_jax.released fetch {name.removeprefix(PUBLISHED)} --convert"
        )
    return folder


def published_folder(name, cache=None):
    """Where the model folder of a published model, glide-NAME, is in the cache."""
    return epath.Path(cache or cache_folder()) / "models" / name


def save_description(folder, model: config.Model, tokenizer):
    """Writes what a model is, without its parameters: config.json and tokenizer.json."""
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "format_version": FORMAT_VERSION,
        "kind": kind_of(model),
        "model": config.to_dict(model),
    }
    if encoding := _encoding(tokenizer):
        write_text(folder / "tokenizer.json", encoding)
    else:
        (folder / "tokenizer.json").unlink(missing_ok=True)
    write_text(folder / "config.json", json.dumps(described, indent=2) + "\n")


def load_description(folder, kind="diffusion"):
    """The model and the tokenizer that a folder describes; a classifier's tokenizer is None.

    Args:
        folder: where; a config.json that says no kind is a diffusion model's.
        kind: one of KINDS, that the model must be of; None takes any.

    Raises:
        ValueError: the folder is of another kind or of a newer format, or its config is broken.
    """
    folder = epath.Path(folder)
    try:
        described = {"kind": "diffusion"} | json.loads(read_text(folder / "config.json"))
        found, version = described["kind"], described["format_version"]
        if found not in KINDS or version != FORMAT_VERSION:
            known = ", ".join(KINDS)
            raise ValueError(
                f"its kind and format are {found!r} and {version!r}; known: {known} and "
                f"{FORMAT_VERSION}"
            )
        model = config.from_dict(KINDS[found].config, described["model"])
        tokenizer = _load_tokenizer(folder / "tokenizer.json", model)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} is not a model that can be read: {error}") from error
    if kind not in (found, None):
        title, option, *_ = KINDS[found]
        raise ValueError(
            f"{folder} holds {title}, which goes to {option}; here {KINDS[kind].title} is needed"
        )
    return model, tokenizer


def _encoding(tokenizer):
    """What tokenizer.json holds; nothing of a model that reads no captions."""
    return tokenizer.to_json() if tokenizer else ""


def _load_tokenizer(path, model):
    if isinstance(model, config.Classifier):
        return None
    return (
        text.from_json(read_text(path), model.text)
        if path.exists()
        else text.NoTokenizer(model.text)
    )


def save_params(path, params, dtype="float32"):
    """Writes a tree of parameters as safetensors, leaves named by their path.

    `dtype` None keeps that of each leaf.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    write_safetensors(
        path, {"/".join(k.key for k in keys): np.asarray(leaf, dtype) for keys, leaf in leaves}
    )


def load_params(path, model: config.Model):
    """The tree of float32 parameters that `save_params` wrote, in whichever precision.

    Raises a ValueError where the file is broken or does not hold the parameters of the model.
    """
    return jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), read_params(path, model))


def read_params(path, model: config.Model):
    """As `load_params`, but on the host and in the file's precision."""
    try:
        if "://" in str(path):
            named = safetensors.numpy.load(epath.Path(path).read_bytes())
        else:
            named = safetensors.numpy.load_file(path)  # holds it once, not twice
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(param_shapes(model))
    wanted = {"/".join(k.key for k in keys): leaf.shape for keys, leaf in leaves}
    shapes = {name: array.shape for name, array in named.items()}
    wrong = {name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name)}
    if wrong:
        raise ValueError(f"{path} does not fit its config.json: look at {', '.join(sorted(wrong))}")
    return jax.tree.unflatten(structure, [named[name] for name in wanted])


def model_hash(model: config.Model, tokenizer, params):
    """What a model is, as 16 hexadecimal digits: of its config, its tokenizer and its weights."""
    digest = hashlib.sha256(json.dumps(config.to_dict(model), sort_keys=True).encode())
    digest.update(_encoding(tokenizer).encode())
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(jax.tree_util.keystr(keys).encode())
        digest.update(np.asarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:16]


@lru_cache
def param_shapes(model: config.Model):
    """The tree of the parameters' shapes."""
    return jax.eval_shape(partial(KINDS[kind_of(model)].init, model), jax.random.key(0))


def kind_of(model: config.Model):
    """The name in KINDS of what a model is."""
    return next(name for name, kind in KINDS.items() if isinstance(model, kind.config))


def save_model(folder, model: config.Model, tokenizer, params, dtype="float32"):
    """Writes a model folder; `dtype` (float16, say) is that of the stored parameters."""
    save_description(folder, model, tokenizer)
    save_params(epath.Path(folder) / "params.safetensors", params, dtype)
