"""How fast a recipe is: python -m glide_jax.bench --recipe configs/shapes32.py [--help]"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
from tqdm import tqdm

from glide_jax import cli, config, model_folder, parallel
from glide_jax.bench import parts, report
from glide_jax.bench.timing import compare
from glide_jax.config.loading import load_module, load_recipe
from glide_jax.files import write_text

PROG = "python -m glide_jax.bench"
SIDES = {"cpu": (512, 1024, 2048), "gpu": (4096, 8192), "tpu": (4096, 8192)}


@dataclass(frozen=True)
class Arguments:
    """Times the parts of a recipe's work, and matrix products beside them, in rounds."""

    recipe: str = "configs/shapes32.py"
    """A config file, or a model by name or folder. Its weights are drawn at random."""
    parts: tuple[Literal["sample-step", "sample", "train", "data"], ...] = parts.PARTS
    """What is timed: a guided call of the network, a whole sampling, a step of training, a batch
    of data."""
    rounds: int = 10
    """In each of which every part is called once, after one call to compile and one to warm up."""
    pictures: int = 1
    """That are sampled at a time; guidance makes two rows of each."""
    guidance_scale: float = 3.0
    """Of sampling; 1 is without guidance, as upsamplers are used."""
    steps: int = 10
    """Of a whole sampling."""
    batch_size: int | None = None
    """Of training and data; by default the recipe's."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""
    against: Path | None = None
    """A Python file whose make(recipe, arguments) gives functions by part, timed in the same
    rounds; arguments are these."""
    out: Path = Path("bench.json")
    """The file of all figures, each round's, too."""

    def __post_init__(self):
        for name in ("rounds", "pictures", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be 1 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch-size is {self.batch_size}; it must be 1 or more")
        if not math.isfinite(self.guidance_scale):
            raise ValueError(f"--guidance-scale is {self.guidance_scale}; it must be finite")

    def own_recipe(self):
        """The recipe that is timed."""
        if self.recipe.endswith(".py"):
            recipe, _ = load_recipe(self.recipe)
        else:
            model, _ = model_folder.load_description(model_folder.find_model(self.recipe))
            recipe = config.Recipe(name=self.recipe, model=model)
        if not isinstance(recipe.model, config.Diffusion):
            raise ValueError(f"--recipe is {self.recipe!r}, which is of no diffusion model")
        batch_size = recipe.batch_size if self.batch_size is None else self.batch_size
        return dataclasses.replace(recipe, dtype=self.dtype, batch_size=batch_size)


def rivals(recipe, arguments):
    """What the file's make gives: functions by part; a ValueError for parts not timed."""
    path = arguments.against
    if path is None:
        return {}
    try:
        module = load_module(path)
    except Exception as error:
        raise ValueError(f"--against {str(path)!r} cannot be run: {error!r}") from error
    if not callable(getattr(module, "make", None)):
        raise ValueError(f"--against is {str(path)!r}, which has no make(recipe, arguments)")
    made = module.make(recipe, arguments)
    if unknown := sorted(set(made) - set(arguments.parts)):
        raise ValueError(
            f"--against is {str(path)!r}, which makes {', '.join(unknown)}: name in --parts what "
            "it makes"
        )
    return made


def measure(arguments: Arguments):
    """Makes the parts and times them; a dictionary of all figures."""
    recipe, devices = arguments.own_recipe(), jax.local_device_count()
    if arguments.pictures % devices:
        raise ValueError(
            f"--pictures is {arguments.pictures}; it must be a multiple of the {devices} devices"
        )
    parallel.check_batch_size(recipe.batch_size, recipe.optim.accumulate)
    dtype = parallel.default_dtype(recipe.dtype)
    sampled = arguments.pictures, arguments.steps, arguments.guidance_scale
    others = rivals(recipe, arguments)  # which may be refused, before parts take their time
    own = parts.make_parts(recipe, arguments.parts, *sampled)
    against = {f"{name}, against": own[name]._replace(call=call) for name, call in others.items()}
    products = {
        f"matrix product {side}": parts.matrix_product(side, dtype)
        for side in SIDES[jax.default_backend()]
    }
    timed = own | against | products
    calls = {name: part.call for name, part in timed.items()}
    with tqdm(total=len(calls) * (2 + arguments.rounds), desc=recipe.name, unit="call") as bar:
        timings = compare(calls, arguments.rounds, bar)
    best = report.best_rates(products, timings)
    return {
        "recipe": recipe.name,
        "dtype": dtype.name,
        "arguments": json.loads(json.dumps(dataclasses.asdict(arguments), default=str)),
        "machine": report.machine(),
        "parts": {
            name: report.figures(part, timings[name], best, timings.get(f"{name}, against"))
            for name, part in timed.items()
        },
    }


def main(args):
    """Parses, measures, tells."""
    arguments = cli.parse(Arguments, args, PROG, Arguments.__doc__)
    cli.check_file("--out", arguments.out)
    measured = measure(arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out, json.dumps(measured, indent=1) + "\n")
    print("\n".join(report.table(measured)))


if __name__ == "__main__":
    # Of a program that comes from the cache nobody could say how long it takes to compile.
    jax.config.update("jax_enable_compilation_cache", False)
    cli.entry_point(main, "bench")
