"""Captions to padded rows of tokens, with a byte-pair encoding that can be trained on the spot."""

import warnings

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from glide_jax import config
from glide_jax.text.cleaning import CLEANERS


class Tokenizer:
    """A byte-pair encoding with the cleaning and the context of the model that it belongs to.

    GLIDE's rows are a caption's tokens, then padding: the last row of the model's table. CLIP's,
    of an encoding that puts a start and an end token around each caption, are filled up with 0.

    Args:
        encoding: the `tokenizers.Tokenizer` that splits a cleaned caption.
        text: the text encoder's config: context, vocab_size, cleaning.

    Raises:
        ValueError: the encoding has more tokens than the model's table has rows beside padding.
    """

    def __init__(self, encoding: tokenizers.Tokenizer, text: config.TextEncoder):
        self.encoding, self.text = encoding, text
        self.has_end = encoding.num_special_tokens_to_add(is_pair=False) > 0
        self.padding = 0 if self.has_end else text.vocab_size - 1
        room = text.vocab_size if self.has_end else self.padding
        if encoding.get_vocab_size() > room:
            raise ValueError(
                f"the tokenizer has {encoding.get_vocab_size()} tokens; with vocab_size "
                f"{text.vocab_size} the model has room for {room} beside padding"
            )

    def encode(self, captions, warn=True):
        """Captions to rows, padded, and cut at the context; an end token stays the last.

        Args:
            captions: N strings; "" is the empty caption: in GLIDE all padding, in CLIP start, end.
            warn: whether to say how many captions were cut.

        Returns:
            tokens int32 [N, context] and mask bool [N, context], true where there is caption.

        Raises:
            ValueError: a caption is not text.
        """
        rows = [encoded.ids for encoded in self._encoded(captions)]
        context = self.text.context
        cut = sum(len(row) > context for row in rows)
        if cut and warn:
            warnings.warn(
                f"{cut} of {len(rows)} captions were cut to the model's {context} tokens",
                stacklevel=2,
            )
        lengths = np.array([min(len(row), context) for row in rows], np.int32).reshape(-1, 1)
        tokens = np.full((len(rows), context), self.padding, np.int32)
        for tokens_row, row in zip(tokens, rows, strict=True):
            tokens_row[: len(row)] = row[:context]
            if self.has_end and len(row) > context:
                tokens_row[-1] = row[-1]
        return tokens, np.arange(context)[None] < lengths

    def offsets(self, captions):
        """(start, stop) of each token of each caption, in characters of the cleaned caption."""
        return [each.offsets for each in self._encoded(captions)]

    def _encoded(self, captions):
        for caption in captions:
            try:
                caption.encode()
            except UnicodeEncodeError:  # of bytes on the command line that are no UTF-8
                raise ValueError(f"the caption {caption!r} is not text in UTF-8") from None
        clean = CLEANERS[self.text.cleaning]
        return self.encoding.encode_batch([clean(caption) for caption in captions])

    def to_json(self):
        """What `tokenizer.json` holds."""
        return self.encoding.to_str(pretty=True)


class NoTokenizer:
    """In the place of a tokenizer that a model does not have: it knows the empty caption only.

    Args:
        text: the text encoder's config.
    """

    def __init__(self, text: config.TextEncoder):
        self.text = text

    def encode(self, captions, warn=True):
        """Rows of padding, as `Tokenizer.encode` gives them; a ValueError names another caption."""
        for caption in filter(None, captions):
            raise ValueError(
                f"the model has no tokenizer, and so no tokens for {caption!r}, only for the empty "
                "caption: put the tokenizer.json that it was trained with into its folder"
            )
        shape = len(captions), self.text.context
        return np.full(shape, self.text.vocab_size - 1, np.int32), np.zeros(shape, bool)

    def to_json(self):
        """Nothing: a folder of such a model holds no `tokenizer.json`."""
        return ""


def from_json(json, text: config.TextEncoder):
    """The tokenizer that `to_json` wrote, for a model with this text encoder."""
    try:
        encoding = tokenizers.Tokenizer.from_str(json)
    except Exception as error:  # the library raises no narrower one
        raise ValueError(f"its tokenizer cannot be read: {error}") from error
    return Tokenizer(encoding, text)


def train(captions, text: config.TextEncoder):
    """A byte-level BPE learned from captions, of text.vocab_size - 1 tokens at most.

    The same captions give the same tokenizer. Raises a ValueError for a vocabulary with no room for
    the 256 bytes, from which every text can be spelled.
    """
    if text.vocab_size < 258:
        raise ValueError(
            f"TextEncoder.vocab_size is {text.vocab_size}; to train a tokenizer it must be 258 or "
            "more: 256 bytes, one merge and padding"
        )
    encoding = tokenizers.Tokenizer(models.BPE())
    encoding.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=text.vocab_size - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    encoding.train_from_iterator(map(CLEANERS[text.cleaning], captions), trainer)
    return Tokenizer(encoding, text)
