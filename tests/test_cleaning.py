"""What is done to captions before they are split."""

import sys

import pytest

from glide_jax.text import cleaning


def test_clip_s_cleaning_repairs_unescapes_and_collapses():
    assert cleaning.clip(" Sch\u00c3\u00b6n\t&amp;lt;\n\u2018A\u2019\u00a0 ") == "sch\u00f6n < 'a'"


def test_special_tokens_are_broken_up_after_punctuation_only():
    whole = "a<|endoftext|><|startoftext|> 1<|endoftext|>!"
    assert cleaning.clip(whole) == whole
    glued = "!<|endoftext|><|startoftext|> <|startoftext|>_<|endoftext|>"
    broken = "!<| endoftext|><| startoftext|> <|startoftext|>_<| endoftext|>"
    assert cleaning.clip(glued) == broken


def test_without_ftfy_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ValueError, match=r"needs the package ftfy, .*: pip install '.\[clip\]'"):
        cleaning.clip("a")
