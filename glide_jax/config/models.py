"""What a model is: the networks' sizes and the noise. What a model folder describes."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from glide_jax.config.checks import UNIT, at_least, multiples_of, require

Schedule = Literal["linear", "squaredcos_cap_v2"]


@dataclass(frozen=True)
class TextEncoder:
    """A transformer over caption tokens; by default that of the base model (GLIDE §4)."""

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
        at_least(self, 1, "context", "vocab_size", "width", "layers", "heads")
        multiples_of(self, "width", "heads")


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
        at_least(self, 1, "image_size", "num_res_blocks", "head_channels", "patch", "norm_groups")
        require(
            self.model_channels > 0 and self.model_channels % self.norm_groups == 0,
            "UNet.model_channels",
            self.model_channels,
            f"multiples of norm_groups, {self.norm_groups}",
        )
        require(
            self.channel_mult and min(self.channel_mult) >= 1,
            "UNet.channel_mult",
            self.channel_mult,
            "one factor of 1 or more for each level",
        )
        least = self.patch * 2 ** (len(self.channel_mult) - 1)
        require(
            self.image_size % least == 0,
            "UNet.image_size",
            self.image_size,
            f"multiples of {least}, for {len(self.channel_mult)} levels halve its patches",
        )
        for side in self.attention_resolutions:
            require(side in self.sides, "UNet.attention_resolutions", side, f"of {self.sides}")
        # The middle of the network attends at the last level's side in any case.
        for side, mult in zip(self.sides, self.channel_mult, strict=True):
            width, attends = (
                mult * self.model_channels,
                (*self.attention_resolutions, self.sides[-1]),
            )
            require(
                side not in attends or width % self.head_channels == 0,
                "UNet.head_channels",
                self.head_channels,
                f"divisors of {width}, the width at side {side}",
            )
        if self.low_res_size is not None:
            at_least(self, 1, "low_res_size")
            multiples_of(self, "image_size", "low_res_size")
        require(0 <= self.dropout < 1, "UNet.dropout", self.dropout, UNIT)

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
    schedule: Schedule = "squaredcos_cap_v2"
    timesteps: int = 1000

    def __post_init__(self):
        # Fewer would give the linear schedule a beta of 1 and more.
        at_least(self, 21, "timesteps")

    @property
    def image_size(self) -> int:
        """Side of the pictures, in pixels."""
        return self.unet.image_size


@dataclass(frozen=True)
class ClipImage:
    """CLIP's vision transformer over noised pictures; the defaults are the published one's."""

    image_size: int = 64
    """Side of the pictures, in pixels."""
    patch: int = 4
    """Side of the blocks of pixels that become one token each."""
    width: int = 768
    layers: int = 12
    heads: int = 12

    def __post_init__(self):
        at_least(self, 1, "image_size", "patch", "width", "layers", "heads")
        multiples_of(self, "image_size", "patch")
        multiples_of(self, "width", "heads")


@dataclass(frozen=True)
class Clip:
    """The noised CLIP, which says how well a picture, at any noise, fits a caption (GLIDE §2.4)."""

    image: ClipImage = field(default_factory=ClipImage)
    text: TextEncoder = field(
        default_factory=partial(
            TextEncoder, context=77, vocab_size=65536, layers=12, cleaning="clip"
        )
    )
    embedding: int = 512
    """Numbers that a picture or a caption becomes."""
    schedule: Schedule = "squaredcos_cap_v2"
    timesteps: int = 1000
    """Of the noise that its pictures have: a model that it guides must have the same. 0 makes it an
    ordinary CLIP, of clean pictures, which judges, and guides as if noised pictures were clean."""

    def __post_init__(self):
        at_least(self, 1, "embedding")
        require(
            self.timesteps == 0 or self.timesteps >= 21,
            "Clip.timesteps",
            self.timesteps,
            "21 or more, or 0 for clean pictures",
        )

    @property
    def image_size(self) -> int:
        """Side of the pictures, in pixels."""
        return self.image.image_size


@dataclass(frozen=True)
class Classifier:
    """A small convolutional network that says which kinds of objects are in a scene of Shapes.

    It is there for its features, which metrics compare; the defaults have 0.4 million parameters.
    """

    image_size: int = 32
    """Side of the pictures, in pixels."""
    channels: tuple[int, ...] = (32, 64, 96, 96)
    """Of each convolution; each but the first halves the side."""
    features: int = 128
    """Numbers that a picture becomes, before its classes."""
    objects: int = 3
    """Objects that are named, from left to right."""
    classes: int = 49
    """Of each: the pairs of colour and shape, then none."""

    def __post_init__(self):
        at_least(self, 1, "image_size", "features", "objects")
        at_least(self, 2, "classes")
        channels = self.channels
        allowed = "one number of 1 or more for each convolution"
        require(channels and min(channels) >= 1, "Classifier.channels", channels, allowed)
        least = 2 ** (len(channels) - 1)
        allowed = f"multiples of {least}, for {len(channels)} convolutions halve it"
        require(self.image_size % least == 0, "Classifier.image_size", self.image_size, allowed)


@dataclass(frozen=True)
class Tagger:
    """A text encoder that tells of each token what its caption claims of the object that it names.

    It is there for its encoder, which a diffusion model of Shapes starts from: `Recipe.text_from`.
    """

    text: TextEncoder = field(
        default_factory=partial(
            TextEncoder, context=32, vocab_size=512, width=128, layers=2, heads=4
        )
    )
    classes: tuple[int, ...] = (8, 6, 3, 3, 5)
    """Of each tag: colours, shapes, sizes, counts and sides, as `data.tags` numbers them."""

    def __post_init__(self):
        allowed = "one number of 2 or more for each tag"
        require(self.classes and min(self.classes) >= 2, "Tagger.classes", self.classes, allowed)

    @property
    def image_size(self) -> int:
        """Side of the pictures that come with its captions, in pixels; it looks at none."""
        return 32


Model = Diffusion | Clip | Classifier | Tagger
