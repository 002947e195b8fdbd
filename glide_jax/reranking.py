"""Reranking: many pictures are drawn, and those are kept that a CLIP likes best."""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

MARGIN = 0.25  # around what was drawn anew, on each side, of the longer side of its box
SEEDS = 2**32  # as many as there are


class Ranking(NamedTuple):
    """By what pictures are kept."""

    clip: Any  # a `NoisedClip`
    rerank_from: int  # pictures that are drawn for each caption


class Drawn(NamedTuple):
    """Pictures, those of a caption side by side, and where ranked the best of them first."""

    images: np.ndarray  # uint8 [N, H, W, 3]
    seeds: np.ndarray  # int [N], each picture's own
    scores: np.ndarray | None  # float32 [N], from -1 to 1; None where nothing was ranked

    def enlarged(self, enlarge, prompts, known=None):
        """With larger images, each from its own seed; `enlarge` as in `retouching.retouch`."""
        if enlarge is None:
            return self
        captions = [p for p in prompts for _ in range(len(self.images) // len(prompts))]
        return self._replace(images=enlarge(self.images, captions, self.seeds, known))


def rerank(draw, prompts, clip, *, num=1, rerank_from=32, masks=None, seed=0, batch_size=16):
    """The pictures of many that a CLIP likes best; of equally good ones that of the smaller seed.

    No more are held at a time than those kept and those of one call of `draw`.

    Args:
        draw: a method of `Pipeline`, with all bound but (prompts, num, seed, batch_size):
            `pipeline.text_to_image`, or `partial(pipeline.inpaint, images, masks, steps=50)`.
        prompts: a list of strings.
        clip: a `NoisedClip`, noised or ordinary.
        num: pictures that are kept for each prompt.
        rerank_from: pictures that are drawn for each; the i-th from seed + i.
        masks: of inpainting, bool [len(prompts), H, W], True = keep: what counts is then the square
            `around_hole`.
        seed: an int, or one for each prompt.
        batch_size: pictures at a time.

    Returns:
        The Drawn, of len(prompts) * num pictures; their scores are those of `NoisedClip.scores`.

    Raises:
        ValueError: names the argument, its value and what is allowed.

    Source: Ramesh et al. 2021, arXiv 2102.12092, section 2.6; GLIDE, arXiv 2112.10741, section 5.
    """
    if num < 1:
        raise ValueError(f"num is {num}; it must be 1 or more")
    if rerank_from < num:
        raise ValueError(f"rerank_from is {rerank_from}; it must be num, {num}, or more")
    seeds = [int(own) for own in np.broadcast_to(seed, len(prompts))]
    if seeds and max(seeds) + rerank_from > SEEDS:
        raise ValueError(f"seed is {max(seeds)}; with rerank_from it must be at most {SEEDS}")
    calls = -(-rerank_from // max(1, batch_size // max(1, len(prompts))))
    each = -(-rerank_from // calls)
    kept = [[] for _ in prompts]
    for first in range(0, rerank_from, each):
        own = [seed + first for seed in seeds]
        images = draw(prompts, num=each, seed=own, batch_size=batch_size)
        scores = clip.scores(_looked_at(images, masks), prompts)
        for i, (image, score) in enumerate(zip(images, scores, strict=True)):
            row, number = i // each, first + i % each
            if number < rerank_from:  # the last call draws as many as the others: one program
                kept[row].append((-score, seeds[row] + number, image))
        kept = [sorted(own, key=lambda candidate: candidate[:2])[:num] for own in kept]
    negative, seeds, images = zip(*(each for own in kept for each in own), strict=True)
    return Drawn(np.stack(images), np.array(seeds), -np.array(negative))


def draw_or_rerank(draw, prompts, settings, ranking: Ranking | None = None, masks=None):
    """The Drawn of `draw(prompts, **settings)`; with a Ranking the best of more than these."""
    num, seed = settings["num"], settings["seed"]
    if ranking is None:
        images = draw(prompts, **settings)
        return Drawn(images, np.tile(seed + np.arange(num), len(prompts)), None)
    own = {"num": num, "seed": seed, "batch_size": settings["batch_size"], "masks": masks}
    draw = partial(draw, **settings)
    return rerank(draw, prompts, ranking.clip, rerank_from=ranking.rerank_from, **own)


def around_hole(mask):
    """Where to look for what was drawn anew.

    Args:
        mask: bool [side, side], True = keep, of which some pixel is False.

    Returns:
        Slices of rows and columns: the square around the hole, with MARGIN, shifted into the
        picture; all of the picture where the square is not smaller.
    """
    side = len(mask)
    found = [np.flatnonzero(~mask.all(axis=axis)) for axis in (1, 0)]
    ends = [(int(lines[0]), int(lines[-1]) + 1) for lines in found]
    longer = max(stop - start for start, stop in ends)
    square = min(side, math.ceil((1 + 2 * MARGIN) * longer))
    starts = [min(max((start + stop - square) // 2, 0), side - square) for start, stop in ends]
    return tuple(slice(start, start + square) for start in starts)


def _looked_at(images, masks):
    """The part of each picture that is judged."""
    if masks is None:
        return images
    squares = [around_hole(mask) for mask in masks]
    each = len(images) // len(masks)
    return [image[squares[i // each]] for i, image in enumerate(images)]
