"""Training runs on disk: model folders that also hold recipe.json, orbax steps and metrics."""

import json
import math
import uuid
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from glide_jax import config, parallel
from glide_jax.files import read_text, write_text
from glide_jax.model_folder import find_model, load_description, load_params, param_shapes

CHECKSUM = "checksum"


def save_recipe(run, recipe: config.Recipe):
    """Writes what a run trains, as recipe.json."""
    write_text(epath.Path(run) / "recipe.json", json.dumps(config.to_dict(recipe), indent=2) + "\n")


def load_recipe(run):
    """What a run trains, or None where there is none; a ValueError names a file that is broken."""
    path = epath.Path(run) / "recipe.json"
    if not path.exists():
        return None
    try:
        return config.from_dict(config.Recipe, json.loads(read_text(path)))
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe that can be read: {error}") from error


def load_model(name_or_folder, step=None, ema_decay=None, kind="diffusion"):
    """(model, tokenizer, params) of a shipped model, a model folder or a training run.

    Args:
        name_or_folder: which.
        step: of a run: a checkpoint's step, or "best" (see `Recipe.keep_best`). By default the
            run's end, or where it has not ended its newest checkpoint.
        ema_decay: of a run: which of `Optim.ema_decays`; the first by default.
        kind: what the model must be, one of `model_folder.KINDS`.

    Raises a ValueError that says what there is.
    """
    folder = find_model(name_or_folder)
    model, tokenizer = load_description(folder, kind)
    if step is None and ema_decay is None and (folder / "params.safetensors").exists():
        return model, tokenizer, load_params(folder / "params.safetensors", model)
    recipe = load_recipe(folder)
    if recipe is None or not (folder / "checkpoints").exists():
        is_asked = step is not None or ema_decay is not None
        what = "no checkpoints" if is_asked else "neither params.safetensors nor a run"
        raise ValueError(f"{folder} holds {what}")
    decays = recipe.optim.ema_decays
    ema_decay = decays[0] if ema_decay is None else ema_decay
    if ema_decay not in decays:
        raise ValueError(f"ema_decay is {ema_decay}; {folder} has {', '.join(map(str, decays))}")
    with Checkpoints(folder, keep_best=recipe.keep_best, read_only=True) as checkpoints:
        step = _find_step(checkpoints, step, folder)
        return model, tokenizer, checkpoints.restore_ema(model, ema_decay, step)


def _find_step(checkpoints, step, folder):
    steps = checkpoints.steps()
    if not steps:
        raise ValueError(f"{folder} holds no parameters yet: no checkpoint was saved")
    if step is None:
        return steps[-1]
    found = checkpoints.best_step() if step == "best" else step
    if found not in steps:
        raise ValueError(f"step is {step!r}; {folder} has {', '.join(map(str, steps))}")
    return found


class Checkpoints:
    """The orbax steps of a run: written in the background, whole or not at all.

    Args:
        run: the run's folder.
        keep: how many of the newest steps stay.
        keep_every: steps that it divides stay, too.
        keep_best: the step with the best value of this metric stays, too.
        read_only: leaves what is half-written alone: it may be a trainer's at work.
    """

    def __init__(self, run, keep=2, keep_every=None, keep_best=None, read_only=False):
        self.folder = epath.Path(run) / "checkpoints"
        self.keep_best = keep_best
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if read_only else _what_stays(keep, keep_every, keep_best),
            best_fn=partial(_goodness, keep_best) if keep_best else None,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        folder = self.folder if "://" in str(run) else Path(self.folder).absolute()
        self._manager = ocp.CheckpointManager(
            epath.Path(folder), options=options, item_handlers=ocp.PyTreeCheckpointHandler()
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            self.wait()
        except OSError:
            if error is None:
                raise
        self._manager.close()

    def latest_step(self):
        """The newest whole step, or None."""
        return self._manager.latest_step()

    def steps(self):
        """All whole steps, from the oldest on."""
        return sorted(self._manager.all_steps())

    def best_step(self):
        """The step with the best value of the metric that is kept by; None where none has one."""
        measured = {step: self._manager.metrics(step) or {} for step in self.steps()}
        found = [step for step in measured if self.keep_best in measured[step]]
        return max(found, key=lambda s: _goodness(self.keep_best, measured[s]), default=None)

    def save(self, state, metrics=None):
        """Begins to write a train state under its step; training may go on meanwhile.

        `metrics` holds the number that the best step is kept by. Raises an OSError where this step
        or the one before cannot be written; older steps are as they were.
        """
        step, sums = int(state.step), checksums(state)
        content = parallel.to_global(state)._asdict() | {CHECKSUM: combined(sums)}
        # A model is read without the rest of its state, and so has its own.
        own = {decay: int(combined(average)) for decay, average in sums.ema_params.items()}
        saved = ocp.args.PyTreeSave(content)
        try:
            self._manager.save(step, args=saved, metrics=metrics, custom_metadata={CHECKSUM: own})
        except Exception as failure:
            raise self._unwritten(failure) from failure

    def wait(self):
        """Returns once all that was to be saved is written; an OSError where it cannot be."""
        try:
            self._manager.wait_until_finished()
        except Exception as failure:
            raise self._unwritten(failure) from failure

    def _unwritten(self, failure):
        return OSError(
            f"a checkpoint could not be written to {self.folder} ({_cause(failure)}); older ones "
            "are as they were: make room or choose another --run"
        )

    def restore(self, like):
        """The newest train state that can be read, of the shapes of `like`, laid out as they say.

        Newer steps that cannot be read are moved to the run's folder `unreadable`, with a warning.
        Where no step can be read a ValueError says so, and all stay where they are.
        """
        target = parallel.global_shapes(like)._asdict() | {CHECKSUM: np.zeros((), np.uint32)}
        unreadable = []
        for step in reversed(self.steps()):
            try:
                restored = self._restore(step, target)
                expected = restored.pop(CHECKSUM)
                state = parallel.from_global(type(like)(**restored), like)
                if combined(checksums(state)) != expected:
                    raise ValueError("its content is not what was saved")
            except Exception as error:
                unreadable.append((step, (str(error).splitlines() or [repr(error)])[0]))
                continue
            self._set_aside(unreadable, step)
            return state
        step, reason = unreadable[0]
        raise ValueError(
            f"none of the checkpoints in {self.folder} can be read (of step {step}: {reason}): "
            "choose another --run to begin anew"
        )

    def _set_aside(self, unreadable, used):
        parallel.wait_for_all("restored")
        for step, reason in unreadable:
            warnings.warn(
                f"the checkpoint of step {step} cannot be read and is moved to unreadable/{step}: "
                f"{reason}; the run goes on from step {used}",
                stacklevel=3,
            )
            if parallel.is_lead():
                aside = self.folder.parent / "unreadable"
                aside.mkdir(exist_ok=True)
                (self.folder / str(step)).rename(aside / f"{step}.{uuid.uuid4().hex[:8]}")
        parallel.wait_for_all("set aside")
        self._manager.reload()

    def restore_ema(self, model: config.Model, ema_decay, step):
        """A step's moving average of the weights, on one device, whatever saved it.

        Raises a ValueError where it cannot be read, or is not what was saved.
        """
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            param_shapes(model),
        )
        target, name = {"ema_params": {str(ema_decay): target}}, str(ema_decay)
        try:
            restored = self._restore(step, target, partial_restore=True)["ema_params"][name]
            expected = self._manager.metadata(step).custom_metadata.get(CHECKSUM, {}).get(name)
            if expected is not None and combined(checksums(restored)) != expected:
                raise ValueError("its content is not what was saved")
        except Exception as error:
            others = ", ".join(str(other) for other in self.steps() if other != step)
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} cannot be read "
                f"({(str(error).splitlines() or [repr(error)])[0]}); "
                + (f"there are the steps {others}" if others else "there is no other")
            ) from error
        return restored

    def _restore(self, step, target, partial_restore=False):
        arguments = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=partial_restore,
        )
        return self._manager.restore(step, args=arguments)


def _cause(failure):
    """The system's words for why a file could not be written, out of all that orbax says."""
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    first = (str(failure).splitlines() or [repr(failure)])[0]
    return first.split(" [os_error_code")[0].rsplit(": ", 1)[-1]


def checksums(tree):
    """CRC-32 over the bytes of each leaf of a tree: the same however they are laid out.

    The storage has none of its own over the numbers: a bit that changed would go unseen.
    """
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.ascontiguousarray(parallel.on_host(leaf)) for leaf in leaves]
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(lambda leaf: zlib.crc32(leaf.view(np.uint8).reshape(-1)), leaves))
    return jax.tree.unflatten(structure, sums)


def combined(sums):
    """One CRC-32 of a tree of them, a uint32 []."""
    return np.array(zlib.crc32(np.array(jax.tree.leaves(sums), "<u4")), np.uint32)


def _what_stays(keep, keep_every, keep_best):
    policies = [checkpoint_managers.LatestN(keep)]
    if keep_every:
        policies.append(checkpoint_managers.EveryNSteps(keep_every))
    if keep_best:
        goodness = partial(_goodness, keep_best)
        policies.append(
            checkpoint_managers.BestN(
                get_metric_fn=goodness, n=1, keep_checkpoints_without_metrics=False
            )
        )
    return checkpoint_managers.AnyPreservationPolicy(policies)


def _goodness(name, metrics):
    """What the best step has the most of: the caption gap, or the least loss."""
    value = metrics.get(name, math.nan)
    if math.isnan(value):
        return -math.inf
    return value if name == "caption_gap" else -value
