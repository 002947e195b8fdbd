"""Captions to tokens: padding, cutting, cleaning."""

import dataclasses

import numpy as np
import pytest

from glide_jax.config import TextEncoder
from glide_jax.text import tokenizer as text
from tests import tiny

CAPTION = "a red circle to the left of a blue square"


def test_rows_are_padded_and_masked(tokenizer):
    tokens, mask = tokenizer.encode([CAPTION, ""])
    length = mask[0].sum()
    assert tokens.shape == mask.shape == (2, tiny.MODEL.text.context)
    assert tokens.dtype == np.int32 and mask.dtype == bool
    np.testing.assert_array_equal(mask[0], np.arange(len(mask[0])) < length)
    assert not mask[1].any()
    assert (tokens[~mask] == tiny.MODEL.text.vocab_size - 1).all()
    assert tokenizer.encoding.decode(tokens[0, :length].tolist()) == CAPTION


def test_any_text_can_be_spelled(tokenizer):
    words = "naïve 猫 🎨"
    tokens, mask = tokenizer.encode([words])
    assert tokenizer.encoding.decode(tokens[0, mask[0]].tolist()) == words


def test_captions_past_the_context_are_cut_with_a_counted_warning(tokenizer):
    long = " ".join(["red"] * 60)
    with pytest.warns(UserWarning, match="2 of 3 captions were cut to the model's 24 tokens"):
        tokens, mask = tokenizer.encode([long, CAPTION, long])
    assert mask[0].all() and not mask[1].all()
    longer = dataclasses.replace(tiny.MODEL.text, context=200)
    whole, _ = text.from_json(tokenizer.to_json(), longer).encode([long])
    np.testing.assert_array_equal(tokens[0], whole[0, :24])


def test_cleaning_is_the_config_s(tokenizer):
    shouted, _ = tokenizer.encode([CAPTION.upper()])
    np.testing.assert_array_equal(shouted, tokenizer.encode([CAPTION])[0])
    kept = dataclasses.replace(tiny.MODEL.text, cleaning="none", context=64)
    as_it_is = text.from_json(tokenizer.to_json(), kept)
    assert (as_it_is.encode(["RED"])[0] != as_it_is.encode(["red"])[0]).any()


def test_training_is_repeatable_and_survives_json(tokenizer):
    assert tiny.tokenizer().to_json() == tokenizer.to_json()
    again = text.from_json(tokenizer.to_json(), tiny.MODEL.text)
    np.testing.assert_array_equal(again.encode([CAPTION])[0], tokenizer.encode([CAPTION])[0])


def test_frequent_words_become_one_token(tokenizer):
    assert len(tokenizer.encoding.encode(" circle").ids) == 1


def test_vocabularies_without_room_are_refused(tokenizer):
    with pytest.raises(ValueError, match="vocab_size is 100; to train a tokenizer it must be 258"):
        text.train([CAPTION], TextEncoder(vocab_size=100))
    with pytest.raises(ValueError, match="with vocab_size 300 the model has room for 299"):
        text.from_json(tokenizer.to_json(), TextEncoder(vocab_size=300))
