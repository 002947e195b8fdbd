"""What a network is given beside the noised picture, made of the picture itself as it trains."""

import einops
import jax
import jax.numpy as jnp

from glide_jax import config
from glide_jax.images import scaled
from glide_jax.training.erasing import draw_masks

# No other draw of an example has this number.
APART = 2**32 - 1


def given_pictures(model: config.UNet, erase: config.Erase, low_res: config.LowRes, image, keys):
    """The pictures of a condition (see `models.text2im`) that the model takes, by name.

    Args:
        model: which may take a small picture, a masked one, both or none.
        erase: how masks are drawn: at the low resolution, where the model has one.
        low_res: what is done to the small picture.
        image: uint8 [B, H, W, 3].
        keys: [B], of the examples.
    """
    small, keys = model.low_res_size, jax.vmap(_own_keys)(keys)
    given = {}
    if model.inpaint:
        mask = draw_masks(erase, keys[:, 0], small or model.image_size)
        factor = model.image_size // mask.shape[1]
        mask = einops.repeat(mask, "b h w c -> b (h i) (w j) c", i=factor, j=factor)
        given |= {"inpaint_image": scaled(image), "inpaint_mask": mask}
    if small:
        given |= {"low_res": make_small(image, small, low_res, keys[:, 1])}
    return given


def _own_keys(key):
    return jax.random.split(jax.random.fold_in(key, APART), 2)


def make_small(image, side, low_res: config.LowRes, keys):
    """The small picture of an upsampler, as 8 bits hold it: those that it will enlarge do, too.

    Args:
        image: uint8 [B, H, W, 3], H a multiple of side.
        side: in pixels.
        low_res: how much blur and noise it gets at most, each example its own part of it.
        keys: [B].

    Returns:
        float32 [B, side, side, 3] in [-1, 1].
    """
    x = block_means(image, side)
    parts = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    if low_res.blur:
        x = blur(x, low_res.blur * parts[:, 0])
    if low_res.noise:
        draw = lambda key: jax.random.normal(jax.random.fold_in(key, 1), x.shape[1:])  # noqa: E731
        x += (127.5 * low_res.noise * parts[:, 1])[:, None, None, None] * jax.vmap(draw)(keys)
    return scaled(jnp.clip(jnp.round(x), 0, 255))


def block_means(image, side):
    """Made smaller by area averaging: [B, H, W, C] to float32 [B, side, side, C]."""
    factor = image.shape[1] // side
    return einops.reduce(
        image.astype(jnp.float32), "b (h i) (w j) c -> b h w c", "mean", i=factor, j=factor
    )


def blur(x, sigma):
    """Gaussian blur of [B, H, H, C], each by its sigma [B] in pixels; by 0 it stays as it is.

    Near the rim the part of the Gaussian that is inside counts for the whole.
    """
    pixel = jnp.arange(x.shape[1], dtype=jnp.float32)
    distance = pixel[None, :, None] - pixel[None, None, :]
    weights = jnp.exp(-0.5 * jnp.square(distance / jnp.maximum(sigma, 1e-3)[:, None, None]))
    weights /= jnp.sum(weights, axis=-1, keepdims=True)
    # Accelerators would else multiply in fewer bits than a pixel has.
    return jnp.einsum("bij,bjkc,blk->bilc", weights, x, weights, precision="highest")
