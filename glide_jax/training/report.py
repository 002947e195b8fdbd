"""What a run leaves on its way: metrics, sample grids of fixed captions, checkpoints."""

import math

import jax

from glide_jax import config, parallel, retrieval
from glide_jax.data import pipeline as data
from glide_jax.images import enlarge, save_png
from glide_jax.pipeline import Pipeline
from glide_jax.training.grids import draw_grid
from glide_jax.training.log import MetricsLog
from glide_jax.training.loggers import open_loggers
from glide_jax.training.optimizer import make_learning_rate

GRID_CAPTIONS = 16
EVALUATED_EXAMPLES = 128


class Report:
    """Writes what is due after each step.

    Grids are of fixed captions, and of diffusion models alone; what `evaluate` gives is on fixed
    examples and noise: of the test split of Shapes, of examples that are trained on where data are
    the user's own. The process that leads writes; all of them evaluate and save.

    Args:
        recipe: the training.
        evaluate: `(params, batch, key) -> numbers by name`, compiled; see `tasks`.
        tokenizer: its captions'.
        source: of the examples.
        run: the folder of `metrics.jsonl` and `samples/STEP.png`.
        checkpoints: the run's.
    """

    def __init__(self, recipe: config.Recipe, evaluate, tokenizer, source, run, checkpoints):
        self.recipe, self.tokenizer, self.run = recipe, tokenizer, run
        self.checkpoints = checkpoints
        self.draws = isinstance(recipe.model, config.Diffusion)
        number = EVALUATED_EXAMPLES if self.draws else retrieval.AMONG
        size = recipe.model.image_size
        self.batch, captions = data.fixed_batch(source, number, size, tokenizer)
        self.captions = captions[:GRID_CAPTIONS]
        self.evaluate = evaluate
        self.learning_rate = make_learning_rate(recipe)
        start = checkpoints.latest_step() or 0
        self.log = MetricsLog(run / "metrics.jsonl", start) if parallel.is_lead() else None
        self.loggers = open_loggers(recipe, run, start) if parallel.is_lead() else []

    def after_step(self, done, state, window, bar, is_stopping):
        """Logs, evaluates, draws and saves what is due after `done` steps; at the end all is.

        A run that is stopping has little time: it logs and saves.
        """
        due = lambda every: done % every == 0 or done == self.recipe.steps  # noqa: E731
        is_saved, is_judged = due(self.recipe.checkpoint_every), due(self.recipe.sample_every)
        best_by, row = self.recipe.keep_best, {}
        if is_stopping or due(self.recipe.log_every) or (is_saved and best_by == "loss"):
            row |= self._log(done, window, bar)
        if is_judged or (is_saved and best_by in ("eval_loss", "caption_gap")):
            ema_params = self._ema_params(state)
            row |= self._evaluate(done, ema_params)
        if is_saved or is_stopping:
            window.check()
            # Of a stop the loss may be that of one step, which says little.
            is_measured = is_saved and best_by in row
            self.checkpoints.save(state, {best_by: row[best_by]} if is_measured else None)
        if is_judged and self.draws and parallel.is_lead():
            self.draw(done, ema_params)

    def _log(self, done, window, bar):
        row = window.read()
        # Steps that were left out do not count in the optimizer.
        row["learning_rate"] = float(self.learning_rate(max(0, done - 1 - window.nonfinite)))
        if (memory := parallel.peak_memory()) is not None:
            row["device_gib"] = memory / 2**30
        self._write(done, row)
        loss, rate = row.get("loss", math.nan), row["images_per_second"]
        bar.set_postfix(loss=f"{loss:.4f}", images=f"{rate:.1f}/s")
        return row

    def _evaluate(self, done, ema_params):
        values = self.evaluate(ema_params, self.batch, jax.random.key(0))
        row = {name: float(value) for name, value in values.items()}
        self._write(done, row)
        return row

    def _write(self, done, row):
        if self.log is not None:
            self.log.write(done, row)
        for logger in self.loggers:
            logger.write(done, row)

    def _ema_params(self, state):
        decay = self.recipe.optim.ema_decays[0]
        return parallel.on_one_device(state.ema_params[str(decay)])

    def draw(self, done, ema_params):
        """Saves a grid."""
        pipeline = Pipeline(self.recipe.model, ema_params, self.tokenizer, self.recipe.dtype)
        images = self.batch["image"][:GRID_CAPTIONS]
        grid, settings = draw_grid(pipeline, self.recipe, images, self.captions)
        folder = self.run / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        grid = enlarge(grid, 512)
        settings = {"prompts": self.captions, "step": done} | settings
        save_png(folder / f"{done:08d}.png", grid, settings)
        for logger in self.loggers:
            logger.draw(done, grid)

    def close(self):
        """Ends the records of the loggers."""
        for logger in self.loggers:
            logger.close()
