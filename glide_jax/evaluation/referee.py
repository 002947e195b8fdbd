"""The referee refereed: how often caption accuracy is right, where the truth is known."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from glide_jax.data import shapes
from glide_jax.data.captions import RELATIONS, SIZE_WORDS, pick
from glide_jax.data.scenes import COLOURS, SHAPES, render
from glide_jax.evaluation.caption_accuracy import Claims, judge
from glide_jax.evaluation.scene_reader import read_scene
from glide_jax.evaluation.scores import in_words, share

CHANGES = ("colour", "shape", "size", "count", "relation")
SPOILED = ("blank", "noise", "half-faded", "blended", "one object faded")
_MIRRORED = {"left": "right", "right": "left", "above": "below", "below": "above"}
assert set(_MIRRORED) == set(RELATIONS)


@dataclass(frozen=True)
class Check:
    """Measures the referee on real pictures, on changed captions and on spoiled pictures."""

    number: int = 5000
    """Real pictures, half of them of each of the splits test and compositional."""
    size: int = 32
    """Of the pictures, in pixels."""
    seed: int = 20211221
    """Of the pictures and the changes."""

    def __post_init__(self):
        if self.number < 1:
            raise ValueError(f"--number is {self.number}; it must be 1 or more")


def check(settings: Check):
    """Prints a table of how often the referee is right, and returns its shares by name."""
    rights = {}
    for index in tqdm(range(settings.number), desc="pictures", unit="picture"):
        for name, is_right in _check_one(settings, index):
            rights.setdefault(name, []).append(is_right)
    shares = {name: share(sum(each), len(each)) for name, each in rights.items()}
    print("| what | is right | of |\n|---|---|---|")
    for name, each in shares.items():
        print(f"| {name} | {in_words(each)} | {each['n']} |")
    return shares


def _check_one(settings, index):
    """(what was tried, whether the referee was right) of one real picture and its changes."""
    split = ("test", "compositional")[index % 2]
    real = shapes.example(index, settings.seed, split, settings.size)
    rng = np.random.default_rng((settings.seed, index))
    reading, claims = read_scene(real.image), Claims(real.scene.claims, real.scene.relation)
    yield "real pictures accepted", not judge(reading, claims)
    for kind in CHANGES:
        changed = change(claims, kind, rng)
        if changed is not None:
            yield f"another {kind} rejected", bool(judge(reading, changed))
    spoiled = spoil(real, SPOILED[index % len(SPOILED)], rng)
    yield f"{SPOILED[index % len(SPOILED)]} rejected", bool(judge(read_scene(spoiled), claims))


def change(claims: Claims, kind: str, rng: np.random.Generator) -> Claims | None:
    """Claims that differ in one attribute of one phrase, or in a mirrored relation.

    None where there is nothing of this kind to change.
    """
    if kind == "relation":
        mirrored = _MIRRORED.get(claims.relation)
        return mirrored and claims._replace(relation=mirrored)
    among = [i for i, phrase in enumerate(claims.phrases) if getattr(phrase, kind) is not None]
    if not among:
        return None
    chosen = pick(rng, among)
    before = claims.phrases[chosen]
    values = {"colour": COLOURS, "shape": SHAPES, "size": SIZE_WORDS, "count": (1, 2, 3)}[kind]
    other = pick(rng, [value for value in values if value != getattr(before, kind)])
    phrases = list(claims.phrases)
    phrases[chosen] = before._replace(**{kind: other})
    return claims._replace(phrases=tuple(phrases))


def spoil(real: shapes.Example, how: str, rng: np.random.Generator) -> np.ndarray:
    """A picture that shows its caption no more, uint8 like the real one; `how` is of SPOILED."""
    size = len(real.image)
    blank = render(real.scene._replace(objects=()), size)
    if how == "blank":
        return blank
    if how == "noise":
        return rng.integers(0, 256, real.image.shape).astype(np.uint8)
    if how == "half-faded":
        return _mixed(real.image, blank)
    if how == "blended":
        return _mixed(real.image, shapes.example(int(rng.integers(2**31)), size=size).image)
    objects = list(real.scene.objects)
    del objects[int(rng.integers(len(objects)))]
    return _mixed(real.image, render(real.scene._replace(objects=tuple(objects)), size))


def _mixed(one, other):
    return np.rint((one.astype(float) + other) / 2).astype(np.uint8)
