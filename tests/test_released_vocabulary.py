"""Where the published vocabularies come from: a folder, the cache, the hub; and what is refused."""

import gzip
import hashlib
import random
import sys
import types

import pytest

from glide_jax.config import TextEncoder
from glide_jax.released import vocabulary
from glide_jax.text import published
from tests import plain_bpe

TEXTS = {
    "gpt2": TextEncoder(context=16, vocab_size=257 + 20),
    "clip": TextEncoder(context=16, vocab_size=600, cleaning="clip"),
}
NAMES = [(name, file) for name in TEXTS for file in getattr(vocabulary, name.upper()).files]


@pytest.fixture(autouse=True)
def lists(monkeypatch):
    """Lists of twenty merges that stand for the published ones; no hub."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    contents = {}
    for name, ends in (("gpt2", ""), ("clip", "</w>")):
        merges = plain_bpe.merges(random.Random(0), 20, ends)
        lines = "\n".join(" ".join(pair) for pair in merges)
        contents[name] = f"#version: 0.2\n{lines}\n".encode()
        tiny = getattr(vocabulary, name.upper())._replace(
            merges=20,
            rows=TEXTS[name].vocab_size,
            sha256=hashlib.sha256(lines.encode()).hexdigest(),
        )
        monkeypatch.setattr(vocabulary, name.upper(), tiny)
    contents["clip"] += b"be yond</w>\n"  # the published list is longer than what counts of it
    return contents


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for huggingface_hub: what it is asked for, and does."""

    class Hub(types.ModuleType):
        asked = []
        content = b""

        def hf_hub_download(self, repository, file, local_dir):
            self.asked.append((repository, file))
            if not self.content:
                raise ConnectionError("no way\nto there")
            local_dir.mkdir()
            (local_dir / file).write_bytes(self.content)
            return str(local_dir / file)

    hub = Hub("huggingface_hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


def put(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def check(tokenizer, name, lists):
    """That it has the merges of the list."""
    merges = [tuple(line.split()) for line in lists[name].decode().splitlines()[1:21]]
    expected = getattr(published, f"{name}_encoding")(merges).get_vocab()
    assert tokenizer.encoding.get_vocab() == expected


@pytest.mark.parametrize("sub", [".", "own"])
@pytest.mark.parametrize(("name", "file"), NAMES)
def test_a_folder_that_is_given(tmp_path, lists, name, file, sub):
    put(tmp_path / (name if sub == "own" else ".") / file, lists[name])
    check(vocabulary.tokenizer_for(TEXTS[name], tmp_path), name, lists)


def test_line_ends_of_windows_and_unpacked_archives(tmp_path, lists):
    (tmp_path / "vocab.bpe.gz").write_bytes(lists["gpt2"].replace(b"\n", b"\r\n"))
    check(vocabulary.tokenizer_for(TEXTS["gpt2"], tmp_path), "gpt2", lists)


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_fetched_is_cached_and_never_fetched_again(tmp_path, lists, hub, name):
    hub.content = lists[name]
    check(vocabulary.tokenizer_for(TEXTS[name], cache=tmp_path), name, lists)
    repository = {"gpt2": "openai-community/gpt2", "clip": "openai/clip-vit-base-patch32"}[name]
    assert hub.asked.pop() == (repository, "merges.txt")
    check(vocabulary.tokenizer_for(TEXTS[name], cache=tmp_path), name, lists)
    assert not hub.asked


def test_a_folder_goes_before_the_cache_and_the_hub(tmp_path, lists, hub):
    put(tmp_path / "cache" / "vocab.bpe", b"broken")
    put(tmp_path / "given" / "vocab.bpe", lists["gpt2"])
    tokenizer = vocabulary.tokenizer_for(TEXTS["gpt2"], tmp_path / "given", tmp_path / "cache")
    check(tokenizer, "gpt2", lists)
    with pytest.raises(ValueError, match="given has no CLIP vocabulary: give a folder with bpe_"):
        vocabulary.tokenizer_for(TEXTS["clip"], tmp_path / "given", tmp_path / "cache")
    assert not hub.asked


def test_without_the_hub_s_package_the_sentence_names_both_ways(tmp_path):
    message = (
        "the GPT-2 vocabulary is to be fetched from openai-community/gpt2, .* huggingface_hub is "
        r"missing: pip install '.\[hub\]', or give a folder with vocab.bpe or vocab.bpe.gz or merg"
    )
    with pytest.raises(ValueError, match=message):
        vocabulary.tokenizer_for(TEXTS["gpt2"], cache=tmp_path)


def test_without_a_network_the_sentence_has_the_reason(tmp_path, hub):
    message = r"CLIP vocabulary cannot be fetched from openai/clip-\S+ \(no way\): give a folder"
    with pytest.raises(OSError, match=message):
        vocabulary.tokenizer_for(TEXTS["clip"], cache=tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        lambda content: b"",
        lambda content: b"<html>not found</html>",
        lambda content: content[:-20],
        lambda content: content.partition(b"\n")[2],
        lambda content: b"\xff" + content,
        lambda content: gzip.compress(content)[:-20],
        lambda content: gzip.compress(content)[:10] + b"\xff" * 50,
        lambda content: b"\x1f\x8b" + content,
    ],
)
def test_another_list_is_refused(tmp_path, lists, broken):
    put(tmp_path / "vocab.bpe", broken(lists["gpt2"]))
    with pytest.raises(ValueError, match="vocab.bpe is not GPT-2's list of merges as it was publ"):
        vocabulary.tokenizer_for(TEXTS["gpt2"], tmp_path)


def test_the_other_model_s_list_is_refused(tmp_path, lists):
    put(tmp_path / "merges.txt", lists["gpt2"])
    with pytest.raises(ValueError, match="merges.txt is not CLIP's list"):
        vocabulary.tokenizer_for(TEXTS["clip"], tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_a_model_with_another_vocabulary_has_no_tokenizer(name):
    other = TextEncoder(context=7, vocab_size=64, cleaning=TEXTS[name].cleaning)
    rows = TEXTS[name].vocab_size
    with pytest.warns(UserWarning, match=f"has 64 rows of tokens, .* would have {rows}: it gets n"):
        tokenizer = vocabulary.tokenizer_for(other)
    tokens, mask = tokenizer.encode(["", ""])
    assert tokens.tolist() == [[63] * 7] * 2 and not mask.any()
    with pytest.raises(ValueError, match="the model has no tokenizer, and so no tokens for 'red'"):
        tokenizer.encode(["", "red"])
