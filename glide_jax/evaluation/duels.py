"""What people's choices between generators come to: pairs that are blind, win rates and Elo."""

from typing import NamedTuple

import numpy as np

from glide_jax.evaluation.metrics.intervals import bootstrap
from glide_jax.evaluation.scores import share

QUESTIONS = {"more_realistic": "Which is more realistic?", "better_match": "Which fits the words?"}
ROUNDS = 200  # of the fit of strengths


class Pair(NamedTuple):
    """A caption and two pictures of it, each as (generator, index of the picture)."""

    caption: str
    left: tuple[int, int]
    right: tuple[int, int]


def make_pairs(captions, number, seed) -> list[Pair]:
    """Pairs of pictures of the same caption by two generators, sides and order shuffled.

    Args:
        captions: for each generator the captions of its pictures, in their order.
        number: of pairs; fewer where there are fewer captions that all have.
        seed: of the choice of captions, of the two generators of each, and of their sides.

    Raises:
        ValueError: the generators have no caption in common.
    """
    places = [{caption: index for index, caption in enumerate(own)} for own in captions]
    common = sorted(set.intersection(*map(set, places)))
    if not common:
        raise ValueError("the sets of pictures have no caption in common; draw both from the same")
    rng = np.random.default_rng(seed)
    pairs = []
    for index in rng.permutation(len(common))[:number]:
        caption = common[index]
        left, right = rng.choice(len(captions), 2, replace=False)
        sides = ((int(side), places[side][caption]) for side in (left, right))
        pairs.append(Pair(caption, *sides))
    return pairs


def summary(names, decided):
    """Win rates and Elo of each generator by each question.

    Args:
        names: of the generators.
        decided: dictionaries with "left" and "right", and the chosen one by question: all names.

    Returns:
        By question and name {"win_rate", "elo"}, each with value, 95 % interval and n; the rate has
        Wilson's interval, Elo a bootstrap's. A generator that was in no duel is left out.
    """
    return {question: _of(names, decided, question) for question in QUESTIONS}


def _of(names, decided, question):
    games = np.array([_outcome(names, choice, question) for choice in decided])
    found = {}
    for number, name in enumerate(names):
        played = int((games == number).any(axis=1).sum())
        if played:
            rate = share(int((games[:, 0] == number).sum()), played)
            found[name] = {"win_rate": rate, "elo": _rating(games, number, len(names), played)}
    return found


def _outcome(names, choice, question):
    """(winner, loser) as numbers."""
    won = choice[question]
    lost = choice["left"] if won == choice["right"] else choice["right"]
    return names.index(won), names.index(lost)


def _rating(games, number, among, played):
    """The Elo of one generator as results.json has it; of a single duel without an interval."""
    value = {"value": round(float(elo(games, among)[number]), 1), "n": played}
    if len(games) < 2:
        return value | {"interval": None}
    low, high = bootstrap(lambda rows: elo(rows, among)[number], games)
    return value | {"interval": [round(low, 1), round(high, 1)]}


def elo(games, among):
    """Ratings [among], their mean 0: 400 points are odds of ten to one (Bradley and Terry 1952).

    Each two generators are given one drawn duel beside their own, so that ratings stay finite.

    Args:
        games: int [N, 2], winner and loser of each.
        among: how many generators there are.
    """
    wins = np.full((among, among), 0.5) - 0.5 * np.eye(among)
    np.add.at(wins, tuple(games.T), 1)
    played, strength = wins + wins.T, np.ones(among)
    for _ in range(ROUNDS):
        strength = wins.sum(axis=1) / (played / (strength[:, None] + strength)).sum(axis=1)
        strength /= np.exp(np.log(strength).mean())
    return 400 * np.log10(strength)
