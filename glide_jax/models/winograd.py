"""3x3 convolutions by 16 multiplications for each 2x2 of the output, where others take 36.

Winograd's F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308, §4.1), exact but for the rounding of
float32. On a CPU it is faster than the compiler's own at some shapes (docs/performance.md).
"""

import jax.numpy as jnp
import numpy as np

# Where it was measured to be faster than the compiler's convolution on a CPU.
LEAST_CHANNELS, LEAST_SIDE = 192, 16

# G of the paper: three taps in a row to four.
KERNEL_ROWS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def is_faster(shape, channels):
    """Whether to take it for pictures of the shape [B, H, W, C], and so many channels out."""
    _, height, width, given = shape
    return min(given, channels) >= LEAST_CHANNELS and min(height, width) >= LEAST_SIDE


def transform_kernel(kernel):
    """G g G^T of each pair of channels: [3, 3, C, D] to [4, 4, D, C]."""
    return jnp.einsum("ai,bj,ijcd->abdc", KERNEL_ROWS, KERNEL_ROWS, kernel)


def convolve(x, transformed):
    """A 3x3 convolution, zeros around the picture.

    Args:
        x: [B, H, W, C].
        transformed: its kernel, from `transform_kernel`.

    Returns:
        [B, H, W, D].
    """
    height, width = x.shape[1:3]
    tiles = [_transform_input(row) for row in _tiles(x)]  # by row, then column of a 4x4 tile
    tiles = [_transform_input(column) for column in zip(*tiles, strict=True)]  # by column, then row
    # A product each: as one batched product they take longer.
    products = [
        [jnp.einsum("bhwc,dc->bhwd", tiles[j][i], transformed[i, j]) for i in range(4)]
        for j in range(4)
    ]
    rows = [_transform_output(column) for column in products]
    outputs = [_transform_output(row) for row in zip(*rows, strict=True)]  # by row, then column
    joined = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)  # [B, h, 2, w, 2, D]
    batch, tall, _, wide, _, channels = joined.shape
    return joined.reshape(batch, 2 * tall, 2 * wide, channels)[:, :height, :width]


def _tiles(x):
    """The 4x4 tiles that lie two pixels apart, the corners of all of them together, and so on.

    [B, H, W, C] to four rows of four of [B, ceil(H / 2), ceil(W / 2), C].
    """
    batch, height, width, channels = x.shape
    tall, wide = -(-height // 2), -(-width // 2)
    around = ((0, 0), (1, 2 * tall + 1 - height), (1, 2 * wide + 1 - width), (0, 0))
    x = jnp.pad(x, around).reshape(batch, tall + 1, 2, wide + 1, 2, channels)
    return [
        [x[:, i // 2 : i // 2 + tall, i % 2, j // 2 : j // 2 + wide, j % 2] for j in range(4)]
        for i in range(4)
    ]


def _transform_input(d):
    """B^T d of four arrays."""
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _transform_output(m):
    """A^T m of four arrays, two."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
