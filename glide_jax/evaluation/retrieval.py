"""How well a CLIP tells captions apart: python -m glide_jax.evaluation.retrieval --model NAME

Of held-out pairs of Shapes, 256 at a time: how often a picture's caption is the first, or among the
first five, that the CLIP would give it, and the reverse, by the picture's noise.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from tqdm import tqdm

from glide_jax import cli, plots, retrieval
from glide_jax.checkpoint import load_model
from glide_jax.config.checks import check_seed
from glide_jax.data import shapes
from glide_jax.evaluation import results
from glide_jax.evaluation.scores import in_words, share
from glide_jax.model_folder import model_hash
from glide_jax.parallel import default_dtype
from glide_jax.retrieval import AMONG

PROG = "python -m glide_jax.evaluation.retrieval"
SEED = 20211220  # of the examples: no training has seen them
WAYS = {"i2t": "captions of pictures", "t2i": "pictures of captions"}


@dataclass(frozen=True)
class Arguments:
    """Measures a CLIP's retrieval; results.json and retrieval-SPLIT.png say what it came to."""

    model: str
    """The name of a CLIP, its model folder, or a training of one."""
    splits: tuple[Literal["test", "compositional"], ...] = ("test", "compositional")
    """compositional has pairs of colour and shape that training never shows."""
    num: int = 4096
    """Pairs of each split, a multiple of 256."""
    seed: int = 0
    """Of the noise."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""
    out: Path | None = None
    """The folder of the results; by default evaluations/MODEL."""

    def __post_init__(self):
        if self.num < AMONG or self.num % AMONG:
            raise ValueError(f"--num is {self.num}; it must be a multiple of {AMONG}")
        check_seed("--seed", self.seed)
        if not self.splits:
            raise ValueError("--splits is empty; allowed: test, compositional")

    @property
    def folder(self):
        """Where the results go."""
        return self.out or Path("evaluations") / Path(self.model).name


def counts(model, params, tokenizer, arguments, split):
    """How many of a split's pairs are found, int [levels] by the names of `retrieval.found`."""
    dtype = default_dtype(arguments.dtype)
    judge = jax.jit(partial(retrieval.found_by_noise, model, dtype=dtype))
    key, total = jax.random.key(arguments.seed), {}
    for first in tqdm(range(0, arguments.num, AMONG), desc=split, unit="batch"):
        indices = range(first, first + AMONG)
        pairs = [shapes.example(index, SEED, split, model.image_size) for index in indices]
        x_0 = np.stack([pair.image for pair in pairs]) / np.float32(127.5) - 1
        captions = tokenizer.encode([pair.caption for pair in pairs])
        found = judge(params, x_0, *captions, jax.random.fold_in(key, first))
        for name, each in found.items():
            total[name] = total.get(name, 0) + np.sum(each, axis=-1)
    return total


def measure(loaded, arguments, split):
    """One row of results.json, of a (model, tokenizer, params)."""
    model, tokenizer, params = loaded
    total = counts(model, params, tokenizer, arguments, split)
    return {
        "measure": "retrieval",
        "model": arguments.model,
        "model_hash": model_hash(*loaded),
        "data": "shapes",
        "split": split,
        "num": arguments.num,
        "among": AMONG,
        "settings": {"seed": arguments.seed, "dtype": str(default_dtype(arguments.dtype))},
        "timesteps": model.timesteps,
        "retrieval": {
            name: [share(int(hits), arguments.num) for hits in each] for name, each in total.items()
        },
        "versions": results.versions(),
    }


def ends(row):
    """The first and the last timestep of each level of a row; of an ordinary CLIP's, (0, 0)."""
    number, timesteps = len(row["retrieval"]["i2t_r1"]), row["timesteps"]
    return [
        (n * timesteps // number, max((n + 1) * timesteps // number - 1, 0)) for n in range(number)
    ]


def table(row):
    """A row as a table to read, a line for each level of noise."""
    names = list(row["retrieval"])
    titles = [f"{WAYS[name[:3]]}, first {name[5:]}".removesuffix(" 1") for name in names]
    yield f"| {row['split']}, timesteps | {' | '.join(titles)} |"
    yield "|---" * (1 + len(names)) + "|"
    for level, (first, last) in enumerate(ends(row)):
        cells = [in_words(row["retrieval"][name][level]) for name in names]
        yield f"| {first} to {last} | {' | '.join(cells)} |"


def draw(row):
    """A row as a matplotlib Figure: what is found, by the middle of each level's timesteps."""
    figure = plots.import_matplotlib()(figsize=(10.4, 3.9), layout="constrained")
    middles = [(first + last) / 2 for first, last in ends(row)]
    for number, (way, title) in enumerate(WAYS.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        plots.set_plain(axes, f"{title} found among {row['among']} (%), {row['split']}")
        for colour, most in zip(plots.COLOURS, retrieval.RANKS, strict=False):
            shares = row["retrieval"][f"{way}_r{most}"]
            value = 100 * np.array([each["value"] for each in shares])
            low, high = 100 * np.transpose([each["interval"] for each in shares])
            name = "as the first" if most == 1 else f"among the first {most}"
            how = {"color": colour, "marker": "o", "markersize": 4, "label": name}
            bars = {"yerr": (value - low, high - value), "elinewidth": 0.9, "capsize": 2}
            axes.errorbar(middles, value, **how, **bars)
        axes.set_ylim(0, 101)
        axes.set_xlabel("timestep of the noise", color=plots.INK)
        axes.legend(fontsize=8.5, labelcolor=plots.INK, frameon=False)
    return figure


def main(arguments):
    """Parses, measures, tells."""
    parsed = cli.parse(Arguments, arguments, PROG, __doc__)
    results.check_folder(parsed.folder, adds=True)
    plots.import_matplotlib()  # before the work
    loaded = load_model(parsed.model, kind="clip")
    parsed.folder.mkdir(parents=True, exist_ok=True)
    for split in parsed.splits:
        row = measure(loaded, parsed, split)
        results.add_row(parsed.folder / "results.json", row)
        plots.save(draw(row), parsed.folder / f"retrieval-{split}.png")
        print("\n".join(table(row)))
    print(parsed.folder / "results.json", file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "retrieval")
