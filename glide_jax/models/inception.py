"""The Inception network of 2015 whose features everyone's FID is of (Szegedy et al., 1512.00567).

It is the TensorFlow graph classify_image_graph_def.pb, with 1,008 classes, as its PyTorch port
pt_inception-2015-12-05 has it. Layers have the port's names, so that its weights find theirs.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SIDE, CLASSES, FEATURES = 299, 1008, 2048
EPSILON = 1e-3  # of the batch norms

avg_pool = partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)
max_pool = partial(nn.max_pool, window_shape=(3, 3))


class Conv(nn.Module):
    """A convolution, its batch norm as training left it, and ReLU."""

    features: int
    height: int = 1
    width: int = 1
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        shape = self.height, self.width, x.shape[-1], self.features
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        starts = {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}
        starts |= {"mean": nn.initializers.zeros, "var": nn.initializers.ones}
        norm = {name: self.param(name, start, shape[-1:]) for name, start in starts.items()}
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        factor = norm["scale"] * jax.lax.rsqrt(norm["var"] + EPSILON)
        offset = norm["bias"] - norm["mean"] * factor
        return nn.relu(x * factor[None, None, None] + offset[None, None, None])


# One that leaves out the rim and halves the side, and one that leaves out the rim.
Halving = partial(Conv, height=3, width=3, stride=2, padding="VALID")
Narrowing = partial(Conv, height=3, width=3, padding="VALID")


def join(*branches):
    """Branches [B, H, W, C] side by side, in the port's order."""
    return jnp.concatenate(branches, axis=-1)


class BlockA(nn.Module):
    """At side 35."""

    pool_features: int

    @nn.compact
    def __call__(self, x):
        five = Conv(48, name="branch5x5_1")(x)
        three = Conv(64, name="branch3x3dbl_1")(x)
        three = Conv(96, 3, 3, name="branch3x3dbl_2")(three)
        return join(
            Conv(64, name="branch1x1")(x),
            Conv(64, 5, 5, name="branch5x5_2")(five),
            Conv(96, 3, 3, name="branch3x3dbl_3")(three),
            Conv(self.pool_features, name="branch_pool")(avg_pool(x)),
        )


class BlockB(nn.Module):
    """From side 35 to 17."""

    @nn.compact
    def __call__(self, x):
        double = Conv(64, name="branch3x3dbl_1")(x)
        double = Conv(96, 3, 3, name="branch3x3dbl_2")(double)
        return join(
            Halving(384, name="branch3x3")(x),
            Halving(96, name="branch3x3dbl_3")(double),
            max_pool(x, strides=(2, 2)),
        )


class BlockC(nn.Module):
    """At side 17; a 7 x 7 convolution is one of rows after one of columns."""

    inner: int

    @nn.compact
    def __call__(self, x):
        seven = Conv(self.inner, name="branch7x7_1")(x)
        seven = Conv(self.inner, 1, 7, name="branch7x7_2")(seven)
        double = Conv(self.inner, name="branch7x7dbl_1")(x)
        for number, shape in enumerate(((7, 1), (1, 7), (7, 1)), 2):
            double = Conv(self.inner, *shape, name=f"branch7x7dbl_{number}")(double)
        return join(
            Conv(192, name="branch1x1")(x),
            Conv(192, 7, 1, name="branch7x7_3")(seven),
            Conv(192, 1, 7, name="branch7x7dbl_5")(double),
            Conv(192, name="branch_pool")(avg_pool(x)),
        )


class BlockD(nn.Module):
    """From side 17 to 8."""

    @nn.compact
    def __call__(self, x):
        three = Conv(192, name="branch3x3_1")(x)
        seven = Conv(192, name="branch7x7x3_1")(x)
        seven = Conv(192, 1, 7, name="branch7x7x3_2")(seven)
        seven = Conv(192, 7, 1, name="branch7x7x3_3")(seven)
        return join(
            Halving(320, name="branch3x3_2")(three),
            Halving(192, name="branch7x7x3_4")(seven),
            max_pool(x, strides=(2, 2)),
        )


class BlockE(nn.Module):
    """At side 8."""

    is_last: bool

    @nn.compact
    def __call__(self, x):
        three = Conv(384, name="branch3x3_1")(x)
        double = Conv(448, name="branch3x3dbl_1")(x)
        double = Conv(384, 3, 3, name="branch3x3dbl_2")(double)
        # The graph has a maximum in its last block where the paper has a mean.
        pooled = max_pool(x, padding="SAME") if self.is_last else avg_pool(x)
        return join(
            Conv(320, name="branch1x1")(x),
            Conv(384, 1, 3, name="branch3x3_2a")(three),
            Conv(384, 3, 1, name="branch3x3_2b")(three),
            Conv(384, 1, 3, name="branch3x3dbl_3a")(double),
            Conv(384, 3, 1, name="branch3x3dbl_3b")(double),
            Conv(192, name="branch_pool")(pooled),
        )


class Inception(nn.Module):
    """Pictures [B, 299, 299, 3] in [-1, 1] to features [B, 2048] and logits [B, 1008]."""

    @nn.compact
    def __call__(self, x):
        x = Halving(32, name="Conv2d_1a_3x3")(x)
        x = Narrowing(32, name="Conv2d_2a_3x3")(x)
        x = Conv(64, 3, 3, name="Conv2d_2b_3x3")(x)
        x = max_pool(x, strides=(2, 2))
        x = Conv(80, name="Conv2d_3b_1x1")(x)
        x = Narrowing(192, name="Conv2d_4a_3x3")(x)
        x = max_pool(x, strides=(2, 2))
        for letter, pool_features in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pool_features, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(inner, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(is_last=False, name="Mixed_7b")(x)
        x = BlockE(is_last=True, name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(CLASSES, precision="highest", name="fc")(features)


def init(key):
    """Fresh float32 parameters."""
    return Inception().init(key, jnp.zeros((1, SIDE, SIDE, 3)))["params"]


def apply(params, image):
    """What pictures show.

    Args:
        params: as `init` shapes them, or `released.inception` reads them.
        image: uint8 [B, H, W, 3], of any size.

    Returns:
        float32, `features` [B, 2048], and `logits` [B, 1008] without the head's bias, as the
        inception score takes them (its authors' code multiplies by the weights alone).
    """
    x = (resize(image.astype(jnp.float32), SIDE) - 128) / 128
    features, logits = Inception().apply({"params": params}, x)
    return {"features": features, "logits": logits - params["fc"]["bias"][None]}


def resize(x, side):
    """Bilinear interpolation as TensorFlow 1 does it, [B, H, W, C] to [B, side, side, C].

    Corners are aligned at the top left alone: pixel i of the result is at i H / side, not at the
    middles of pixels, and where pictures shrink none is averaged.
    """
    return _resize_axis(_resize_axis(x, 2, side), 1, side)


def _resize_axis(x, axis, side):
    length = x.shape[axis]
    at = np.arange(side, dtype=np.float32) * (np.float32(length) / np.float32(side))
    low = np.floor(at).astype(int)
    share = np.expand_dims(at - low.astype(np.float32), [i for i in range(x.ndim) if i != axis])
    first, second = (jnp.take(x, i, axis) for i in (low, np.minimum(low + 1, length - 1)))
    return first + (second - first) * share
