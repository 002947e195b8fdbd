"""The trainer: one loop for whatever a recipe trains, resumed by calling it again."""

import json

import jax
from etils import epath
from tqdm import tqdm

from glide_jax import checkpoint, config, parallel
from glide_jax.data import pipeline as data
from glide_jax.files import read_text, write_text
from glide_jax.text import tokenizer as text
from glide_jax.training.log import Meter, MetricsLog
from glide_jax.training.report import Report
from glide_jax.training.step import init_state, make_learning_rate, make_optimizer, make_step
from glide_jax.training.tasks import Diffusion

TOKENIZER_CAPTIONS = 20_000


def train(recipe: config.Recipe, run):
    """Trains a recipe in the folder `run`, from its newest checkpoint if it has one.

    At the end the folder is a model folder with the moving average of the weights.

    Raises:
        ValueError: the folder holds something else or a run of another recipe, or the recipe
            cannot be carried out on this machine's devices; nothing has been written then.
    """
    run = epath.Path(run)
    task = Diffusion(recipe, parallel.default_dtype(recipe.dtype))
    source = data.open_source(recipe.data, recipe.model.unet.image_size)
    parallel.check_batch_size(recipe.batch_size)
    tokenizer = prepare_run(recipe, run, source)
    optimizer = make_optimizer(recipe)
    init_key, step_key = jax.random.split(jax.random.key(recipe.seed))
    state = jax.jit(lambda key: init_state(task.init(key), optimizer))(init_key)
    state = parallel.replicate(state)
    with checkpoint.Checkpoints(run) as checkpoints:
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        if int(state.step) < recipe.steps:
            # Until the end the newest checkpoint is what the run holds, not an earlier end.
            (run / "params.safetensors").unlink(missing_ok=True)
        report = Report(recipe, task, tokenizer, run, source)
        step = parallel.pmap_step(
            make_step(task.loss, optimizer, recipe.optim.ema_decay, parallel.AXIS)
        )
        state = run_steps(
            recipe, run, source, step, state, step_key, tokenizer, report, checkpoints
        )
    checkpoint.save_model(run, recipe.model, tokenizer, state.ema_params)


def prepare_run(recipe: config.Recipe, run, source):
    """Writes what a new run needs, or checks that an old one is of this recipe; its tokenizer."""
    saved = run / "recipe.json"
    if saved.exists():
        _check_same(recipe, read_recipe(saved), run)
        tokenizer = checkpoint.load_description(run)[1]
    elif run.exists() and any(run.iterdir()):
        raise ValueError(f"{run} is not empty and holds no run: choose another --run")
    else:
        captions = data.captions(source, TOKENIZER_CAPTIONS)
        tokenizer = text.train(captions, recipe.model.text)
        checkpoint.save_description(run, recipe.model, tokenizer)
    write_text(saved, json.dumps(config.to_dict(recipe), indent=2) + "\n")
    return tokenizer


def read_recipe(path):
    """The recipe of a run; a ValueError names the file if it cannot be read."""
    try:
        return config.from_dict(config.Recipe, json.loads(read_text(path)))
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe that can be read: {error}") from error


def _check_same(recipe, before, run):
    """A run goes on only with what its checkpoints and its stream of examples were made for."""
    now, then = (dict(_flat(config.to_dict(r))) for r in (recipe, before))
    for name in now:
        if (
            name.split(".")[0] in ("model", "data", "batch_size", "seed")
            and now[name] != then[name]
        ):
            raise ValueError(
                f"{run} holds a run with {name} {then[name]}, not {now[name]}: choose another --run"
            )
    with checkpoint.Checkpoints(run, read_only=True) as checkpoints:
        done = checkpoints.latest_step() or 0
    if done > recipe.steps:
        raise ValueError(f"{run} is at step {done} already; --steps is {recipe.steps}")


def _flat(values, prefix=""):
    """("model.unet.dropout", 0.1) and so on, of nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def run_steps(recipe, run, source, step, state, key, tokenizer, report, checkpoints):
    """From the state's step to the recipe's last; returns the state after it."""
    start, size = int(state.step), recipe.model.unet.image_size
    learning_rate, meter = make_learning_rate(recipe), Meter()
    log = MetricsLog(run / "metrics.jsonl", start)
    stream = data.batches(
        recipe.data, source, start, recipe.steps, recipe.batch_size, size, tokenizer
    )
    replaced = 0
    bar = tqdm(stream, initial=start, total=recipe.steps, desc=recipe.name, unit="step")

    def due(every):
        return done % every == 0 or done == recipe.steps

    for done, batch in enumerate(bar, start + 1):
        replaced += int(batch.pop("replaced").sum())
        state, metrics = step(state, parallel.split_batch(batch), key)
        meter.add(recipe.batch_size)
        if due(recipe.log_every):
            row = {name: float(value) for name, value in metrics.items()}
            row["learning_rate"] = float(learning_rate(done - 1))
            row["images_per_second"] = meter.read()
            row["replaced"] = replaced
            log.write(done, row)
            bar.set_postfix(loss=f"{row['loss']:.4f}", images=f"{row['images_per_second']:.1f}/s")
        meter.pause()
        if due(recipe.sample_every):
            log.write(done, report.write(state.ema_params, done))
        if due(recipe.checkpoint_every):
            checkpoints.save(state)
        meter.resume()
    return state
