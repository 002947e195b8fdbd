"""The figures of the noised CLIP, tiny and at full size: features, and the gradient that guides."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax import config
from glide_jax.diffusion.guidance import by_similarity
from glide_jax.models import clip
from glide_jax.released.names import clip_from_pytorch
from glide_jax.released.parity.drawing import draw, nchw, nhwc, read_manifest, tensor, thinned
from glide_jax.released.parity.measure import Check, Limit, read_npz

TINY = config.Clip(
    image=config.ClipImage(image_size=16, width=32, layers=2, heads=2),
    text=config.TextEncoder(context=12, vocab_size=64, width=32, layers=2, heads=2),
    embedding=24,
)
# The figures' name, the model, and its towers as the manifest has them.
TINY_FILE = ("tiny-clip", TINY, ("tiny-clip-image", "tiny-clip-text"))
FULL_FILE = ("clip", config.Clip(), ("clip-image-enc", "clip-text-enc"))
FIGURES = ("image_features", "text_features", "guidance_grad", "logit_scale")


def checks(folder, salt, full):
    """The Checks of clip_tiny.npz and, where full, of clip_full.npz."""
    files = {"clip_tiny.npz": ("manifest_tiny.json", *TINY_FILE)}
    if full:
        files["clip_full.npz"] = ("manifest_released.json", *FULL_FILE)
    for file, (manifest, name, model, towers) in files.items():
        if (folder / file).exists():
            shapes = read_manifest(folder / manifest, *towers)
            figures = read_npz(folder / file)
            published = {f"{name}/{what}": figures[f"{name}/{what}"] for what in FIGURES}
            given = [figures[f"{name}/{what}"] for what in ("tokens", "lengths", "t")]
            compute = partial(_compute, name, model, towers, shapes, salt, given, published)
            sizes = (np.prod(shape) for tower in towers for shape in shapes[tower].values())
            yield Check(name, compute, published, limit, int(sum(sizes)))


def limit(key):
    """How far a figure may be off; the scale is 100 and comes from its float32 logarithm."""
    return Limit(relative=1e-6) if key.endswith("logit_scale") else Limit(1e-5)


def _compute(name, model, towers, shapes, salt, given, published):
    tokens, lengths, t = given
    side = model.image.image_size
    x = np.clip(nhwc(tensor(f"input:{name}/x", (len(t), 3, side, side), salt)), -1, 1)
    mask = np.arange(model.text.context)[None] < lengths[:, None]
    target = jax.eval_shape(partial(clip.init, model), jax.random.key(0))
    params = clip_from_pytorch(*(draw(tower, shapes[tower], salt) for tower in towers), target)
    image, text, gradient = _run(model, params, x, t, tokens, mask)
    found = (image, text, nchw(gradient), jnp.exp(params["logit_scale"]))
    found = {f"{name}/{what}": array for what, array in zip(FIGURES, found, strict=True)}
    return {key: thinned(array, published[key].shape) for key, array in found.items()}


@partial(jax.jit, static_argnums=0)
def _run(model, params, x, t, tokens, mask):
    text = clip.text_embedding(model, params, tokens, mask)

    def similarity(x, t):
        return clip.similarity(params, clip.image_embedding(model, params, x, t), text)

    image = clip.image_embedding(model, params, x, t)
    return image, text, by_similarity(similarity, 1.0)(x, t)
