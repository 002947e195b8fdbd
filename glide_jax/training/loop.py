"""The trainer: one loop for whatever a recipe trains, resumed by calling it again."""

import json

import jax
from etils import epath
from tqdm import tqdm

from glide_jax import checkpoint, config, parallel
from glide_jax.data import pipeline as data
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
        ValueError: the folder holds a run of another model or of other data, or the recipe cannot
            be carried out on this machine's devices.
    """
    run = epath.Path(run)
    optimizer = make_optimizer(recipe)
    tokenizer = prepare_run(recipe, run)
    task = Diffusion(recipe, parallel.default_dtype(recipe.dtype))
    init_key, step_key = jax.random.split(jax.random.key(recipe.seed))
    state = jax.jit(lambda key: init_state(task.init(key), optimizer))(init_key)
    state = parallel.replicate(state)
    with checkpoint.Checkpoints(run) as checkpoints:
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        report = Report(recipe, task, tokenizer, run)
        step = parallel.pmap_step(
            make_step(task.loss, optimizer, recipe.optim.ema_decay, parallel.AXIS)
        )
        state = run_steps(recipe, run, step, state, step_key, tokenizer, report, checkpoints)
    checkpoint.save_model(run, recipe.model, tokenizer, state.ema_params)


def prepare_run(recipe: config.Recipe, run):
    """Writes what a new run needs, or checks that an old one is of this recipe; its tokenizer."""
    parallel.check_batch_size(recipe.batch_size)
    saved = run / "recipe.json"
    if saved.exists():
        before = config.from_dict(config.Recipe, json.loads(saved.read_text()))
        _check_same(recipe, before, run)
        tokenizer = checkpoint.load_description(run)[1]
    else:
        captions = data.captions(recipe.data, TOKENIZER_CAPTIONS)
        tokenizer = text.train(captions, recipe.model.text)
        checkpoint.save_description(run, recipe.model, tokenizer)
    checkpoint.write_text(saved, json.dumps(config.to_dict(recipe), indent=2) + "\n")
    return tokenizer


def _check_same(recipe, before, run):
    """A run goes on only with what its checkpoints and its stream of examples were made for."""
    for name in ("model", "data", "batch_size", "seed"):
        now, then = getattr(recipe, name), getattr(before, name)
        if now != then:
            raise ValueError(
                f"{run} holds a run with {name} {then}, not {now}: choose another --run"
            )


def run_steps(recipe, run, step, state, key, tokenizer, report, checkpoints):
    """From the state's step to the recipe's last; returns the state after it."""
    start, size = int(state.step), recipe.model.unet.image_size
    learning_rate, meter = make_learning_rate(recipe), Meter()
    log = MetricsLog(run / "metrics.jsonl", start)
    stream = data.batches(recipe.data, start, recipe.steps, recipe.batch_size, size, tokenizer)
    bar = tqdm(stream, initial=start, total=recipe.steps, desc=recipe.name, unit="step")

    def due(every):
        return done % every == 0 or done == recipe.steps

    for done, batch in enumerate(bar, start + 1):
        state, metrics = step(state, parallel.split_batch(batch), key)
        meter.add(recipe.batch_size)
        if due(recipe.log_every):
            row = {name: float(value) for name, value in metrics.items()}
            row["learning_rate"] = float(learning_rate(done - 1))
            row["images_per_second"] = meter.read()
            log.write(done, row)
            bar.set_postfix(loss=f"{row['loss']:.4f}", images=f"{row['images_per_second']:.1f}/s")
        meter.pause()
        if due(recipe.sample_every):
            log.write(done, report.write(state.ema_params, done))
        if due(recipe.checkpoint_every):
            checkpoints.save(state)
        meter.resume()
    return state
