"""What a training is: the data, the optimizer, and all else that a recipe says."""

import math
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from glide_jax.config.checks import UNIT, at_least, check_seed, require
from glide_jax.config.models import Classifier, Clip, Diffusion, Model, Tagger

# The fields of Data that each source makes use of, beside source, workers and seed.
_DATA_FIELDS = {
    "shapes": ("tiers",),
    "folder": ("path", "caption_field", "flip"),
    "tfds": ("path", "name", "split", "image_field", "caption_field", "flip"),
}


@dataclass(frozen=True)
class Data:
    """Where captioned pictures come from; docs/data.md shows the layouts."""

    source: Literal["shapes", "folder", "tfds"] = "shapes"
    """Shapes are drawn as they are needed, with captions that say left and right."""
    path: str | None = None
    """Of the source folder: the folder of pictures with captions, or of tar shards. Of tfds: its
    data_dir, by default TFDS's own."""
    name: str | None = None
    """A TFDS data set: NAME, NAME/CONFIG or either with :VERSION."""
    split: str = "train"
    """A TFDS split; a part of one, too: train[:90%]."""
    image_field: str = "image"
    """The TFDS feature with the pictures; slashes lead to an inner one."""
    caption_field: str | None = None
    """The feature with the captions, or the field of a captions.jsonl or of the .json files of tar
    shards, by default caption there. Slashes lead to an inner one: captions/text."""
    flip: bool = False
    """Mirrors half of the pictures; do so only where no caption says left or right."""
    tiers: tuple[int, ...] = (1, 2, 3)
    """Of shapes: which scenes are drawn, each tier as often as it is named. 1 has one object, 2 has
    two in a relation, 3 has three or several alike: 2 2 3 is a lesson in where and how many."""
    workers: int = 0
    """Processes that read and decode; 0 does it in threads of the trainer's own."""
    seed: int = 0
    """Another seed draws other examples, or the same ones in another order."""

    def __post_init__(self):
        for name in sorted({*chain(*_DATA_FIELDS.values())} - {*_DATA_FIELDS[self.source]}):
            value, default = getattr(self, name), getattr(type(self), name)
            allowed = f"{default!r}, for the source {self.source} has no use for it"
            require(value == default, f"Data.{name}", value, allowed)
        allowed = "one or more of 1, 2 and 3"
        require(self.tiers and {*self.tiers} <= {1, 2, 3}, "Data.tiers", self.tiers, allowed)
        at_least(self, 0, "workers")
        check_seed("Data.seed", self.seed)


@dataclass(frozen=True)
class Optim:
    """The optimizer, its learning rate, and the moving averages of the weights."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon (arXiv 2502.16982) orthogonalizes the steps of kernels; it learns more from a picture
    where training is short. The learning rate of both is alike."""
    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    """Steps of a linear rise to learning_rate."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on from there to the last step."""
    final_fraction: float = 0.0
    """Where a decay ends, one step after the last, in learning_rate."""
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    """Of matrices and kernels; gains and biases never decay."""
    no_weight_decay: tuple[str, ...] = ()
    """Further parameters that do not decay, as paths or patterns: text_encoder, *embedding*."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are, as paths or patterns: text_encoder, unet/middle*."""
    clip_norm: float = 1.0
    """Gradients of a larger global norm are scaled down to it."""
    accumulate: int = 1
    """Parts that a device takes its share of a batch in, one after the other, to save memory."""
    ema_decays: tuple[float, ...] = (0.9999,)
    """Of the moving averages of the weights; the first is the one that becomes the model."""
    skip_nonfinite: int = 0
    """Steps whose loss or gradient is not finite that a run leaves out before it stops."""

    def __post_init__(self):
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"Optim.{name}", value, "above 0, and finite")
        at_least(self, 0, "warmup_steps", "weight_decay", "skip_nonfinite")
        at_least(self, 1, "accumulate")
        require(self.weight_decay < math.inf, "Optim.weight_decay", self.weight_decay, "finite")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"Optim.{name}", getattr(self, name), UNIT)
        require(
            0 <= self.final_fraction <= 1, "Optim.final_fraction", self.final_fraction, "0 to 1"
        )
        decays = self.ema_decays
        require(
            decays and len(set(decays)) == len(decays) and all(0 <= d < 1 for d in decays),
            "Optim.ema_decays",
            decays,
            f"one or more different numbers, each {UNIT}",
        )


@dataclass(frozen=True)
class Erase:
    """What a model that inpaints is not shown in training (GLIDE §3): the share of each kind."""

    boxes: float = 0.35
    """One to three boxes."""
    half_planes: float = 0.2
    """All on one side of a line at any angle."""
    strokes: float = 0.35
    """One to three strokes of a thick brush."""
    whole: float = 0.1
    """The whole picture: the model is to stay one that draws from the caption alone."""

    def __post_init__(self):
        at_least(self, 0, "boxes", "half_planes", "strokes", "whole")
        total = self.boxes + self.half_planes + self.strokes + self.whole
        require(abs(total - 1) < 1e-6, "the sum of Erase's shares", total, "1")


@dataclass(frozen=True)
class LowRes:
    """What is done in training to the small picture of an upsampler, beside making it small.

    It makes the upsampler forgive what a base model does wrong (arXiv 2106.15282, §4).
    """

    noise: float = 0.0
    """Each picture gets noise of a standard deviation from 0 to this, on the scale of -1 to 1."""
    blur: float = 0.0
    """Each gets a Gaussian blur with a sigma from 0 to this, in its own pixels."""

    def __post_init__(self):
        for name in ("noise", "blur"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"LowRes.{name}", value, "0 or more, and finite")


@dataclass(frozen=True)
class Recipe:
    """One training, whole: what is trained, on what, how and for how long."""

    name: str
    """Names the run's folder, runs/NAME, unless --run says otherwise."""
    model: Model = field(default_factory=Diffusion)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    timestep_sampler: Literal["uniform", "loss_second_moment", "logit_normal"] = "uniform"
    """How timesteps are drawn: evenly, more often where the loss is large (arXiv 2102.09672), or as
    logit_normal says (arXiv 2403.03206, §3.1)."""
    logit_normal: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation of log(t / (T - t)), for the sampler of this name. Unlike the
    other it changes what is learned: a mean above 0 trains more where there is much noise, where it
    is decided how many objects there are and where they are."""
    loss_weighting: Literal["none", "min_snr", "debiased"] = "none"
    """Of the noise error by timestep: none as GLIDE; min_snr (arXiv 2303.09556), under which little
    noise counts less; debiased (arXiv 2310.08442), under which much noise counts more as well."""
    caption_dropout: float = 0.2
    """Share of captions emptied in training, for classifier-free guidance (GLIDE §2.3); a CLIP's
    never are."""
    erase: Erase = field(default_factory=Erase)
    low_res: LowRes = field(default_factory=LowRes)
    batch_size: int = 64
    """Pictures a step, over all devices."""
    steps: int = 100_000
    seed: int = 0
    """Of the weights, the noise and the dropouts."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""
    parallel: Literal["pmap", "fsdp"] = "pmap"
    """How devices share a training: each has the whole state (pmap), or its share of it (fsdp), for
    models that are too large for one."""
    remat: Literal["none", "attention", "blocks"] = "none"
    """What the backward pass computes anew rather than keeps, to save memory: nothing, the UNet's
    attention layers, or all blocks."""
    log_every: int = 50
    checkpoint_every: int = 1000
    sample_every: int = 5000
    """Steps between sample grids; they also measure the caption gap, and of a CLIP, which draws
    none, how often it finds a picture's caption."""
    sample_steps: int = 25
    """Ancestral steps that a grid's pictures are drawn in."""
    keep: int = 2
    """Newest checkpoints that stay."""
    keep_every: int | None = None
    """Checkpoints of steps that this divides stay, too."""
    keep_best: Literal["loss", "eval_loss", "caption_gap"] | None = None
    """The checkpoint that is best by this stays, too: the least loss, the largest gap."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics and sample grids go beside the run's own files; each takes its extra."""
    init_from: str | None = None
    """A model to start from: a shipped or published model's name, a model folder or a run. The
    recipe's model is then that one; only its dropout can be another, and with inpaint it is grown
    to take masked pictures, too."""
    text_from: str | None = None
    """A tagger or another diffusion model, by name or folder: the training starts with its
    tokenizer and text encoder, of the same sizes, beside a fresh UNet."""

    def __post_init__(self):
        mean, deviation = self.logit_normal
        normal = "a finite mean and a finite standard deviation above 0"
        is_one = math.isfinite(mean) and 0 < deviation < math.inf
        require(is_one, "Recipe.logit_normal", self.logit_normal, normal)
        used = self.timestep_sampler == "logit_normal" or self.logit_normal == (0.0, 1.0)
        allowed = "(0.0, 1.0), unless timestep_sampler is logit_normal"
        require(used, "Recipe.logit_normal", self.logit_normal, allowed)
        at_least(
            *(self, 1, "batch_size", "steps", "log_every", "checkpoint_every", "sample_every"),
            *("sample_steps", "keep"),
        )
        require(
            len(set(self.loggers)) == len(self.loggers),
            "Recipe.loggers",
            self.loggers,
            "each of them once",
        )
        if self.keep_every is not None:
            at_least(self, 1, "keep_every")
        check_seed("Recipe.seed", self.seed)
        require(0 <= self.caption_dropout <= 1, "caption_dropout", self.caption_dropout, "0 to 1")
        allowed = "none (--text-from None), for init_from brings a text encoder of its own"
        both = self.init_from is not None and self.text_from is not None
        require(not both, "Recipe.text_from", self.text_from, allowed)
        if isinstance(self.model, Clip):
            _check_clip(self)
        if isinstance(self.model, Classifier):
            _check_scenes(self, "a classifier", "the kinds of objects")
        if isinstance(self.model, Tagger):
            _check_scenes(self, "a tagger", "what captions claim")


def _check_clip(recipe):
    """Requires a recipe of a CLIP to say nothing that its training has no use for."""
    _check_no_diffusion(recipe, "a CLIP")
    whole = "1, for a CLIP tells the captions of a whole batch apart: lower batch_size for memory"
    require(recipe.optim.accumulate == 1, "Optim.accumulate", recipe.optim.accumulate, whole)
    blocks = "none or blocks, for a CLIP's attention is part of its blocks"
    require(recipe.remat != "attention", "Recipe.remat", recipe.remat, blocks)


def _check_scenes(recipe, what, learned):
    """Requires a recipe to have data that tell what is learned, and to say nothing of no use."""
    _check_no_diffusion(recipe, what)
    allowed = f"'shapes', for {what} learns {learned}, which only its scenes tell"
    require(recipe.data.source == "shapes", "Data.source", recipe.data.source, allowed)
    none = f"none, for {what} is small"
    require(recipe.remat == "none", "Recipe.remat", recipe.remat, none)


def _check_no_diffusion(recipe, what):
    """Requires all that only diffusion models make use of to have its default."""
    defaults = Recipe(recipe.name)
    fields = (
        "timestep_sampler",
        "loss_weighting",
        "caption_dropout",
        "erase",
        "low_res",
        "text_from",
    )
    for name in fields:
        value, default = getattr(recipe, name), getattr(defaults, name)
        allowed = f"{default!r}, for the training of {what} has no use for it"
        require(value == default, f"Recipe.{name}", value, allowed)
    best = f"loss or eval_loss, for {what} has no caption gap"
    require(recipe.keep_best != "caption_gap", "Recipe.keep_best", recipe.keep_best, best)
