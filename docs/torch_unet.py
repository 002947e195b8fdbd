"""The same network in PyTorch, to be timed beside ours (docs/performance.md has the figures):

    python -m glide_jax.bench --recipe configs/base64.py --against docs/torch_unet.py

It computes what the published code does, op by op: channels first, attention by two products with
its weights in float32, half precision for convolutions and products. With TORCH_STYLE=tuned it has
channels last and PyTorch's flash attention, with TORCH_STYLE=compiled torch.compile, too. It needs
PyTorch, which nothing else here does.
"""

import atexit
import os

import torch
import torch.nn.functional as F
from torch import nn

from glide_jax import model_folder
from glide_jax.models import text2im

STYLE = os.environ.get("TORCH_STYLE", "published")
if STYLE not in ("published", "tuned", "compiled"):
    raise ValueError(f"TORCH_STYLE is {STYLE!r}; it is published, tuned or compiled")
TUNED, COMPILED = STYLE in ("tuned", "compiled"), STYLE == "compiled"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LEARNING_RATE, EMA_DECAY, MAX_NORM = 1e-4, 0.9999, 1.0


class Norm(nn.GroupNorm):
    """GroupNorm in float32, whatever the dtype of what it is given."""

    def forward(self, x):
        return super().forward(x.float())


class LayerNorm(nn.LayerNorm):
    """The same of LayerNorm."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


def attend(q, k, v):
    """Each [B, heads, L or M, D] to [B, heads, L, D]."""
    if TUNED:
        return F.scaled_dot_product_attention(q, k, v)
    scale = q.shape[-1] ** -0.25
    weights = torch.einsum("bhld,bhmd->bhlm", q * scale, k * scale)
    weights = torch.softmax(weights.float(), dim=-1).to(v.dtype)
    return torch.einsum("bhlm,bhmd->bhld", weights, v)


def split_heads(packed, heads, parts):
    """[B, L, heads * parts * D] to `parts` of [B, heads, L, D]."""
    batch, length, width = packed.shape
    packed = packed.reshape(batch, length, heads, parts, width // (heads * parts))
    return [packed[:, :, :, part].transpose(1, 2) for part in range(parts)]


class ResBlock(nn.Module):
    def __init__(self, c, inputs, channels, resample=None):
        super().__init__()
        self.resample = resample or nn.Identity()
        self.in_norm, self.out_norm = Norm(c.norm_groups, inputs), Norm(c.norm_groups, channels)
        self.in_conv = nn.Conv2d(inputs, channels, 3, padding=1)
        self.emb = nn.Linear(4 * c.model_channels, 2 * channels)
        self.dropout = nn.Dropout(c.dropout)
        self.out_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Identity() if inputs == channels else nn.Conv2d(inputs, channels, 1)

    def forward(self, x, emb, text):
        h = self.in_conv(self.resample(F.silu(self.in_norm(x)).to(x.dtype)))
        scale, shift = self.emb(F.silu(emb))[:, :, None, None].float().chunk(2, dim=1)
        h = F.silu(self.out_norm(h) * (1 + scale) + shift).to(x.dtype)
        return self.skip(self.resample(x)) + self.out_conv(self.dropout(h))


class Attention(nn.Module):
    def __init__(self, c, channels, width):
        super().__init__()
        self.heads = channels // c.head_channels
        self.norm = Norm(c.norm_groups, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.text_kv = nn.Linear(width, 2 * channels)

    def forward(self, x, emb, text):
        batch, channels, height, width = x.shape
        h = self.norm(x).to(x.dtype).reshape(batch, channels, -1).transpose(1, 2)
        q, k, v = split_heads(self.qkv(h), self.heads, 3)
        text_k, text_v = split_heads(self.text_kv(text), self.heads, 2)
        h = attend(q, torch.cat([text_k, k], dim=2), torch.cat([text_v, v], dim=2))
        h = self.out(h.transpose(1, 2).reshape(batch, -1, channels))
        return x + h.transpose(1, 2).reshape(batch, channels, height, width)


class Conv(nn.Conv2d):
    def forward(self, x, emb, text):
        return super().forward(x)


class UNet(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.low_res, inputs = c.low_res_size, 6 if c.low_res_size else 3
        widths, base = [mult * c.model_channels for mult in c.channel_mult], c.model_channels
        half, double = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        sides = [c.image_size >> level for level in range(len(widths))]

        def attention(level):
            attends = sides[level] in c.attention_resolutions
            return [Attention(c, widths[level], width)] if attends else []

        channels, skips = widths[0], [widths[0]]
        self.inputs = nn.ModuleList([nn.ModuleList([Conv(inputs, channels, 3, padding=1)])])
        for level, own in enumerate(widths):
            for _ in range(c.num_res_blocks):
                self.add(self.inputs, ResBlock(c, channels, own), *attention(level))
                channels = own
                skips.append(channels)
            if level + 1 < len(widths):
                self.add(self.inputs, ResBlock(c, channels, channels, half))
                skips.append(channels)
        middle = [ResBlock(c, channels, channels), Attention(c, channels, width)]
        self.middle = nn.ModuleList([*middle, ResBlock(c, channels, channels)])
        self.outputs = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for number in range(c.num_res_blocks + 1):
                block = ResBlock(c, channels + skips.pop(), widths[level])
                channels = widths[level]
                doubled = level and number == c.num_res_blocks
                more = [ResBlock(c, channels, channels, double)] if doubled else []
                self.add(self.outputs, block, *attention(level), *more)
        first, second = nn.Linear(base, 4 * base), nn.Linear(4 * base, 4 * base)
        self.time_embed = nn.Sequential(first, nn.SiLU(), second)
        self.norm, self.conv = Norm(c.norm_groups, channels), nn.Conv2d(channels, 6, 3, padding=1)

    def add(self, blocks, *layers):
        blocks.append(nn.ModuleList(layers))

    def forward(self, x, t, text_emb, text, low_res=None):
        if self.low_res:
            size = x.shape[-2:]
            x = torch.cat([x, F.interpolate(low_res, size, mode="bilinear")], dim=1)
        half = self.time_embed[0].in_features // 2
        frequencies = torch.exp(-9.210340371976184 * torch.arange(half, device=x.device) / half)
        angles = t.float()[:, None] * frequencies[None]
        emb = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(text.dtype)
        emb = self.time_embed(emb) + text_emb
        h, kept = x.to(text.dtype), []
        if TUNED:
            h = h.to(memory_format=torch.channels_last)
        for block in self.inputs:
            for layer in block:
                h = layer(h, emb, text)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, emb, text)
        for block in self.outputs:
            h = torch.cat([h, kept.pop()], dim=1)
            for layer in block:
                h = layer(h, emb, text)
        return self.conv(F.silu(self.norm(h)).to(h.dtype)).float()


class TextBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, width = c.heads, c.width
        self.attn_norm, self.mlp_norm = LayerNorm(width), LayerNorm(width)
        self.qkv, self.attn_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        h = attend(*split_heads(self.qkv(self.attn_norm(x)), self.heads, 3))
        x = x + self.attn_out(h.transpose(1, 2).reshape(x.shape))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class TextEncoder(nn.Module):
    def __init__(self, c, embedding_dim):
        super().__init__()
        self.tokens = nn.Embedding(c.vocab_size, c.width)
        self.positions = nn.Parameter(0.02 * torch.randn(c.context, c.width))
        self.padding = nn.Parameter(0.02 * torch.randn(c.context, c.width))
        self.blocks = nn.Sequential(*(TextBlock(c) for _ in range(c.layers)))
        self.norm, self.project = LayerNorm(c.width), nn.Linear(c.width, embedding_dim)

    def forward(self, tokens, mask):
        x = torch.where(mask[..., None], self.tokens(tokens) + self.positions, self.padding)
        x = self.norm(self.blocks(x.to(self.project.weight.dtype)))
        return self.project(x[:, -1]), x


class Text2Im(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text = TextEncoder(model.text, 4 * model.unet.model_channels)
        self.unet = UNet(model.unet, model.text.width)

    def forward(self, x, t, tokens, mask, pictures):
        return self.unet(x, t, *self.text(tokens, mask), **pictures)


def make(recipe, arguments):
    """The parts that PyTorch is timed at."""
    makers = {"sample-step": sampling_step, "train": training_step}
    if DEVICE == "cuda":
        atexit.register(tell_memory)
    known = {name: makers[name] for name in arguments.parts if name in makers}
    return {name: maker(recipe, arguments) for name, maker in known.items()}


def tell_memory():
    print(f"PyTorch held at most {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def build(model):
    """The network on its device; a ValueError where it has not as many parameters as ours."""
    with torch.device(DEVICE):
        network = Text2Im(model)
    own = sum(parameter.numel() for parameter in network.parameters())
    ours = text2im.count_parameters(model_folder.param_shapes(model))
    if own != ours:
        raise ValueError(f"the network has {own} parameters in PyTorch and {ours} here")
    return network.to(memory_format=torch.channels_last) if TUNED else network


def inputs(model, rows):
    """x, t, tokens, mask and the pictures that an upsampler is given."""
    side, low = model.unet.image_size, model.unet.low_res_size
    captions = rows, model.text.context
    with torch.device(DEVICE):
        pictures = {"low_res": torch.randn(rows, 3, low, low)} if low else {}
        tokens, mask = torch.zeros(captions, dtype=torch.long), torch.ones(captions).bool()
        return torch.randn(rows, 3, side, side), torch.arange(rows), tokens, mask, pictures


def finished(value):
    """The same, once the device has it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return value


def sampling_step(recipe, arguments):
    """Both branches of guidance in one call, the caption encoded before."""
    rows = arguments.pictures * (1 if arguments.guidance_scale == 1 else 2)
    x, t, tokens, mask, pictures = inputs(recipe.model, rows)
    network = build(recipe.model).eval()
    if DEVICE == "cuda":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.half()
    unet = torch.compile(network.unet) if COMPILED else network.unet
    with torch.inference_mode():
        text_emb, text = network.text(tokens, mask)

    def step():
        with torch.inference_mode():
            return finished(unet(x, t, text_emb, text, **pictures)).shape

    return step


def training_step(recipe, arguments):
    """Forwards, backwards, clipping, AdamW and the moving average; only the noise's loss."""
    x, t, tokens, mask, pictures = inputs(recipe.model, recipe.batch_size)
    network = build(recipe.model).train()
    average = [parameter.detach().clone() for parameter in network.parameters()]
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, fused=DEVICE == "cuda")
    network = torch.compile(network) if COMPILED else network

    def step():
        noise = torch.randn_like(x)
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            predicted = network(x + noise, t, tokens, mask, pictures)
        F.mse_loss(predicted[:, :3], noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()
        torch._foreach_lerp_(average, parameters, 1 - EMA_DECAY)
        return finished(0)

    return step
