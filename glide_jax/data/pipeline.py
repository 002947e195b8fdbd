"""Batches: global batch k is a pure function of the data's seed and k, so a step is a position."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from glide_jax.config import Data
from glide_jax.data import shapes


def examples(data: Data, indices, size, split="train"):
    """Examples by index: images uint8 [N, size, size, 3] and N captions."""
    drawn = [shapes.example(int(index), data.seed, split, size) for index in indices]
    return np.stack([example.image for example in drawn]), [example.caption for example in drawn]


def check(size):
    """Raises a ValueError where no picture of this side can be had."""
    if size < shapes.SMALLEST:
        raise ValueError(
            f"UNet.image_size is {size}; shapes are drawn at {shapes.SMALLEST} or more"
        )


def captions(data: Data, number):
    """The captions of the first training examples, without the time that their pictures take."""
    return [shapes.describe(index, data.seed)[1] for index in range(number)]


def make_batch(data: Data, k, batch_size, size, tokenizer, split="train"):
    """Global batch k, as a task's loss takes it.

    Returns:
        `image` uint8 [B, size, size, 3], `tokens` int32 and `mask` bool [B, context], and `row`
        int32 [B], each example's place in the global batch.
    """
    rows = np.arange(batch_size, dtype=np.int32)
    images, texts = examples(data, k * batch_size + rows.astype(np.int64), size, split)
    tokens, mask = tokenizer.encode(texts)
    return {"image": images, "tokens": tokens, "mask": mask, "row": rows}


def batches(data: Data, start, stop, batch_size, size, tokenizer) -> Iterator[dict]:
    """Batches start to stop - 1; the next one is made while the device works on the last."""
    with ThreadPoolExecutor(max_workers=1) as pool:

        def make(k):
            return pool.submit(make_batch, data, k, batch_size, size, tokenizer)

        ahead = make(start) if start < stop else None
        for k in range(start, stop):
            batch = ahead.result()
            if k + 1 < stop:
                ahead = make(k + 1)
            yield batch
