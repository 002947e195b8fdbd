"""What people's choices between generators come to: pairs that are blind, win rates and Elo."""

from typing import NamedTuple

import numpy as np

from glide_jax.evaluation.metrics.intervals import LEVEL, NUMBER
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
    ratings, intervals = elo(_wins(games, len(names))), _intervals(games, len(names))
    found = {}
    for number, name in enumerate(names):
        played = int((games == number).any(axis=1).sum())
        if played:
            low, high = intervals[:, number].round(1).tolist()
            value = round(float(ratings[number]), 1)
            rate = share(int((games[:, 0] == number).sum()), played)
            rating = {"value": value, "interval": [low, high], "n": played}
            found[name] = {"win_rate": rate, "elo": rating}
    return found


def _outcome(names, choice, question):
    """(winner, loser) as numbers."""
    won = choice[question]
    lost = choice["left"] if won == choice["right"] else choice["right"]
    return names.index(won), names.index(lost)


def _wins(games, among):
    """How often each generator won against each, [..., among, among], of games [..., N, 2]."""
    pairs = games[..., 0] * among + games[..., 1]
    counts = (pairs[..., None] == np.arange(among * among)).sum(axis=-2)
    return counts.reshape(*counts.shape[:-1], among, among)


def _intervals(games, among):
    """The 95 % intervals of the ratings, [2, among]: as `intervals.bootstrap`, but all at once."""
    rows = np.random.default_rng(0).integers(len(games), size=(NUMBER, len(games)))
    values = elo(_wins(games[rows], among))
    shift = elo(_wins(games, among)) - values.mean(axis=0)
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) + shift


def elo(wins):
    """Ratings [..., among], their mean 0: 400 points are odds of ten to one.

    Each two generators are given one drawn duel beside their own, so that ratings stay finite.

    Args:
        wins: [..., among, among], how often the row's generator won against the column's.

    Source: Bradley and Terry 1952; the fit is Zermelo's of 1929.
    """
    among = wins.shape[-1]
    wins = wins + 0.5 * (1 - np.eye(among))
    played, strength = wins + wins.swapaxes(-1, -2), np.ones(wins.shape[:-1])
    for _ in range(ROUNDS):
        odds = played / (strength[..., :, None] + strength[..., None, :])
        strength = wins.sum(axis=-1) / odds.sum(axis=-1)
        strength /= np.exp(np.log(strength).mean(axis=-1, keepdims=True))
    return 400 * np.log10(strength)
