"""The text encoder and the UNet joined: a denoiser as plain functions of parameters and arrays.

A condition is a dictionary whose every leaf leads with the batch, so that two of them can be
concatenated: `text_emb` and `text_kv` (what `encode_text` gives), and where the model has them
`low_res` [B, h, w, 3] and `inpaint_image` [B, H, W, 3] with `inpaint_mask` [B, H, W, 1] (1 = keep).
"""

from functools import partial

import jax
import jax.numpy as jnp

from glide_jax import config
from glide_jax.models import winograd
from glide_jax.models.text_encoder import TextEncoder
from glide_jax.models.unet import UNet, input_channels


def init(model: config.Diffusion, key):
    """Fresh float32 parameters of a model, {"text_encoder": ..., "unet": ...}."""
    text_key, unet_key = jax.random.split(key)
    text_encoder, unet = _networks(model, jnp.float32)
    tokens = jnp.zeros((1, model.text.context), jnp.int32)
    text = text_encoder.init(text_key, tokens, tokens == 1)["params"]
    x, t, cond = example_inputs(model, batch=1)
    emb, features = text_encoder.apply({"params": text}, tokens, tokens == 1)

    def build(unet, x, t, emb, features):
        return unet(x, t, emb, unet.encode(features))

    x = input_channels(x, model.unet.image_size, **cond)
    network = unet.init(unet_key, x, t, emb, features, method=build)["params"]
    return {"text_encoder": text, "unet": network}


def example_inputs(model: config.Diffusion, batch):
    """Zeros of the shapes that `denoise` takes besides text: x, t and the pictures it is given."""
    c = model.unet
    x = jnp.zeros((batch, c.image_size, c.image_size, 3))
    cond = {}
    if c.inpaint:
        cond |= {"inpaint_image": x, "inpaint_mask": x[..., :1]}
    if c.low_res_size:
        cond |= {"low_res": jnp.zeros((batch, c.low_res_size, c.low_res_size, 3))}
    return x, jnp.zeros(batch, jnp.int32), cond


def encode_text(model: config.Diffusion, params, tokens, mask, *, dtype=jnp.float32, remat="none"):
    """Everything that the UNet takes from a caption, computed once for all steps.

    Args:
        tokens: int32 [B, ctx].
        mask: bool [B, ctx], true where there is caption; all false is the empty caption.
        dtype: of the matrix products.
        remat: what a gradient computes anew; see `Recipe.remat`.

    Returns:
        A condition: `text_emb` [B, 4 model_channels] and `text_kv`, a pair of
        [B, ctx, heads, head_channels] for each attention layer.
    """
    text_encoder, unet = _networks(model, dtype, remat)
    emb, features = text_encoder.apply({"params": params["text_encoder"]}, tokens, mask)
    kv = unet.apply(_variables(params), features, method="encode")
    return {"text_emb": emb, "text_kv": kv}


def text_features(model: config.Diffusion, params, tokens, mask, *, dtype=jnp.float32):
    """The text encoder alone, tokens and mask as for `encode_text`.

    Returns:
        [B, 4 model_channels] of the whole caption, and [B, ctx, width] of its tokens.
    """
    text_encoder, _ = _networks(model, dtype)
    return text_encoder.apply({"params": params["text_encoder"]}, tokens, mask)


def denoise(
    model: config.Diffusion,
    params,
    x,
    t,
    cond,
    *,
    dtype=jnp.float32,
    dropout_key=None,
    remat="none",
):
    """One call of the UNet.

    Args:
        x: float32 [B, H, W, 3], the noised pictures.
        t: int32 [B], the original timestep, 0 to T - 1.
        cond: see the module's first lines.
        dtype: of the matrix products.
        dropout_key: a key turns dropout on.
        remat: as for `encode_text`.

    Returns:
        float32 [B, H, W, 6]: the noise, then the fraction of the variance's range in [-1, 1].
    """
    _, unet = _networks(model, dtype, remat)
    pictures = {name: cond[name] for name in cond if not name.startswith("text_")}
    x = input_channels(x, model.unet.image_size, **pictures)
    apply = partial(unet.apply, _variables(params), x, t, cond["text_emb"], cond["text_kv"])
    if dropout_key is None:
        return apply(deterministic=True)
    return apply(deterministic=False, rngs={"dropout": dropout_key})


def prepare(model: config.Diffusion, params, dtype, backend):
    """The parameters as sampling takes them: with what layers make of them ahead.

    In half precision that is the kernels in it, once for all calls. In float32 on a CPU it is the
    collection "prepared", for layers that are faster with it; it takes memory beside the
    parameters, which stay as they are.
    """
    if dtype != jnp.float32:
        return jax.tree.map_with_path(partial(_cast_kernel, dtype), params)
    widest = max(model.unet.channel_mult) * model.unet.model_channels
    if backend != "cpu" or widest < winograd.LEAST_CHANNELS:
        return params
    return params | {"prepared": _prepared(params, model=model)}


def _cast_kernel(dtype, path, leaf):
    return leaf.astype(dtype) if path[-1] == jax.tree_util.DictKey("kernel") else leaf


@partial(jax.jit, static_argnames="model")
def _prepared(params, *, model):
    x, t, pictures = example_inputs(model, batch=1)
    blank = jnp.zeros((1, model.text.context), jnp.int32)
    cond = encode_text(model, params, blank, blank == 1)
    _, unet = _networks(model, jnp.float32)
    x = input_channels(x, model.unet.image_size, **pictures)
    inputs = x, t, cond["text_emb"], cond["text_kv"]
    # Only the prepared arrays leave, so that the network itself is traced, but not computed.
    return unet.apply(_variables(params), *inputs, mutable=["prepared"])[1].get("prepared", {})


def count_parameters(params):
    """How many numbers a tree of arrays (or of their shapes) holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _variables(params):
    return {"params": params["unet"], "prepared": params.get("prepared", {})}


def _networks(model, dtype, remat="none"):
    emb_dim = 4 * model.unet.model_channels
    return TextEncoder(model.text, emb_dim, dtype, remat), UNet(model.unet, dtype, remat)
