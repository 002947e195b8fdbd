"""A model before the referee: pictures for pinned captions of Shapes, and how many of them hold."""

import time
from collections import Counter
from typing import NamedTuple

import numpy as np

from glide_jax.data import shapes
from glide_jax.evaluation.caption_accuracy import KINDS, Claims, failures
from glide_jax.evaluation.results import in_chunks
from glide_jax.evaluation.scores import share

# Of the captions that decide; no training, and no choice of a setting, has seen them.
PINNED_SEED = 20211220
# Of those that settings are tuned on.
TUNING_SEED = 20211219
SEEDS = {"pinned": PINNED_SEED, "tuning": TUNING_SEED}
NUMBER = 1024


class Item(NamedTuple):
    """A caption, what it claims, its tier (1 to 3), and the seed of its picture.

    Other captions than those of Shapes have no claims, and so nothing that fails.
    """

    caption: str
    claims: Claims | None
    tier: int
    seed: int


def items(split: str, number: int = NUMBER, seed: int = PINNED_SEED) -> list[Item]:
    """The first captions of a split, a third of each tier (the first one has what is left over)."""
    rooms = {tier: number // 3 + (tier <= number % 3) for tier in (1, 2, 3)}
    found, index = [], 0
    while len(found) < number:
        scene, caption = shapes.describe(index, seed, split)
        if rooms[scene.tier]:
            rooms[scene.tier] -= 1
            claims = Claims(scene.claims, scene.relation)
            found.append(Item(caption, claims, scene.tier, index))
        index += 1
    return found


class Verdict(NamedTuple):
    """What is wrong with an item's picture (of KINDS), and the seconds that a picture took."""

    failures: tuple[str, ...]
    seconds: float


def try_model(draw, tried: list[Item], kept, shuffle=False, on_pictures=None) -> list[Verdict]:
    """A picture for each item, and the referee's verdict on it.

    Args:
        draw: (prompts, seed=seeds) -> uint8 [N, H, W, 3], a picture for each prompt and its seed.
        tried: the captions.
        kept: a path. The verdicts are kept there, and a run that was broken off goes on from them.
        shuffle: draws each picture from the caption after its own.
        on_pictures: called with (items, pictures uint8, verdicts) of each chunk that is drawn now.

    Returns:
        A Verdict for each item, in their order.
    """
    captions = [item.caption for item in tried]
    drawn_from = captions[1:] + captions[:1] if shuffle else captions

    def draw_and_judge(pairs):
        chunk, prompts = (list(each) for each in zip(*pairs, strict=True))
        since = time.perf_counter()
        pictures = draw(prompts, seed=[item.seed for item in chunk])
        seconds = (time.perf_counter() - since) / len(pictures)
        verdicts = [
            Verdict(failures(picture, item.claims) if item.claims else (), seconds)
            for picture, item in zip(pictures, chunk, strict=True)
        ]
        if on_pictures:
            on_pictures(chunk, pictures, verdicts)
        return verdicts

    return in_chunks(list(zip(tried, drawn_from, strict=True)), draw_and_judge, Verdict, kept)


def summary(tried: list[Item], verdicts: list[Verdict]) -> dict:
    """The shares of captions that hold, in all and by tier, and how many fail by each kind.

    A picture that fails by several kinds counts for each. `seconds_per_image` is the median over
    the chunks, so that compiling does not count.
    """
    holds = np.array([not verdict.failures for verdict in verdicts])
    tiers = np.array([item.tier for item in tried])
    kinds = Counter(kind for verdict in verdicts for kind in verdict.failures)
    return {
        "caption_accuracy": share(int(holds.sum()), len(holds)),
        "by_tier": {
            str(tier): share(int(holds[tiers == tier].sum()), int((tiers == tier).sum()))
            for tier in np.unique(tiers)
        },
        "failures": {kind: kinds[kind] for kind in KINDS},
        "seconds_per_image": round(float(np.median([v.seconds for v in verdicts])), 4),
    }
