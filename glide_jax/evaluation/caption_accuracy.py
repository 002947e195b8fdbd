"""Whether a picture of Shapes is what its caption says, and if not, what is wrong.

    python -m glide_jax.evaluation.caption_accuracy check

measures the referee itself: on real pictures, on captions changed in one attribute, on pictures
that are none.
"""

from itertools import permutations
from typing import NamedTuple

from glide_jax import cli
from glide_jax.data.captions import Phrase
from glide_jax.evaluation.scene_reader import Found, Reading, read_scene

# In the order in which they are looked for.
KINDS = ("unreadable", "count", "colour", "shape", "size", "relation")
# A stated relation holds where the centres are this far apart along its axis, in picture widths,
# and not further apart across it. Real pictures keep 0.25 and 0.6 of that.
ALONG = 0.15
_TOWARDS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}


class Claims(NamedTuple):
    """What a caption says: `phrases`, and the side of the second on which the first is, if any."""

    phrases: tuple[Phrase, ...]
    relation: str | None


def failures(image, claims: Claims) -> tuple[str, ...]:
    """What a picture, uint8 [S, S, 3], has wrong, of KINDS; nothing where the caption holds."""
    return judge(read_scene(image), claims)


def judge(reading: Reading, claims: Claims) -> tuple[str, ...]:
    """See `failures`; of a picture that has been read."""
    if not reading.is_clean or not reading.objects:
        return ("unreadable",)
    said = [phrase for phrase in claims.phrases for _ in range(phrase.count)]
    if len(said) != len(reading.objects):
        return ("count",)
    orders = [(_mismatches(order, said), order) for order in permutations(reading.objects)]
    wrong, order = min(orders, key=lambda pair: len(pair[0]))
    if wrong and _is_miscounted(reading.objects, claims.phrases):
        return ("count",)
    if claims.relation and not wrong and not _is_related(order, claims.relation):
        wrong = ["relation"]
    return tuple(kind for kind in KINDS if kind in wrong)


def _mismatches(objects, said):
    """The attributes in which objects differ from the phrases beside them, one entry for each."""
    pairs = list(zip(objects, said, strict=True))
    return [
        kind
        for kind in ("colour", "shape", "size")
        for found, phrase in pairs
        if getattr(phrase, kind) is not None and getattr(found, kind) != getattr(phrase, kind)
    ]


def _is_miscounted(objects, phrases):
    """Whether each object is one of those said, only not as often."""
    return all(any(not _mismatches([found], [p]) for p in phrases) for found in objects)


def _is_related(objects: tuple[Found, ...], relation):
    """Whether the first object is on that side of the second."""
    first, second = objects
    x, y = first.x - second.x, first.y - second.y
    towards_x, towards_y = _TOWARDS[relation]
    along, across = towards_x * x + towards_y * y, abs(towards_y * x + towards_x * y)
    return along >= max(ALONG, across)


def main(arguments):
    """The module's command."""
    from glide_jax.evaluation.referee import Check, check

    if arguments[:1] != ["check"]:
        raise ValueError(f"{' '.join(arguments) or 'nothing'} is no command; there is: check")
    check(cli.parse(Check, arguments[1:], "caption_accuracy check", Check.__doc__))


if __name__ == "__main__":
    cli.entry_point(main, "caption_accuracy")
