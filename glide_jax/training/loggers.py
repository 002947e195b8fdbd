"""Records of the metrics and sample grids beside a run's own: TensorBoard, Weights & Biases."""

import importlib
import json
import os
import time
import uuid

from glide_jax import config
from glide_jax.files import read_text, write_text

# Each logger's package, and what is used of it: a folder of the user's may have the same name.
PACKAGES = {"tensorboard": ("tensorboardX", "SummaryWriter"), "wandb": ("wandb", "init")}
PROJECT = "glide_jax"


def check(loggers):
    """Raises a ValueError for a logger whose package is not installed."""
    for name in loggers:
        package, needed = PACKAGES[name]
        try:
            getattr(importlib.import_module(package), needed)
        except (ImportError, AttributeError):
            raise ValueError(
                f"Recipe.loggers has {name!r}, for which the package {package} is missing: "
                f"pip install '.[{name}]'"
            ) from None


def open_loggers(recipe: config.Recipe, run, start):
    """The recipe's loggers, each with `write`, `draw` and `close`.

    Args:
        recipe: the training.
        run: its folder.
        start: the step it goes on from; what a logger has of later ones were lost steps.
    """
    kinds = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
    return [kinds[name](recipe, run, start) for name in recipe.loggers]


class TensorBoard:
    """Event files in the run's folder tensorboard/, a file each time that the run is started."""

    def __init__(self, recipe, run, start):
        from tensorboardX import SummaryWriter

        # It tells TensorBoard to forget what came after `start`. Two starts in one second would
        # have one file but for the suffix; what is a second old is on the disk.
        self.writer = SummaryWriter(
            str(run / "tensorboard"),
            purge_step=start + 1,
            flush_secs=1,
            filename_suffix=f".{time.time_ns()}",
        )

    def write(self, step, values):
        """One row of metrics, by name."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def draw(self, step, grid):
        """A grid of pictures, uint8 [H, W, 3]."""
        self.writer.add_image("samples", grid, step, dataformats="HWC")

    def close(self):
        """Writes what is left."""
        self.writer.close()


class WeightsAndBiases:
    """A W&B run, one for all of a training; its id and last step are in the run's wandb.json.

    The project is that of WANDB_PROJECT, or glide_jax. W&B takes no step back: those that were
    lost, and are made again as they were, are left out until there is a new one.
    """

    def __init__(self, recipe, run, start):
        import wandb

        self.path, self.wandb = run / "wandb.json", wandb
        before = {"id": uuid.uuid4().hex, "step": 0}
        if self.path.exists():
            before = json.loads(read_text(self.path))
        self.id, self.known = before["id"], before["step"]
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=recipe.name,
                id=self.id,
                resume="allow",
                dir=str(run),
                config=config.to_dict(recipe),
                settings=wandb.Settings(console="off"),  # the progress bar is no record
            )
        except wandb.Error as error:
            raise ValueError(f"W&B cannot begin, or go on with, a run: {error}") from error

    def write(self, step, values):
        """One row of metrics, by name."""
        if step > self.known:
            self.run.log(values, step=step)
            write_text(self.path, json.dumps({"id": self.id, "step": step}))

    def draw(self, step, grid):
        """A grid of pictures, uint8 [H, W, 3]."""
        self.write(step, {"samples": self.wandb.Image(grid)})

    def close(self):
        """Writes what is left."""
        self.run.finish()
