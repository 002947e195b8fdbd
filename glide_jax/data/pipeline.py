"""Batches: global batch k is a pure function of the data's seed and k, so a step is a position."""

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from glide_jax.config import Data
from glide_jax.data.examples import BadExample, Source
from glide_jax.data.sources import Shapes, read_example
from glide_jax.data.sources import open_source as open_source
from glide_jax.data.tags import Tagged

# Pillow decodes and scales without holding the interpreter's lock.
THREADS = min(os.cpu_count() or 1, 8)


class Stream(NamedTuple):
    """An endless row of examples, by position; step k reads those from k * batch_size on.

    Attributes:
        source: its examples.
        order: the index in the source at each position: one epoch after another, each in an order
            of its own.
        size: side of the pictures, in pixels.
        seed: of the data.
        flip: whether half of the pictures are mirrored.
    """

    source: Source
    order: grain.MapDataset
    size: int
    seed: int
    flip: bool


class Drawn(NamedTuple):
    """A picture with one of its captions, and where it came from."""

    image: np.ndarray  # uint8 [size, size, 3]
    caption: str
    replaced: int  # how many broken ones it stands in for
    index: int  # in the source


def make_stream(data: Data, source: Source, size: int) -> Stream:
    """The stream of a recipe's data."""
    return Stream(source, _order(source, data.seed), size, data.seed, data.flip)


def _order(source, seed):
    indices = grain.MapDataset.range(len(source))
    return indices if _is_endless(source) else indices.seed(seed).shuffle().repeat()


def _is_endless(source):
    return len(source) == sys.maxsize


def draw(stream: Stream, position: int) -> Drawn:
    """The example at a position; in the place of a broken one, the next good one of its epoch.

    Raises:
        ValueError: no example of the data is good.
    """
    number, first = len(stream.source), None
    epoch, start = divmod(position, number)
    for replaced in range(number):
        index = stream.order[epoch * number + (start + replaced) % number]
        try:
            image, captions = read_example(stream.source, index, stream.size)
        except BadExample as error:
            first = first or error
            continue
        return Drawn(*_choose(stream, position, image, captions), replaced, index)
    raise ValueError(f"of {number} examples none is good; {first}")


def _choose(stream, position, image, captions):
    """One of the captions, and the picture as it is or mirrored: by seed and position alone."""
    if len(captions) == 1 and not stream.flip:
        return image, captions[0]
    which, mirror = np.random.default_rng((stream.seed, position)).random(2)
    image = image[:, ::-1] if stream.flip and mirror < 0.5 else image
    return image, captions[int(which * len(captions))]


def make_batch(stream: Stream, rows: range, batch_size: int, tokenizer, k: int) -> dict:
    """The given rows of global batch k; see `batches`."""
    drawn = [draw(stream, k * batch_size + row) for row in rows]
    images, captions, replaced, indices = zip(*drawn, strict=True)
    # How many captions are cut, the fixed batch has told; not once more for each batch.
    beside = _beside(stream.source, tokenizer, captions, indices, warn=False)
    return _collate(images, rows) | beside | {"replaced": np.array(replaced, np.int32)}


def _collate(images, rows):
    """N pictures as a task's loss takes them; see `batches`."""
    return {"image": np.stack(images), "row": np.array(rows, np.int32)}


def _beside(source, tokenizer, captions, indices, warn=True):
    """What a task's loss takes beside pictures: their captions' tokens, or else their labels."""
    if isinstance(tokenizer, Tagged):
        return tokenizer.beside(source, captions, indices, warn)
    if tokenizer is None:
        return {"label": np.array([source.label(index) for index in indices], np.int32)}
    tokens, mask = tokenizer.encode(captions, warn)
    return {"tokens": tokens, "mask": mask}


def batches(
    data: Data, source, start, stop, batch_size, size, tokenizer, host=0, hosts=1
) -> Iterator[dict]:
    """Global batches start to stop - 1, made ahead; each is the same wherever the stream starts.

    Args:
        data: what the recipe says of it.
        source: from `open_source`.
        start: the first batch, counted from the beginning of the training.
        stop: the one after the last.
        batch_size: of a global batch, B.
        size: side of the pictures, in pixels.
        tokenizer: of the captions; None for a model that reads none, a Tagged one for a tagger.
        host: which part of each batch to give, out of `hosts` equal ones.

    Yields:
        `image` uint8 [B / hosts, size, size, 3], `tokens` int32 and `mask` bool [B / hosts,
        context], and `tags` of a Tagged one; without a tokenizer `label` int32 [B / hosts,
        objects] in their place; `row`
        int32 [B / hosts], each example's place in the global batch; `replaced` int32 [B / hosts],
        how many broken ones were passed over for it.

    Raises:
        ValueError: no example is good, or the batch does not divide evenly over the hosts.
    """
    if batch_size % hosts:
        raise ValueError(f"batch_size is {batch_size}; it must be a multiple of the {hosts} hosts")
    share = batch_size // hosts
    rows = range(host * share, (host + 1) * share)
    make = partial(make_batch, make_stream(data, source, size), rows, batch_size, tokenizer)
    return _run(grain.MapDataset.range(start, stop).map(make), data.workers)


def _run(made, workers):
    """The elements of a grain dataset, made by threads of this process or by other processes."""
    threads = 1 if workers else THREADS
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    ahead = made.to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads its own; we have no others
        # Through pipes: grain frees shared memory late, and some machines have little of it.
        options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        ahead = grain.experimental.WithOptionsIterDataset(ahead, options).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
            worker_init_fn=_ignore_signals,
        )
    with contextlib.closing(iter(ahead)) as iterator:
        try:
            yield from iterator
        except RuntimeError as error:
            if not str(error).startswith("Worker process was terminated"):
                raise
            raise OSError(f"of --data.workers {workers} one is gone: {error}") from error


def _ignore_signals(worker, workers):
    """Ctrl-C, and what a scheduler sends, reach every process; the trainer's own ends its workers.

    One that ended in the middle of a batch would be waited for.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def captions(source: Source, number: int) -> list[str]:
    """The first captions of so many examples, of all if there are fewer, to train a tokenizer on.

    They are spread over the data, and broken examples are left out.
    """
    return [texts[0] for texts in _first_good(source, number, source.captions)]


def fixed_batch(source: Source, number: int, size: int, tokenizer):
    """Examples that stay the same in all of a training, to see how it gets on.

    Shapes' are of its test split; others' are the first good ones of an order of its own, and so
    are trained on, too.

    Returns:
        A batch as `batches` gives it, without `replaced`, of `number` examples or of all if there
        are fewer; and its captions.
    """
    if isinstance(source, Shapes):
        source = dataclasses.replace(source, split="test")
    good = _first_good(source, number, lambda index: (index, *read_example(source, index, size)))
    indices, images, captions = zip(*good, strict=True)
    texts = [each[0] for each in captions]
    beside = _beside(source, tokenizer, texts, indices)
    return _collate(images, range(len(texts))) | beside, texts


def _first_good(source, number, read):
    """What `read` gives of the first `number` examples that it finds good, in a fixed order."""
    order, found, first = _order(source, seed=0), [], None
    for position in range(len(source)):
        if len(found) == number:
            break
        try:
            found.append(read(order[position]))
        except BadExample as error:
            first = first or error
    if not found:
        raise ValueError(f"of {len(source)} examples none is good; {first}")
    return found
