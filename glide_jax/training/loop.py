"""The trainer: one loop for whatever a recipe trains, resumed by calling it again."""

import contextlib

import jax
from etils import epath
from tqdm import tqdm

from glide_jax import checkpoint, config, model_folder, parallel
from glide_jax.data import pipeline as data
from glide_jax.data.tags import Tagged
from glide_jax.files import writing_to
from glide_jax.training import grids, loggers, runs
from glide_jax.training.log import Window
from glide_jax.training.optimizer import nonfinite_steps
from glide_jax.training.programs import make_programs
from glide_jax.training.report import Report
from glide_jax.training.stop import Stopped, StopRequests


def train(recipe: config.Recipe, run):
    """Trains a recipe in the folder `run`, from its newest checkpoint if it has one.

    At the end the folder is a model folder with the moving average of the weights.

    Raises:
        ValueError: the folder holds another recipe's run or something else, or this machine cannot
            carry the recipe out: nothing is written then. Or a loss is not finite.
        OSError: the run cannot be written to; its older checkpoints are as they were.
        Stopped: Ctrl-C or SIGTERM asked for it; the run has saved and can go on.
    """
    run = epath.Path(run)
    loggers.check(recipe.loggers)
    recipe, parent = runs.adopt_model(recipe, run)
    grids.check(recipe)
    programs = make_programs(recipe)
    source = data.open_source(recipe.data, recipe.model.image_size)
    parallel.check_batch_size(recipe.batch_size, recipe.optim.accumulate)
    init_key, step_key = jax.random.split(jax.random.key(recipe.seed))
    tokenizer = runs.prepare(recipe, run, source, parent and parent[0])
    is_tagger = isinstance(recipe.model, config.Tagger)
    reader = Tagged(tokenizer) if is_tagger else tokenizer
    kept = (recipe.keep, recipe.keep_every, recipe.keep_best)
    with StopRequests() as requests, checkpoint.Checkpoints(run, *kept) as checkpoints:
        if checkpoints.latest_step() is None:
            state = programs.begun(parent and parent[1], init_key)
        else:
            state = programs.restored(checkpoints)
        if int(state.step) < recipe.steps and parallel.is_lead():
            # Until the end the newest checkpoint is what the run holds, not an earlier end.
            (run / "params.safetensors").unlink(missing_ok=True)
        report = Report(recipe, programs.evaluate, reader, source, run, checkpoints)
        stream = data.batches(
            recipe.data,
            source,
            int(state.step),
            recipe.steps,
            recipe.batch_size,
            recipe.model.image_size,
            reader,
            *parallel.place(),
        )
        with contextlib.closing(stream), contextlib.closing(report):
            state = run_steps(recipe, programs, state, step_key, stream, report, requests)
    ema_params = parallel.on_one_device(state.ema_params[str(recipe.optim.ema_decays[0])])
    if parallel.is_lead():
        with writing_to(run):
            model_folder.save_model(run, recipe.model, tokenizer, ema_params)
    parallel.wait_for_all("the end")


def run_steps(recipe, programs, state, key, stream, report, requests):
    """From the state's step to the recipe's last; returns the state after it.

    Args:
        recipe: the training.
        programs: its `Programs`.
        state: to start from.
        key: of the whole training's draws.
        stream: of this process's rows of the batches from there on.
        report: a `Report`.
        requests: the `StopRequests`, asked after each step.
    """
    done = int(state.step)
    window = Window(recipe.batch_size, nonfinite_steps(state), recipe.optim.skip_nonfinite)
    bar = tqdm(
        total=recipe.steps,
        initial=done,
        desc=recipe.name,
        unit="step",
        disable=not parallel.is_lead(),
    )
    key = programs.whole(key)
    placed = _placed(stream, programs.place)
    with bar:
        upcoming = next(placed, None)
        while done < recipe.steps:
            replaced, batch = upcoming
            with window.timed("compute_seconds"):
                state, metrics = programs.step(state, batch, key)
            with window.timed("data_seconds"):  # the next batch comes while the devices work
                upcoming = next(placed, None)
            with window.timed("compute_seconds"):
                window.add(done + 1, metrics)
            window.replaced += replaced
            done += 1
            bar.update()
            asked = requests.asked_at(done)
            with writing_to(report.run):
                report.after_step(done, state, window, bar, is_stopping=asked is not None)
            if asked:
                report.checkpoints.wait()  # it is told that all is saved
                raise Stopped(done, asked)
    return state


def _placed(stream, place):
    """Of each batch how many broken examples it replaced, and what the step takes."""
    for batch in stream:
        yield int(batch.pop("replaced").sum()), place(batch)
