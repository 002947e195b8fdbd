"""Model folders and training runs on disk.

A model folder holds `config.json`, `tokenizer.json` and `params.safetensors`: what ships and what
`Pipeline` loads. A training run is a model folder that also holds `recipe.json`, `checkpoints/`
(orbax) and `metrics.jsonl`. Nothing half-written ever has a final name.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors
import safetensors.numpy
from etils import epath

from glide_jax import config
from glide_jax.files import read_text, write_text, written_whole
from glide_jax.models import text2im
from glide_jax.text import tokenizer as text

FORMAT_VERSION = 1
KIND = "diffusion"
PRETRAINED = epath.Path(__file__).parent / "pretrained"


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
        described = json.loads(read_text(folder / "config.json"))
        found = described["kind"], described["format_version"]
        if found != (KIND, FORMAT_VERSION):
            raise ValueError(f"its kind and format are {found}; known: {(KIND, FORMAT_VERSION)}")
        model = config.from_dict(config.Diffusion, described["model"])
        return model, text.from_json(read_text(folder / "tokenizer.json"), model.text)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} is not a model that can be read: {error}") from error


def save_params(path, params, dtype="float32"):
    """Writes a tree of parameters as safetensors, leaves named by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    named = {"/".join(k.key for k in keys): np.asarray(leaf, dtype) for keys, leaf in leaves}
    with written_whole(path) as beside:
        beside.write_bytes(safetensors.numpy.save(named))


def load_params(path, model: config.Diffusion):
    """The tree of float32 parameters that `save_params` wrote, in whichever precision.

    Raises a ValueError where the file is broken or does not hold the parameters of the model.
    """
    try:
        named = safetensors.numpy.load(epath.Path(path).read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(_shapes(model))
    wanted = {"/".join(k.key for k in keys): leaf.shape for keys, leaf in leaves}
    wrong = {name for name in {*named, *wanted} if np.shape(named.get(name)) != wanted.get(name)}
    if wrong:
        raise ValueError(f"{path} does not fit its config.json: look at {', '.join(sorted(wrong))}")
    return jax.tree.unflatten(structure, [jnp.asarray(named[n], jnp.float32) for n in wanted])


def _shapes(model):
    return jax.eval_shape(partial(text2im.init, model), jax.random.key(0))


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
        return model, tokenizer, load_params(folder / "params.safetensors", model)
    if not (folder / "checkpoints").exists():
        raise ValueError(f"{folder} holds neither params.safetensors nor checkpoints")
    with Checkpoints(folder, read_only=True) as checkpoints:
        if checkpoints.latest_step() is None:
            raise ValueError(f"{folder} holds no parameters yet: no checkpoint was saved")
        return model, tokenizer, checkpoints.restore_ema(model)


class Checkpoints:
    """The orbax steps of a run: written in the background, whole or not at all.

    Args:
        run: the run's folder.
        keep: how many steps stay.
        read_only: leaves what is half-written alone: it may be a trainer's at work.
    """

    def __init__(self, run, keep=2, read_only=False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
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
        self._manager.save(int(state.step), args=ocp.args.PyTreeSave(state._asdict()))

    def restore(self, like):
        """The newest train state, of the shapes and shardings of `like`."""
        return type(like)(**self._restore(like._asdict()))

    def restore_ema(self, model: config.Diffusion):
        """The newest moving average of the weights, on one device, whatever saved it."""
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), _shapes(model)
        )
        return self._restore({"ema_params": target}, partial_restore=True)["ema_params"]

    def _restore(self, target, partial_restore=False):
        arguments = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=partial_restore,
        )
        return self._manager.restore(self.latest_step(), args=arguments)
