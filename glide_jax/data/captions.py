"""The caption grammar of the shapes data set: from what is claimed to one of many wordings."""

from typing import NamedTuple

import numpy as np


class Phrase(NamedTuple):
    """What a caption says of one object, or of `count` alike: `size` is None where it is unsaid."""

    shape: str
    colour: str
    size: str | None
    count: int


SIZE_WORDS = {"small": ("small", "little"), "big": ("big", "large")}

NUMBERS = {2: "two", 3: "three"}

# Bare twice as often as each of the others: most people would write just that.
WRAPPERS = ("{}", "{}", "a picture of {}", "an image of {}", "a drawing of {}", "an image with {}")

LISTS = {
    1: ("{0}",),
    2: ("{0} and {1}", "{0} with {1}", "{0} together with {1}"),
    3: ("{0}, {1} and {2}", "{0}, {1}, {2}", "{0} and {1} and {2}", "{0} with {1} and {2}"),
}

_SIDEWAYS = (
    "{a} to the {side} of {b}",
    "{a} {side} of {b}",
    "{b} with {a} on its {side}",
    "{a} on the {side} and {b} on the {other}",
    "on the {side} there is {a} and on the {other} {b}",
    "to the {side} of {b} there is {a}",
)


def _sideways(side, other):
    return tuple(t.replace("{side}", side).replace("{other}", other) for t in _SIDEWAYS)


# {a} is the object on the named side of {b}, in whichever order they are mentioned.
RELATIONS = {
    "left": _sideways("left", "right"),
    "right": _sideways("right", "left"),
    "above": (
        "{a} above {b}",
        "{a} over {b}",
        "{b} with {a} above it",
        "{a} at the top and {b} at the bottom",
        "at the top there is {a} and at the bottom {b}",
        "above {b} there is {a}",
    ),
    "below": (
        "{a} below {b}",
        "{a} under {b}",
        "{b} with {a} below it",
        "{a} at the bottom and {b} at the top",
        "at the bottom there is {a} and at the top {b}",
        "below {b} there is {a}",
    ),
}


def pick(rng: np.random.Generator, items):
    """One of `items`, each as likely; many times faster than `rng.choice`."""
    return items[int(rng.random() * len(items))]


def plural(noun):
    """The plural of a shape."""
    return noun + ("es" if noun.endswith("s") else "s")


def _article(word):
    return "an" if word[0] in "aeiou" else "a"


def noun_phrase(phrase: Phrase, rng: np.random.Generator) -> str:
    """One wording of a phrase: "a big red circle", "one orange star", "two little crosses"."""
    words = [phrase.colour, phrase.shape if phrase.count == 1 else plural(phrase.shape)]
    if phrase.size is not None:
        words.insert(0, pick(rng, SIZE_WORDS[phrase.size]))
    if phrase.count > 1:
        first = NUMBERS[phrase.count]
    else:
        first = "one" if rng.random() < 0.2 else _article(words[0])
    return " ".join([first, *words])


def caption(claims: tuple[Phrase, ...], relation: str | None, rng: np.random.Generator) -> str:
    """One wording of a scene, in lower case and without a full stop.

    Args:
        claims: one to three phrases.
        relation: None, or a key of RELATIONS: the side of claims[1] on which claims[0] is.
        rng: chooses among the paraphrases.

    Returns:
        The caption.
    """
    nouns = [noun_phrase(phrase, rng) for phrase in claims]
    if relation is not None:
        a, b = nouns
        return pick(rng, RELATIONS[relation]).format(a=a, b=b)
    return pick(rng, WRAPPERS).format(pick(rng, LISTS[len(nouns)]).format(*nouns))
