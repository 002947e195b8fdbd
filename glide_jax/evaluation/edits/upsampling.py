"""Upsampling, measured: how close enlarged pictures come to the real ones, and what is still read.

python evaluate.py upsampling --upsampler NAME_OR_FOLDER [--help]
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from glide_jax import cli
from glide_jax.data import shapes
from glide_jax.evaluation import shapes_test
from glide_jax.evaluation.caption_accuracy import failures
from glide_jax.evaluation.edits import measuring
from glide_jax.evaluation.results import check_folder, hash_of
from glide_jax.evaluation.scores import in_numbers, in_words, mean, share
from glide_jax.fitting import bicubic, fit, to_model


@dataclass(frozen=True, kw_only=True)
class Arguments(measuring.Measuring):
    """Enlarges pictures, real ones made small and a base model's, and reads them before and after;
    and measures how close the real ones come, beside bicubic interpolation."""

    upsampler: str
    """A model that enlarges pictures: a name, a model folder or a training run."""
    pictures: tuple[Literal["real", "drawn"], ...] = ("real", "drawn")
    """real ones are made small by the means of their blocks; drawn ones are the base model's."""
    split: Literal["test", "compositional"] = "test"
    """compositional has pairs of colour and shape that training never shows."""
    steps_each: tuple[str, ...] = ("5", "10", "fast27", "100")
    """Each with the same pictures and seeds."""
    guidance_scale: float = 1.0
    """Of the upsampler, as all below it but --base."""
    negative_prompt: str = ""
    sampler: Literal["ancestral", "ddim", "dpmpp"] = "ddim"
    eta: float = 0.0
    strength: float | None = None
    """Which part of the noise the small picture, enlarged, gets at first; 1 starts from noise
    alone. By default what Pipeline.upsample takes."""
    noise_scale: float = 0.997
    """The noise of a start from noise alone is multiplied by it."""
    batch_size: int = 16
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""
    base: cli.Sampling = field(default_factory=cli.Sampling)
    """The model of the drawn pictures, and how it is sampled."""
    out: Path = Path("evaluations/upsampling")
    """The folder of results.json, real.png and drawn.png."""

    def __post_init__(self):
        measuring.check_each("--pictures", self.pictures, "kinds of pictures")
        measuring.check_each("--steps-each", self.steps_each, "numbers of steps")
        measuring.check_num(self.num)

    def upsampling(self, steps, strength):
        """The arguments of `Pipeline.upsample` by name."""
        names = ("guidance_scale", "negative_prompt", "sampler", "eta", "noise_scale", "batch_size")
        own = {name: getattr(self, name) for name in names}
        return own | {"steps": steps, "strength": strength}


class Item(NamedTuple):
    """A small picture, uint8 [s, s, 3], what it is to show, and the large real one, if any."""

    caption: str
    claims: shapes_test.Claims
    seed: int
    small: np.ndarray
    large: np.ndarray | None


class Verdict(NamedTuple):
    """What is wrong with a picture before and after it is enlarged, and by bicubic interpolation.

    `psnr` and `bicubic_psnr` are in decibels, None where there is no real picture.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    bicubic: tuple[str, ...]
    psnr: float | None
    bicubic_psnr: float | None
    seconds: float


def real_items(tried, split, seed, small, large):
    """Real pictures of `large` pixels and the means of their blocks, `small` pixels a side."""
    found, square = [], fit((large, large), small, "crop")
    for item in tried:
        picture = shapes.example(item.seed, seed, split, large).image
        own = item.caption, item.claims, item.seed, to_model(picture, square)
        found.append(Item(*own, picture))
    return found


def drawn_items(tried, base, settings):
    """What a base model's Pipeline draws for the captions."""
    captions, seeds = [item.caption for item in tried], [item.seed for item in tried]
    drawn = base.text_to_image(captions, seed=seeds, progress=True, **settings)
    pairs = zip(tried, drawn, strict=True)
    return [Item(item.caption, item.claims, item.seed, small, None) for item, small in pairs]


def psnr(image, real):
    """Peak signal to noise of uint8 pictures, in decibels; 58.9 at most.

    An error below that of rounding to 8 bits, whose square has the mean 1/12, counts as that.
    """
    error = np.square(image.astype(float) - real).mean()
    return float(10 * np.log10(255**2 / max(error, 1 / 12)))


def try_upsampler(pipeline, tried, settings, kept):
    """Each item enlarged.

    Args:
        pipeline: the upsampler's `Pipeline`.
        tried: Items.
        settings: of `Pipeline.upsample`, but for seed.
        kept: the path of the verdicts.

    Returns:
        As `measuring.try_items`.
    """

    def draw(chunk):
        small, captions = np.stack([i.small for i in chunk]), [item.caption for item in chunk]
        return pipeline.upsample(small, captions, seed=[item.seed for item in chunk], **settings)

    def judge(picture, item):
        pictures = item.small, picture, bicubic(item.small, *picture.shape[:2])
        wrong = [failures(each, item.claims) for each in pictures]
        if item.large is None:
            return *wrong, None, None
        return *wrong, *(psnr(each, item.large) for each in pictures[1:])

    return measuring.try_items(tried, draw, judge, Verdict, kept)


def summary(verdicts):
    """The figures of a row: shares of captions that hold, and of real pictures the PSNR.

    `gain` is the mean of the differences to bicubic interpolation, picture by picture.
    """
    holds = {
        name: share(sum(not getattr(verdict, name) for verdict in verdicts), len(verdicts))
        for name in ("before", "after", "bicubic")
    }
    seconds = measuring.seconds_per_image(verdicts)
    figures = {"caption_accuracy": holds, "seconds_per_image": seconds}
    if verdicts[0].psnr is not None:
        ours, theirs = np.array([(v.psnr, v.bicubic_psnr) for v in verdicts]).T
        figures |= {"psnr": mean(ours), "bicubic_psnr": mean(theirs), "gain": mean(ours - theirs)}
    return figures


def table(rows):
    """The rows as a table to read."""
    holds, levels = ("before", "after", "bicubic"), ("psnr", "bicubic_psnr", "gain")
    heads = ("holds before", "after", "by bicubic", "PSNR in dB", "bicubic", "gain")
    lines = [("pictures", "steps", *heads, "s/image")]
    for row in rows:
        shares = [in_words(row["caption_accuracy"][name]) for name in holds]
        decibels = [in_numbers(row[name]) if name in row else "" for name in levels]
        seconds = f"{row['seconds_per_image']:.2f}"
        lines.append((row["among"], row["settings"]["steps"], *shares, *decibels, seconds))
    return lines


def main(arguments, load):
    """The command; `load` makes a Pipeline of a model's name and a dtype."""
    parsed = cli.parse(Arguments, arguments, "evaluate.py upsampling", Arguments.__doc__)
    check_folder(parsed.out, adds=True)
    pipeline = load(parsed.upsampler, parsed.dtype)
    base = load(parsed.base.model, parsed.base.dtype) if "drawn" in parsed.pictures else None
    _check_fit(pipeline, base, parsed)
    _check_settings(pipeline, base, parsed)
    rows = []
    for kind in parsed.pictures:
        rows += _measure(pipeline, base if kind == "drawn" else None, parsed)
    measuring.report(rows, table(rows), parsed.out)


def _check_fit(pipeline, base, parsed):
    """Raises a ValueError where a model enlarges nothing, or not what the other one draws."""
    small, name = pipeline.model.unet.low_res_size, repr(parsed.upsampler)
    if not small:
        raise ValueError(f"--upsampler {name} is a base model; it must be one that enlarges")
    if base and base.model.unet.image_size != small:
        raise ValueError(
            f"--upsampler {name} enlarges pictures of {small} pixels, but --base.model "
            f"{parsed.base.model!r} draws {base.model.unet.image_size}"
        )


def _check_settings(pipeline, base, parsed):
    """Raises a ValueError where one of the runs could not be made, before the first one is."""
    from glide_jax.editing import check_base  # --help need not wait for JAX
    from glide_jax.evaluation.beforehand import check_settings
    from glide_jax.settings import default_steps

    for steps in parsed.steps_each:
        check_settings(pipeline.model, parsed.upsampling(steps, _strength(pipeline, parsed)))
    if base is None:
        return
    try:
        check_base(base.model)
        check_settings(base.model, parsed.base.settings(default_steps(base.model)))
    except ValueError as error:
        raise ValueError(f"of --base {error}") from None


def _strength(pipeline, parsed):
    """Which part of the noise an upsampler begins from."""
    from glide_jax.settings import default_strength  # --help need not wait for JAX

    return default_strength(pipeline.model) if parsed.strength is None else parsed.strength


def _measure(pipeline, base, parsed):
    """The rows of real pictures, or with a base model of those that it draws, and their sheet."""
    from glide_jax.settings import default_steps  # --help need not wait for JAX

    unet, kind = pipeline.model.unet, "drawn" if base else "real"
    seed = shapes_test.SEEDS[parsed.captions]
    tried = shapes_test.items(parsed.split, parsed.num, seed)
    if base:
        settings = parsed.base.settings(default_steps(base.model))
        items = drawn_items(tried, base, settings)
        drawn_by = {"base_model": parsed.base.model, "base_model_hash": hash_of(base)}
        how = {"base": settings | {"dtype": str(base.dtype)}}
    else:
        items = real_items(tried, parsed.split, seed, unet.low_res_size, unet.image_size)
        drawn_by, how = {}, {}
    shown, rows = items[: measuring.SHOWN], []
    columns = {} if base else {"real": [item.large for item in shown]}
    columns["given"] = [item.small for item in shown]
    columns["bicubic"] = [bicubic(item.small, unet.image_size, unet.image_size) for item in shown]
    for steps in parsed.steps_each:
        settings = parsed.upsampling(steps, _strength(pipeline, parsed))
        own = pipeline, parsed, kind, settings | how
        row = measuring.row_of("upsampling", parsed.upsampler, *own) | drawn_by
        kept = measuring.path_of(row, parsed.out)
        verdicts, columns[f"{steps} steps"] = try_upsampler(pipeline, items, settings, kept)
        rows.append(measuring.finish(row, summary(verdicts), parsed.out))
    captions = [item.caption for item in shown]
    measuring.save_sheet(parsed.out / f"{kind}.png", columns, captions, rows)
    return rows
