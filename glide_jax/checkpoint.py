"""Model folders and training runs on disk.

A model folder holds `config.json`, `tokenizer.json` and `params.safetensors`: what ships and what
`Pipeline` loads. A training run is a model folder that also holds `recipe.json`, `checkpoints/`
(orbax) and `metrics.jsonl`. Nothing half-written ever has a final name.
"""

import contextlib
import json
import uuid
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
from etils import epath

from glide_jax import config
from glide_jax.text import tokenizer as text

FORMAT_VERSION = 1
KIND = "diffusion"
PRETRAINED = epath.Path(__file__).parent / "pretrained"


@contextlib.contextmanager
def written_whole(path):
    """A path to write beside `path`, renamed to it once the block ends without an error."""
    path = epath.Path(path)
    beside = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path, content):
    """Writes a text file whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(content)


def pretrained_names():
    """The models that ship."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())


def find_model(name_or_folder):
    """The folder of a shipped model's name or of a path; a ValueError says what there is."""
    shipped, folder = PRETRAINED / str(name_or_folder), epath.Path(name_or_folder)
    if str(name_or_folder) in pretrained_names():
        return shipped
    if not (folder / "config.json").exists():
        raise ValueError(
            f"there is no model {str(name_or_folder)!r}: it is neither a folder with a config.json "
            f"nor one of {', '.join(pretrained_names())}"
        )
    return folder


def save_description(folder, model: config.Diffusion, tokenizer):
    """Writes what a model is, without its parameters: config.json and tokenizer.json."""
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = {"format_version": FORMAT_VERSION, "kind": KIND, "model": config.to_dict(model)}
    write_text(folder / "tokenizer.json", tokenizer.to_json())
    write_text(folder / "config.json", json.dumps(described, indent=2) + "\n")


def load_description(folder):
    """The model and the tokenizer that a folder describes.

    Raises:
        ValueError: the folder is of another kind or of a newer format, or its config is broken.
    """
    folder = epath.Path(folder)
    try:
        described = json.loads((folder / "config.json").read_text())
        found = described["kind"], described["format_version"]
        if found != (KIND, FORMAT_VERSION):
            raise ValueError(f"its kind and format are {found}; known: {(KIND, FORMAT_VERSION)}")
        model = config.from_dict(config.Diffusion, described["model"])
        return model, text.from_json((folder / "tokenizer.json").read_text(), model.text)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} is not a model that can be read: {error}") from error


def save_params(path, params, dtype="float32"):
    """Writes a tree of parameters as safetensors, leaves named by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    named = {"/".join(k.key for k in keys): np.asarray(leaf, dtype) for keys, leaf in leaves}
    with written_whole(path) as beside:
        beside.write_bytes(safetensors.numpy.save(named))


def load_params(path):
    """The tree of float32 parameters that `save_params` wrote, in whichever precision."""
    tree = {}
    for name, leaf in safetensors.numpy.load(epath.Path(path).read_bytes()).items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = jnp.asarray(leaf, jnp.float32)
    return tree


def save_model(folder, model: config.Diffusion, tokenizer, params, dtype="float32"):
    """Writes a model folder; `dtype` (float16, say) is that of the stored parameters."""
    save_description(folder, model, tokenizer)
    save_params(epath.Path(folder) / "params.safetensors", params, dtype)


def load_model(name_or_folder):
    """(model, tokenizer, params) of a shipped model, a model folder or a training run.

    A run that has not ended gives the moving average of its newest checkpoint.
    """
    folder = find_model(name_or_folder)
    model, tokenizer = load_description(folder)
    if (folder / "params.safetensors").exists():
        return model, tokenizer, load_params(folder / "params.safetensors")
    with Checkpoints(folder) as checkpoints:
        if checkpoints.latest_step() is None:
            raise ValueError(f"{folder} holds no parameters yet: no checkpoint was saved")
        return model, tokenizer, checkpoints.restore_ema()


class Checkpoints:
    """The orbax steps of a run: written in the background, whole or not at all."""

    def __init__(self, run, keep=2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        run = run if "://" in str(run) else Path(run).absolute()  # orbax refuses relative paths
        self._manager = ocp.CheckpointManager(epath.Path(run) / "checkpoints", options=options)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._manager.wait_until_finished()
        self._manager.close()

    def latest_step(self):
        """The newest whole step, or None."""
        return self._manager.latest_step()

    def save(self, state):
        """Begins to write a train state under its step; training may go on meanwhile."""
        self._manager.save(int(state.step), args=ocp.args.StandardSave(state._asdict()))

    def restore(self, like):
        """The newest train state, of the shapes and shardings of `like`."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
        step = self.latest_step()
        return type(like)(**self._manager.restore(step, args=ocp.args.StandardRestore(target)))

    def restore_ema(self):
        """The newest moving average of the weights, for the default device."""
        state = self._manager.restore(self.latest_step(), args=ocp.args.StandardRestore())
        return jax.tree.map(jnp.asarray, state["ema_params"])
