"""What a caption of Shapes claims, token by token: what a `config.Tagger` learns to tell."""

import re
from typing import NamedTuple

import numpy as np

from glide_jax.data.captions import NUMBERS, RELATIONS, SIZE_WORDS, plural
from glide_jax.data.scenes import COLOURS, SHAPES, Scene

UNSAID = -1  # of tokens that name no object
_OTHER_SIDE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_COLOURS, _SIZES = tuple(COLOURS), (None, *SIZE_WORDS)
_SIDES = (None, *RELATIONS)  # of the other object, on which this one is


class Span(NamedTuple):
    """Where a caption names an object or several alike, and what it claims of them.

    Attributes:
        start: of the first character.
        stop: one after the last.
        tags: numbers of the colour, the shape, the size (0 unsaid), the count (0 is one) and the
            side of the other object on which they are (0 unsaid).
    """

    start: int
    stop: int
    tags: tuple[int, int, int, int, int]


def spans(scene: Scene, caption: str) -> list[Span]:
    """The Span of each of a scene's claims in its own caption."""
    others = {None: None} | _OTHER_SIDE
    sides = (scene.relation, others[scene.relation], None)
    found = []
    for phrase, side in zip(scene.claims, sides, strict=False):
        noun = phrase.shape if phrase.count == 1 else plural(phrase.shape)
        # No two claims of a scene share colour and shape.
        start, stop = re.search(_PHRASE.format(phrase.colour, noun), caption).span()
        tags = (
            _COLOURS.index(phrase.colour),
            SHAPES.index(phrase.shape),
            _SIZES.index(phrase.size),
            phrase.count - 1,
            _SIDES.index(side),
        )
        found.append(Span(start, stop, tags))
    return found


_FIRST = "|".join(("a", "an", "one", *NUMBERS.values()))
_SIZE = "|".join(word for words in SIZE_WORDS.values() for word in words)
_PHRASE = rf"\b(?:{_FIRST}) (?:(?:{_SIZE}) )?{{}} {{}}\b"


def token_tags(scene_spans, offsets, context):
    """The tags of a caption's tokens.

    Args:
        scene_spans: from `spans`.
        offsets: (start, stop) of each token, in characters of the caption.
        context: rows of the result; tokens beyond are cut.

    Returns:
        int32 [context, 5]; UNSAID where a token is no part of a span.
    """
    tags = np.full((context, 5), UNSAID, np.int32)
    for row, (start, stop) in enumerate(offsets[:context]):
        for span in scene_spans:
            if start < span.stop and stop > span.start:
                tags[row] = span.tags
    return tags


class Tagged(NamedTuple):
    """A tokenizer in whose place batches carry tags beside the tokens."""

    tokenizer: object

    def beside(self, source, captions, indices, warn):
        """`tokens`, `mask` and `tags` [N, context, 5] of captions, by their indices in Shapes.

        `warn` is whether to say how many were cut.
        """
        tokens, mask = self.tokenizer.encode(captions, warn)
        offsets = self.tokenizer.offsets(captions)
        rows = [
            token_tags(source.spans(index), own, tokens.shape[1])
            for index, own in zip(indices, offsets, strict=True)
        ]
        return {"tokens": tokens, "mask": mask, "tags": np.stack(rows)}
