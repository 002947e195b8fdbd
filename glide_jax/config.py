"""What a recipe can say: frozen, hashable dataclasses, static to jit, to and from JSON."""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Literal

UNIT = "0 to below 1"


def _require(holds, what, value, allowed):
    if not holds:
        raise ValueError(f"{what} is {value!r}; allowed: {allowed}")


def _at_least(config, least, *names):
    for name in names:
        value = getattr(config, name)
        _require(value >= least, f"{type(config).__name__}.{name}", value, f"{least} or more")


def _check_seed(name, value):
    _require(0 <= value < 2**32, name, value, f"0 to {2**32 - 1}")


@dataclass(frozen=True)
class TextEncoder:
    """The transformer over caption tokens (GLIDE §4); by default that of the base model."""

    context: int = 128
    """Tokens that a caption is cut or padded to."""
    vocab_size: int = 50257
    """Rows of the token table; the last one pads."""
    width: int = 512
    layers: int = 16
    heads: int = 8
    cleaning: Literal["none", "lower", "clip"] = "lower"
    """What is done to a caption before it is split into tokens; clip as CLIP's tokenizer does."""

    def __post_init__(self):
        _at_least(self, 1, "context", "vocab_size", "width", "layers", "heads")
        _require(
            self.width % self.heads == 0, "TextEncoder.width", self.width, "multiples of heads"
        )


@dataclass(frozen=True)
class UNet:
    """The ADM UNet; the defaults are the published base model's (GLIDE §4, ADM appendix B)."""

    image_size: int = 64
    """Side of the pictures, in pixels."""
    model_channels: int = 192
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    """Width of each level, in model_channels; each level halves the side."""
    num_res_blocks: int = 3
    """Residual blocks a level."""
    attention_resolutions: tuple[int, ...] = (32, 16, 8)
    """Sides, in patches, at which blocks attend to the picture and to the caption."""
    head_channels: int = 64
    patch: int = 1
    """Side of the blocks of pixels that enter as channels and leave as such; 1 as published. More
    is faster: a CPU multiplies few wide matrices sooner than many narrow ones."""
    norm_groups: int = 32
    """Groups of channels that are normed together. With one channel a group a norm takes away the
    mean, and with it a picture's tint: let each have two or more."""
    dropout: float = 0.1
    inpaint: bool = False
    """Takes the masked picture and its mask as four more input channels."""
    low_res_size: int | None = None
    """Side of the small picture that an upsampler is given; none for a base model."""

    def __post_init__(self):
        _at_least(self, 1, "image_size", "num_res_blocks", "head_channels", "patch", "norm_groups")
        _require(
            self.model_channels > 0 and self.model_channels % self.norm_groups == 0,
            "UNet.model_channels",
            self.model_channels,
            f"multiples of norm_groups, {self.norm_groups}",
        )
        _require(
            self.channel_mult and min(self.channel_mult) >= 1,
            "UNet.channel_mult",
            self.channel_mult,
            "one factor of 1 or more for each level",
        )
        least = self.patch * 2 ** (len(self.channel_mult) - 1)
        _require(
            self.image_size % least == 0,
            "UNet.image_size",
            self.image_size,
            f"multiples of {least}, for {len(self.channel_mult)} levels halve its patches",
        )
        for side in self.attention_resolutions:
            _require(side in self.sides, "UNet.attention_resolutions", side, f"of {self.sides}")
        # The middle of the network attends at the last level's side in any case.
        for side, mult in zip(self.sides, self.channel_mult, strict=True):
            width, attends = (
                mult * self.model_channels,
                (*self.attention_resolutions, self.sides[-1]),
            )
            _require(
                side not in attends or width % self.head_channels == 0,
                "UNet.head_channels",
                self.head_channels,
                f"divisors of {width}, the width at side {side}",
            )
        if self.low_res_size is not None:
            _at_least(self, 1, "low_res_size")
        _require(0 <= self.dropout < 1, "UNet.dropout", self.dropout, UNIT)

    @property
    def sides(self) -> tuple[int, ...]:
        """The side of the picture at each level, in patches."""
        side = self.image_size // self.patch
        return tuple(side >> level for level in range(len(self.channel_mult)))


@dataclass(frozen=True)
class Diffusion:
    """A text-guided diffusion model: its networks and its noise. What a model folder describes."""

    unet: UNet = field(default_factory=UNet)
    text: TextEncoder = field(default_factory=TextEncoder)
    schedule: Literal["linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2"
    timesteps: int = 1000

    def __post_init__(self):
        # Fewer would give the linear schedule a beta of 1 and more.
        _at_least(self, 21, "timesteps")


# The fields of Data that each source makes use of, beside source, workers and seed.
_DATA_FIELDS = {
    "shapes": (),
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
    workers: int = 0
    """Processes that read and decode; 0 does it in threads of the trainer's own."""
    seed: int = 0
    """Another seed draws other examples, or the same ones in another order."""

    def __post_init__(self):
        for name in sorted({*_DATA_FIELDS["tfds"]} - {*_DATA_FIELDS[self.source]}):
            value, default = getattr(self, name), getattr(type(self), name)
            allowed = f"{default!r}, for the source {self.source} has no use for it"
            _require(value == default, f"Data.{name}", value, allowed)
        _at_least(self, 0, "workers")
        _check_seed("Data.seed", self.seed)


@dataclass(frozen=True)
class Optim:
    """AdamW, its learning rate, and the moving averages of the weights."""

    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    """Steps of a linear rise to learning_rate."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on from there to the last step."""
    final_fraction: float = 0.0
    """The learning rate at the last step of a decay, in learning_rate."""
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
            _require(0 < value < math.inf, f"Optim.{name}", value, "above 0, and finite")
        _at_least(self, 0, "warmup_steps", "weight_decay", "skip_nonfinite")
        _at_least(self, 1, "accumulate")
        _require(self.weight_decay < math.inf, "Optim.weight_decay", self.weight_decay, "finite")
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, f"Optim.{name}", getattr(self, name), UNIT)
        _require(
            0 <= self.final_fraction <= 1, "Optim.final_fraction", self.final_fraction, "0 to 1"
        )
        decays = self.ema_decays
        _require(
            decays and len(set(decays)) == len(decays) and all(0 <= d < 1 for d in decays),
            "Optim.ema_decays",
            decays,
            f"one or more different numbers, each {UNIT}",
        )


@dataclass(frozen=True)
class Recipe:
    """One training, whole: what is trained, on what, how and for how long."""

    name: str
    """Names the run's folder, runs/NAME, unless --run says otherwise."""
    model: Diffusion = field(default_factory=Diffusion)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    timestep_sampler: Literal["uniform", "loss_second_moment"] = "uniform"
    """How timesteps are drawn: evenly, or more often where the loss is large (arXiv 2102.09672)."""
    loss_weighting: Literal["none", "min_snr"] = "none"
    """Of the noise error by timestep: none as GLIDE, or min_snr (arXiv 2303.09556), under which
    little noise counts less."""
    caption_dropout: float = 0.2
    """Share of captions emptied in training, for classifier-free guidance (GLIDE §2.3)."""
    batch_size: int = 64
    """Pictures a step, over all devices."""
    steps: int = 100_000
    seed: int = 0
    """Of the weights, the noise and the dropouts."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""
    log_every: int = 50
    checkpoint_every: int = 1000
    sample_every: int = 5000
    """Steps between sample grids; they also measure the caption gap."""
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
    recipe's model is then that one; only its dropout can be another."""

    def __post_init__(self):
        _at_least(
            self, 1, "batch_size", "steps", "log_every", "checkpoint_every", "sample_every", "keep"
        )
        _require(
            len(set(self.loggers)) == len(self.loggers),
            "Recipe.loggers",
            self.loggers,
            "each of them once",
        )
        if self.keep_every is not None:
            _at_least(self, 1, "keep_every")
        _check_seed("Recipe.seed", self.seed)
        _require(0 <= self.caption_dropout <= 1, "caption_dropout", self.caption_dropout, "0 to 1")


def to_dict(config):
    """A config as plain dictionaries, lists and numbers, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind, values):
    """The dataclass `kind` from what `to_dict` gave.

    A ValueError names a field that it does not know or that is missing, or a value of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be an object with fields, not {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    missing = {name for name, f in fields.items() if _is_required(f)} - set(values)
    if missing:
        raise ValueError(f"{kind.__name__} lacks the field {sorted(missing)[0]!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _is_required(field):
    return field.default is field.default_factory is dataclasses.MISSING


def _value(hint, value):
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    if types.NoneType in typing.get_args(hint):
        return None if value is None else _value(typing.get_args(hint)[0], value)
    if typing.get_origin(hint) is tuple:
        _check_type(list | tuple, value)
        return tuple(_value(typing.get_args(hint)[0], item) for item in value)
    _check_type(hint, value)
    return value


def _check_type(hint, value):
    """JSON from elsewhere may hold a word where a number belongs."""
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed: {', '.join(map(repr, allowed))}")
        return
    if not isinstance(value, (float, int) if hint is float else hint):
        raise ValueError(f"{value!r} is not of the type {hint}")
