"""The published tokenizers: against the published code's figures, and against plain Python."""

import gzip
import json
import random
import time

import numpy as np
import pytest

from glide_jax import model_folder
from glide_jax.config import Diffusion, TextEncoder
from glide_jax.released import vocabulary
from glide_jax.text import published
from glide_jax.text import tokenizer as text
from tests import parity, plain_bpe

GLIDE_TEXT = TextEncoder()
CLIP_TEXT = TextEncoder(context=77, vocab_size=65_536, cleaning="clip")
TEXTS = {"gpt2": GLIDE_TEXT, "clip": CLIP_TEXT}
FIGURES = json.loads((parity.ROOT / "tests" / "fixtures" / "tokens.json").read_text())
CAPTIONS = [figure["text"] for figure in FIGURES]
VOCAB = parity.FOLDER / "vocab"
needs_vocab = pytest.mark.skipif(
    not VOCAB.exists(), reason=f"the published vocabularies are not in {VOCAB}"
)
MERGES = 300


@pytest.fixture(scope="module")
def gpt2():
    """GPT-2's way with merges drawn at random, and those merges."""
    merges = plain_bpe.merges(random.Random(0), MERGES)
    config = TextEncoder(context=16, vocab_size=256 + MERGES + 1)
    return text.Tokenizer(published.gpt2_encoding(merges), config), merges


@pytest.fixture(scope="module")
def clip():
    """CLIP's way with merges drawn at random, and those merges."""
    merges = plain_bpe.merges(random.Random(1), MERGES, "</w>")
    config = TextEncoder(context=16, vocab_size=2 * 256 + MERGES + 2, cleaning="clip")
    return text.Tokenizer(published.clip_encoding(merges), config), merges


@pytest.fixture(scope="module")
def released():
    """The published tokenizers by name."""
    return {name: vocabulary.tokenizer_for(config, VOCAB) for name, config in TEXTS.items()}


def drawn(number, seed=0):
    """Captions that are not like any; the first is empty."""
    rng = random.Random(seed)
    return ["", *(plain_bpe.caption(rng, rng.randrange(1, 24)) for _ in range(number - 1))]


def test_gpt2_s_rows_are_those_of_plain_python(gpt2):
    tokenizer, merges = gpt2
    captions = drawn(1000)
    tokens, mask = tokenizer.encode(captions, warn=False)
    plain = [plain_bpe.gpt2(caption, merges) for caption in captions]
    padding = [256 + MERGES] * 16
    assert tokens.tolist() == [(row + padding)[:16] for row in plain]
    assert mask.sum(axis=1).tolist() == [min(len(row), 16) for row in plain]
    assert sum(token >= 256 for row in plain for token in row) > 1000
    assert tokenizer.encoding.decode_batch(plain) == [caption.lower() for caption in captions]


def test_clip_s_rows_are_those_of_plain_python(clip):
    tokenizer, merges = clip
    captions = drawn(1000)
    tokens, mask = tokenizer.encode(captions, warn=False)
    start, end = 512 + MERGES, 512 + MERGES + 1
    plain = [[start, *plain_bpe.clip(caption, merges)[:14], end] for caption in captions]
    assert tokens.tolist() == [(row + [0] * 14)[:16] for row in plain]
    assert mask.sum(axis=1).tolist() == [len(row) for row in plain]
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()
    assert sum(row[1:-1].count(end) for row in plain) > 50
    assert sum(512 <= token < start for row in plain for token in row) > 1000


def test_a_cut_caption_of_clip_s_is_counted_and_keeps_its_end(clip):
    tokenizer, _ = clip
    with pytest.warns(UserWarning, match="1 of 3 captions were cut to the model's 16 tokens"):
        tokens, mask = tokenizer.encode(["1" * 14, "1" * 15, ""])
    end = 512 + MERGES + 1
    np.testing.assert_array_equal(tokens[0], tokens[1])
    assert tokens[:, -1].tolist() == [end, end, 0]
    assert tokens[2, :3].tolist() == [end - 1, end, 0]
    assert mask.sum(axis=1).tolist() == [16, 16, 2]


@pytest.mark.parametrize("name", TEXTS)
def test_a_model_folder_needs_no_vocabulary(name, request, tmp_path):
    tokenizer, _ = request.getfixturevalue(name)
    model_folder.save_description(tmp_path, Diffusion(text=tokenizer.text), tokenizer)
    _, again = model_folder.load_description(tmp_path)
    captions = drawn(200, seed=1)
    for left, right in zip(*(t.encode(captions, False) for t in (tokenizer, again)), strict=True):
        np.testing.assert_array_equal(left, right)
    assert again.to_json() == tokenizer.to_json()


def test_a_table_may_be_larger_than_clip_s_vocabulary_but_not_smaller(clip):
    tokenizer, _ = clip
    size = tokenizer.encoding.get_vocab_size()
    assert size == 512 + MERGES + 2
    with pytest.raises(ValueError, match=f"has {size} tokens; .* room for {size - 1} beside"):
        text.Tokenizer(tokenizer.encoding, TextEncoder(vocab_size=size - 1, cleaning="clip"))


@needs_vocab
@pytest.mark.parametrize("name", TEXTS)
def test_published_tokens(released, name):
    tokens, mask = released[name].encode(CAPTIONS, warn=False)
    assert tokens.tolist() == [figure[f"{name}_padded"] for figure in FIGURES]
    lengths = [figure[f"{name}_length"] for figure in FIGURES]
    np.testing.assert_array_equal(mask, np.arange(mask.shape[1]) < np.array(lengths)[:, None])


@needs_vocab
@pytest.mark.parametrize("name", TEXTS)
def test_published_tokens_of_whole_captions(released, name):
    context = max(len(figure[name]) for figure in FIGURES) + 2
    longer = TextEncoder(context=context, cleaning=TEXTS[name].cleaning, vocab_size=70_000)
    tokens, mask = text.Tokenizer(released[name].encoding, longer).encode(CAPTIONS)
    rows = [row[seen].tolist() for row, seen in zip(tokens, mask, strict=True)]
    ends = 1 if name == "clip" else 0
    assert [row[ends : len(row) - ends] for row in rows] == [figure[name] for figure in FIGURES]


@needs_vocab
def test_gpt2_s_tokens_have_their_published_numbers(released):
    with gzip.open(VOCAB / "encoder.json.gz") as file:
        numbers = json.load(file)
    assert numbers.pop("<|endoftext|>") == released["gpt2"].padding
    assert released["gpt2"].encoding.get_vocab() == numbers


@needs_vocab
@pytest.mark.parametrize("name", TEXTS)
def test_fifty_thousand_captions_take_less_than_a_minute(released, name):
    captions = [f"{caption} {i}" for i in range(5000 // len(CAPTIONS)) for caption in CAPTIONS]
    began = time.perf_counter()
    released[name].encode(captions, warn=False)
    rate = len(captions) / (time.perf_counter() - began) * 60
    print(f"{name}: {rate:,.0f} captions a minute")
    assert rate > 50_000
