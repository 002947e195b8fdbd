"""Parameters of a model that is to be given more than it was trained with."""

import jax.numpy as jnp

FIRST = "input_blocks_0_0"  # the UNet's first convolution
X, NEW = 3, 4  # channels of the noised picture, and of the masked picture with its mask


def grow_for_inpainting(params, patch):
    """The parameters of the same model with `UNet.inpaint`: it computes what it did.

    The first convolution's kernel gets zeros for the masked picture and its mask, which stand
    between the noised picture and an upsampler's small one (see `unet.input_channels`), in each of
    a patch's pixels.

    Args:
        params: of a model without `UNet.inpaint`, as `text2im.init` shapes them.
        patch: the model's `UNet.patch`.
    """
    convolution = params["unet"][FIRST]
    old = convolution["kernel"]  # [3, 3, patch * patch * C, width]
    by_pixel = old.reshape(*old.shape[:2], patch**2, -1, old.shape[3])
    x, small = jnp.split(by_pixel, [X], axis=3)
    new = jnp.zeros((*x.shape[:3], NEW, x.shape[4]), x.dtype)
    kernel = jnp.concatenate([x, new, small], axis=3)
    kernel = kernel.reshape(*old.shape[:2], -1, old.shape[3])
    unet = params["unet"] | {FIRST: convolution | {"kernel": kernel}}
    return params | {"unet": unet}
