"""The figures of the UNets and their text encoders, tiny and at full size."""

import dataclasses
from functools import partial

import jax
import numpy as np

from glide_jax import config
from glide_jax.models import text2im
from glide_jax.released.names import from_pytorch
from glide_jax.released.parity.drawing import draw, nchw, nhwc, read_manifest, tensor, thinned
from glide_jax.released.parity.measure import Check, Limit, read_npz

TINY = config.UNet(
    image_size=16,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(8,),
    head_channels=16,
    dropout=0.0,
)
TINY_TEXT = config.TextEncoder(context=12, vocab_size=64, width=32, layers=2, heads=4)
BASE = config.UNet()
UPSAMPLE = config.UNet(
    image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2, low_res_size=64
)
INPAINT = {"inpaint": True}
MODELS = {
    "tiny-text2im": config.Diffusion(TINY, TINY_TEXT),
    "tiny-superres": config.Diffusion(dataclasses.replace(TINY, low_res_size=4), TINY_TEXT),
    "tiny-inpaint": config.Diffusion(dataclasses.replace(TINY, **INPAINT), TINY_TEXT),
    "tiny-superres_inpaint": config.Diffusion(
        dataclasses.replace(TINY, low_res_size=4, **INPAINT), TINY_TEXT
    ),
    "base": config.Diffusion(BASE),
    "upsample": config.Diffusion(UPSAMPLE, schedule="linear"),
    "base-inpaint": config.Diffusion(dataclasses.replace(BASE, **INPAINT)),
    "upsample-inpaint": config.Diffusion(
        dataclasses.replace(UPSAMPLE, **INPAINT), schedule="linear"
    ),
}
FIGURES = ("out", "xf_proj", "xf_out")
FILES = {"unet_tiny.npz": "manifest_tiny.json", "unet_full.npz": "manifest_released.json"}


def checks(folder, salt, full):
    """The Checks of unet_tiny.npz and, where full, of unet_full.npz."""
    for file, manifest in list(FILES.items())[: 2 if full else 1]:
        if (folder / file).exists():
            yield from _of_file(folder / file, folder / manifest, salt)


def _of_file(path, manifest, salt):
    figures = read_npz(path)
    names = list(dict.fromkeys(key.partition("/")[0] for key in figures))
    for unknown in set(names) - set(MODELS):
        raise ValueError(f"{path} has figures of {unknown!r}; known: {', '.join(MODELS)}")
    manifests = read_manifest(manifest, *names)
    for name in names:
        published = {f"{name}/{what}": figures[f"{name}/{what}"] for what in FIGURES}
        given = {what: figures[f"{name}/{what}"] for what in ("tokens", "mask", "t")}
        compute = partial(_compute, name, manifests[name], salt, given, published)
        parameters = sum(int(np.prod(shape)) for shape in manifests[name].values())
        yield Check(name, compute, published, limit, parameters)


def limit(key):
    """How far a figure may be off."""
    return Limit(2e-5 if key.endswith("/out") else 1e-5)


def _compute(name, manifest, salt, given, published):
    model = MODELS[name]
    shapes = jax.eval_shape(partial(text2im.init, model), jax.random.key(0))
    params = from_pytorch(draw(name, manifest, salt), shapes)
    x, pictures = inputs(name, model.unet, len(given["t"]), salt)
    emb, features, out = _run(model, params, x, pictures, **given)
    found = {"out": nchw(out), "xf_proj": emb, "xf_out": np.swapaxes(features, 1, 2)}
    found = {f"{name}/{what}": array for what, array in found.items()}
    return {key: thinned(array, published[key].shape) for key, array in found.items()}


def inputs(name, unet, batch, salt):
    """The noised pictures [B, H, W, 3], and the pictures that the layout takes besides."""

    def drawn(what, side):
        return nhwc(tensor(f"input:{name}/{what}", (batch, 3, side, side), salt))

    pictures = {}
    if unet.low_res_size:
        pictures["low_res"] = drawn("low_res", unet.low_res_size)
    if unet.inpaint:
        keep = np.zeros((batch, unet.image_size, unet.image_size, 1), np.float32)
        keep[:, : unet.image_size // 3] = 1
        pictures |= {"inpaint_image": drawn("inpaint_image", unet.image_size), "inpaint_mask": keep}
    return drawn("x", unet.image_size), pictures


@partial(jax.jit, static_argnums=0)
def _run(model, params, x, pictures, tokens, mask, t):
    emb, features = text2im.text_features(model, params, tokens, mask)
    cond = text2im.encode_text(model, params, tokens, mask) | pictures
    return emb, features, text2im.denoise(model, params, x, t, cond)
