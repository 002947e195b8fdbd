"""What a state dict's shapes tell of the model that it belongs to."""

import itertools
import math
import re

from glide_jax import config
from glide_jax.released.known import TIMESTEPS, Untold

# By the first convolution's input channels: x, then 3 for low_res and 4 for image and mask.
KINDS = {3: (False, False), 6: (False, True), 7: (True, False), 10: (True, True)}


class _Shapes(dict):
    """{PyTorch name: shape} of `what`; a ValueError where a name is missing."""

    def __init__(self, shapes, what):
        super().__init__(shapes)
        self.what = what

    def __missing__(self, name):
        raise ValueError(f"there is no {self.what} of GLIDE's: it has no {name}")

    def axes(self, name, number):
        """The shape of a parameter that must have so many axes, none of them empty."""
        if len(self[name]) != number or 0 in self[name]:
            raise ValueError(f"its {name} has the shape {list(self[name])}, not {number} axes")
        return self[name]

    def count(self, module):
        """How many modules of this name there are, each with a number after it."""
        pattern = re.compile(rf"{re.escape(module)}(\d+)\.")
        return len({match[1] for name in self if (match := pattern.match(name))})


def infer(shapes, untold: Untold):
    """The config of the diffusion model that a state dict of these shapes belongs to.

    The published models' code leaves no choice in 32 groups a norm, and has 1000 timesteps.

    Args:
        shapes: {PyTorch name: shape}.
        untold: what shapes do not tell.

    Raises:
        ValueError: names what is missing in `untold` or in the shapes, or what is not GLIDE's.
    """
    if "blocks.input.w_pos" in shapes:
        raise ValueError(
            "it is a tower of CLIP: give both, clip_image_enc.pt and clip_text_enc.pt, to one model"
        )
    shapes = _Shapes(shapes, "text-guided diffusion model")
    channels = shapes.axes("input_blocks.0.0.weight", 4)[1]
    if channels not in KINDS:
        raise ValueError(
            f"its input has {channels} channels; allowed: {', '.join(map(str, KINDS))}"
        )
    inpaint, upsamples = KINDS[channels]
    needed = ("image_size", "head_channels", "text_heads", "schedule")
    _check_told(untold, (*needed, "low_res_size") if upsamples else needed)
    return config.Diffusion(
        _unet(shapes, untold, inpaint, upsamples),
        _text_encoder(shapes, untold.text_heads),
        untold.schedule,
        TIMESTEPS,
    )


def infer_clip(image, text, untold: Untold):
    """The config of the noised CLIP whose towers' state dicts have these shapes.

    Args:
        image, text: {PyTorch name: shape} of clip_image_enc.pt and of clip_text_enc.pt.
        untold: what shapes do not tell.

    Raises:
        ValueError: as `infer`.
    """
    _check_told(untold, ("head_channels", "text_heads", "schedule"))
    image, text = _Shapes(image, "image tower"), _Shapes(text, "text tower")
    timesteps, width = image.axes("blocks.input.w_t", 2)
    if width % untold.head_channels:
        raise ValueError(
            f"head_channels is {untold.head_channels}; allowed: divisors of {width}, the width of "
            "the image tower"
        )
    patch = image.axes("blocks.input.patch_proj", 4)[-1]
    patches = image.axes("blocks.input.w_pos", 2)[0] - 1
    side = math.isqrt(patches)
    if side**2 != patches:
        raise ValueError(f"its blocks.input.w_pos has {patches} patches, which make no square")
    layers, heads = image.count("blocks.block_"), width // untold.head_channels
    return config.Clip(
        config.ClipImage(side * patch, patch, width, layers, heads),
        _text_tower(text, untold.text_heads),
        image.axes("blocks.output.f.w", 2)[0],
        untold.schedule,
        timesteps,
    )


def _text_tower(shapes, heads):
    context, width = shapes.axes("blocks.input.w_pos", 2)
    vocab_size, _ = shapes.axes("blocks.input.w_voc", 2)
    layers = shapes.count("blocks.block_")
    return config.TextEncoder(context, vocab_size, width, layers, heads, cleaning="clip")


def _check_told(untold, needed):
    missing = [name for name in needed if getattr(untold, name) is None]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ValueError(
            f"it is none of the published models, and shapes do not tell {', '.join(missing)}: "
            f"give {flags}"
        )
    if untold.head_channels < 1:
        raise ValueError(f"head_channels is {untold.head_channels}; it must be 1 or more")
    for name in ("image_size", "low_res_size"):
        value = getattr(untold, name)
        if value is not None and name not in needed:
            raise ValueError(f"{name} is {value}, but its shapes tell otherwise: leave it out")


def _text_encoder(shapes, heads):
    context, width = shapes.axes("positional_embedding", 2)
    vocab_size, _ = shapes.axes("token_embedding.weight", 2)
    layers = shapes.count("transformer.resblocks.")
    return config.TextEncoder(context, vocab_size, width, layers, heads)


def _unet(shapes, untold, inpaint, upsamples):
    model_channels = shapes.axes("time_embed.0.weight", 2)[1]
    outputs = shapes.axes("out.2.weight", 4)[0]
    if outputs != 6:
        raise ValueError(f"its output has {outputs} channels, not 6: noise and variance")
    widths, attends, blocks = zip(*_levels(shapes), strict=True)
    if any(width % model_channels for width in widths):
        raise ValueError(f"its widths are {widths}; they must be multiples of {model_channels}")
    sides = [untold.image_size >> level for level in range(len(widths))]
    return config.UNet(
        image_size=untold.image_size,
        model_channels=model_channels,
        channel_mult=tuple(width // model_channels for width in widths),
        num_res_blocks=blocks[0] - 1,
        attention_resolutions=tuple(itertools.compress(sides, attends)),
        head_channels=untold.head_channels,
        inpaint=inpaint,
        low_res_size=untold.low_res_size,
    )


def _levels(shapes):
    """(width, whether it attends, output blocks) of each level, from the largest side on.

    They show in the output blocks: the last of each level also enlarges, by a residual block.
    """
    if any(re.fullmatch(r"(in|out)put_blocks\..*\.(op|conv)\.weight", name) for name in shapes):
        raise ValueError("it resamples by convolutions, and GLIDE's models by residual blocks")
    levels = [[]]
    for block in range(shapes.count("output_blocks.")):
        inside = f"output_blocks.{block}"
        attends = f"{inside}.1.qkv.weight" in shapes
        width, *_ = shapes.axes(f"{inside}.0.out_layers.3.weight", 4)
        levels[-1].append((width, attends))
        if f"{inside}.{1 + attends}.in_layers.2.weight" in shapes:
            levels.append([])
    if len({len(blocks) for blocks in levels}) > 1 or any(len({*blocks}) > 1 for blocks in levels):
        raise ValueError("its output blocks differ within a level, or levels differ in number")
    return [(*blocks[0], len(blocks)) for blocks in reversed(levels)]
