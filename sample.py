"""Pictures from captions: python sample.py "a red circle to the left of a blue square" [--help]"""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from glide_jax import cli
from glide_jax.files import read_text
from glide_jax.guiding import Guided
from glide_jax.reranking import Ranking, draw_or_rerank
from glide_jax.retouching import Editing, read_work, retouch
from glide_jax.saving import check_output, save


@dataclass(frozen=True)
class Upsampling:
    """How an upsampler is sampled; by default as the published one."""

    guidance_scale: float = 1.0
    sampler: Literal["ancestral", "ddim", "dpmpp"] | None = None
    """By default ddim, and ancestral where known pixels are kept."""
    steps: str = "fast27"
    eta: float = 0.0
    strength: float | None = None
    """Which part of the noise the small picture, enlarged, gets at first; 1 starts from noise
    alone. By default 0.3 for models of up to 64 pixels, else 1."""
    noise_scale: float = 0.997
    """The noise of a start from noise alone is multiplied by it."""
    batch_size: int = 4


@dataclass(frozen=True)
class Arguments(Guided):
    """What to draw, with which model, and how."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Captions; "" is unconditional."""
    model: str | None = None
    """A shipped or published model's name, a model folder or a training run; by default shapes32,
    or shapes32-inpaint where a part of an --image is drawn anew."""
    prompts_file: Annotated[Path | None, tyro.conf.arg(name="prompts")] = None
    """A file with one caption a line."""
    num: int = 1
    """Pictures a caption; the i-th is drawn from seed + i, but where --rerank-from chooses."""
    seed: int = 0
    upsampler: str | None = None
    """A model that enlarges the pictures: a name, a model folder or a training run."""
    upsampling: Upsampling = field(default_factory=Upsampling)
    editing: Annotated[Editing, tyro.conf.arg(name="")] = field(default_factory=Editing)
    out: Path = field(default=Path("samples.png"))
    """A .png file for a grid, or a folder for one file a picture."""

    def __post_init__(self):
        super().__post_init__()
        if self.editing.edits is not None and self.num != 1:
            raise ValueError(f"--num is {self.num}; --edits makes one picture after each edit")
        if self.upsampler is None and self.upsampling != Upsampling():
            raise ValueError("--upsampling is given, but no --upsampler: give a model, or drop it")
        if self.editing.edit_from is not None and self.sampler == "dpmpp":
            raise ValueError("--sampler is 'dpmpp'; --edit-from inverts by ddim: leave it out")

    @property
    def own_model(self):
        """The model's name or folder, that of its task by default."""
        return self.model or ("shapes32-inpaint" if self.editing.draws_anew else "shapes32")


def read_prompts(arguments):
    """The captions of the command line, then those of the file, whose empty lines do not count."""
    prompts = list(arguments.prompts)
    if arguments.prompts_file is not None:
        if not arguments.prompts_file.is_file():
            raise ValueError(f"--prompts is {str(arguments.prompts_file)!r}, which is no file")
        lines = read_text(arguments.prompts_file).split("\n")
        prompts += [line.strip() for line in lines if line.strip()]
    if arguments.editing.edits is not None:
        if prompts:
            raise ValueError(
                f"there is the prompt {prompts[0]!r}, but --edits has its own: drop one"
            )
        return prompts
    if not prompts:
        raise ValueError('there is no prompt; give one in quotes ("" is unconditional)')
    return prompts


def load_upsampler(arguments, pipeline):
    """The Pipeline that enlarges what another one draws, or None."""
    from glide_jax import Pipeline
    from glide_jax.released.ready import ready

    if arguments.upsampler is None:
        return None
    upsampler = Pipeline.load(ready(arguments.upsampler), arguments.dtype)
    takes, gets = upsampler.model.unet.low_res_size, pipeline.model.unet.image_size
    if takes != gets:
        what = f"enlarges pictures of {takes} pixels" if takes else "is no upsampler"
        own = arguments.own_model
        raise ValueError(f"--upsampler {arguments.upsampler!r} {what}; {own!r} draws {gets} pixels")
    check_upsampling(arguments.upsampling, upsampler)
    return upsampler


def check_upsampling(upsampling, upsampler):
    """Raises a ValueError for options that are not allowed, before the small pictures are drawn."""
    from glide_jax.drawing import Order

    how = dataclasses.asdict(upsampling)
    try:
        Order(batch_size=how.pop("batch_size")).check([""])
        settings = upsampler.upsampling_settings(upsampler.model.unet.inpaint, **how)
        settings.check()
        settings.trajectory(upsampler.model)
    except ValueError as error:
        raise ValueError(f"of --upsampling {error}") from None


def enlarger(upsampler, arguments):
    """(images, prompts, seeds, known) -> larger images, by an upsampler or None of it.

    There are a prompt and a seed for each image. `known` gives for a factor the large pictures and
    masks that an inpainting one keeps, or is None.
    """
    if upsampler is None:
        return None
    how, unet = dataclasses.asdict(arguments.upsampling), upsampler.model.unet

    def enlarge(images, prompts, seeds, known):
        sees = known is not None and unet.inpaint
        kept = known(unet.image_size // unet.low_res_size) if sees else None
        own = {"known": kept, "seed": seeds, "progress": True}
        return upsampler.upsample(images, prompts, **own, **how)

    return enlarge


def main(arguments):
    """Parses, builds, runs."""
    parsed = cli.parse(Arguments, arguments, "sample.py", __doc__)
    prompts = read_prompts(parsed)
    check_output(parsed.out)
    editing = parsed.editing
    work = None if editing.image is None else read_work(editing)

    # After parsing: --help need not wait for JAX.
    from glide_jax import NoisedClip, Pipeline
    from glide_jax.released.ready import ready
    from glide_jax.settings import STEPS, default_steps

    pipeline = Pipeline.load(ready(parsed.own_model), parsed.dtype)
    clip, ranker = parsed.judges(lambda name: NoisedClip.load(ready(name), parsed.dtype))
    ranking = ranker and Ranking(ranker, parsed.rerank_from)
    enlarge = enlarger(load_upsampler(parsed, pipeline), parsed)
    settings = {"num": parsed.num, "seed": parsed.seed}
    default = default_steps(pipeline.model) if work is None else STEPS
    settings |= parsed.settings(default) | editing.settings()
    led = {"clip": clip, "clip_guidance_scale": parsed.clip_scale}
    how = settings | led | {"progress": True}
    if work is None:
        drawn = draw_or_rerank(pipeline.text_to_image, prompts, how, ranking)
        drawn = drawn.enlarged(enlarge, prompts)
    else:
        drawn = retouch(pipeline, enlarge, editing, work, prompts, how, ranking)
        prompts = prompts or work.prompts
    print(save(drawn, prompts, parsed, record(parsed, pipeline, settings)), file=sys.stderr)


def record(arguments, pipeline, settings):
    """What a picture's metadata say of how it was made."""
    settings = settings | {"model": arguments.own_model, "dtype": str(pipeline.dtype)}
    settings |= arguments.told()
    if arguments.upsampler:
        how = dataclasses.asdict(arguments.upsampling)
        settings |= {"upsampler": arguments.upsampler, "upsampling": how}
    if arguments.editing.image is not None:
        said = dataclasses.asdict(arguments.editing)
        settings |= {
            k: str(v) if isinstance(v, Path) else v for k, v in said.items() if v is not None
        }
    return settings


if __name__ == "__main__":
    cli.entry_point(main, "sample.py")
