"""How good a model is: python evaluate.py --model shapes32 --data shapes [--help]

python evaluate.py sweep [--help] measures what the settings of sampling do; inpainting, upsampling
and sdedit in its place measure what becomes of given pictures.
"""

import dataclasses
import importlib
import sys
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal

from glide_jax import cli
from glide_jax.evaluation import results
from glide_jax.guiding import CLIP, Guided

# The commands that measure what models make of given pictures.
EDITS = ("inpainting", "upsampling", "sdedit")


@dataclass(frozen=True)
class Arguments(Guided):
    """Draws pictures for captions that no training saw, and judges them by their captions."""

    data: Literal["shapes"] = "shapes"
    """Where the captions come from."""
    splits: tuple[Literal["test", "compositional"], ...] = ("test", "compositional")
    """compositional has pairs of colour and shape that training never shows."""
    num: int = 1024
    """Captions of each split, a third of each tier."""
    captions: Literal["pinned", "tuning"] = "pinned"
    """tuning gives others, to choose settings by."""
    shuffle: bool = False
    """Draws each picture from another's caption: what a model gets that cannot read."""
    out: Path | None = None
    """The folder of results.json and wrong-SPLIT.png; by default evaluations/MODEL."""

    def __post_init__(self):
        super().__post_init__()
        self.check_measure()

    def check_measure(self):
        """Raises a ValueError where there is nothing to measure."""
        if self.num < 3:
            raise ValueError(f"--num is {self.num}; it must be 3 or more, a caption of each tier")
        if not self.splits:
            raise ValueError("--splits is empty; allowed: test, compositional")

    @property
    def folder(self):
        """Where the results go."""
        return self.out or Path("evaluations") / Path(self.model).name


@dataclass(frozen=True)
class Sweep(Arguments):
    """Caption accuracy over ways of guiding, their scales, samplers and steps: each with each."""

    splits: tuple[Literal["test", "compositional"], ...] = ("test",)
    num: int = 256
    captions: Literal["pinned", "tuning"] = "tuning"
    guides: tuple[Literal["cfg", "clip", "both"], ...] = ("cfg",)
    """With both, --scales are the CLIP's."""
    scales: tuple[float, ...] = (0, 1, 2, 3, 5, 8, 10)
    clip_models: tuple[str, ...] = (CLIP,)
    samplers: tuple[Literal["ancestral", "ddim", "dpmpp"], ...] = ("ancestral",)
    steps_each: tuple[str, ...] = ("100",)

    rerank_froms: tuple[int, ...] = (1,)
    """Pictures a caption, of which --rerank-model chooses one."""

    def __post_init__(self):
        self.check_measure()  # how it is guided, each cell says

    def cells(self):
        """The arguments of each cell of the sweep."""
        from glide_jax.evaluation.guided import ways

        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(Arguments)}
        led = list(ways(self.guides, self.scales, self.clip_models, self.rerank_froms))
        for sampler, steps, way in product(self.samplers, self.steps_each, led):
            yield Arguments(**shared | {"sampler": sampler, "steps": steps} | way)


def measure(pipeline, arguments, split):
    """One row of results.json: how many captions of a split hold under these settings."""
    from glide_jax.evaluation import guided, shapes_test
    from glide_jax.evaluation.wrong import WrongPictures

    tried = shapes_test.items(split, arguments.num, shapes_test.SEEDS[arguments.captions])
    draw, settings = guided.drawer(pipeline, arguments, load_clip)
    row = {
        "model": arguments.model,
        "model_hash": results.hash_of(pipeline),
        "data": arguments.data,
        "split": split,
        "captions": arguments.captions,
        "num": arguments.num,
        "shuffle": arguments.shuffle,
        "settings": settings | {"dtype": str(pipeline.dtype)},
    }
    kept = arguments.folder / "verdicts" / f"{split}-{results.key_of(row)}.jsonl"
    wrong = WrongPictures()
    verdicts = shapes_test.try_model(draw, tried, kept, arguments.shuffle, wrong.add)
    wrong.save(arguments.folder / f"wrong-{split}.png", row)
    return row | shapes_test.summary(tried, verdicts) | {"versions": results.versions()}


def table(rows):
    """The rows as a table to read."""
    from glide_jax.evaluation import guided
    from glide_jax.evaluation.scores import in_words

    yield "| split | guidance | sampler | steps | holds | tier 1, 2, 3 | fails by | s/image |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        settings = row["settings"]
        tiers = ", ".join(f"{100 * tier['value']:.0f} %" for tier in row["by_tier"].values())
        kinds = ", ".join(f"{kind} {number}" for kind, number in row["failures"].items() if number)
        cells = (
            row["split"] + (", shuffled" if row["shuffle"] else ""),
            guided.in_words(settings),
            settings["sampler"],
            settings["steps"],
            in_words(row["caption_accuracy"]),
            tiers,
            kinds or "none",
            f"{row['seconds_per_image']:.2f}",
        )
        yield "| " + " | ".join(cells) + " |"


def load(name, dtype):
    """The Pipeline of a model; a published one is fetched."""
    # After parsing: --help need not wait for JAX.
    from glide_jax import Pipeline
    from glide_jax.released.ready import ready

    return Pipeline.load(ready(name), dtype)


@cache
def load_clip(name, dtype):
    """The NoisedClip of a name, loaded once for all cells; a published one is fetched."""
    from glide_jax import NoisedClip
    from glide_jax.released.ready import ready

    return NoisedClip.load(ready(name), dtype)


def main(arguments):
    """Parses, builds, runs."""
    if arguments and arguments[0] in EDITS:
        command = importlib.import_module(f"glide_jax.evaluation.edits.{arguments[0]}")
        command.main(arguments[1:], load)
        return
    is_sweep = arguments[:1] == ["sweep"]
    kind, prog = (Sweep, "evaluate.py sweep") if is_sweep else (Arguments, "evaluate.py")
    parsed = cli.parse(kind, arguments[is_sweep:], prog, kind.__doc__)
    cli.check_folder("--out", parsed.folder)
    cells = list(parsed.cells()) if is_sweep else [parsed]
    pipeline = load(parsed.model, parsed.dtype)
    rows = []
    for cell in cells:
        for split in cell.splits:
            rows.append(measure(pipeline, cell, split))
            results.add_row(parsed.folder / "results.json", rows[-1])
    print("\n".join(table(rows)))
    print(f"{parsed.folder}/results.json: {len(rows)} new rows", file=sys.stderr)


if __name__ == "__main__":
    cli.entry_point(main, "evaluate.py")
