"""The tokenizers of the published models, from the published lists of merges.

Given, found in a cache, or fetched from the model hub: `openai-community/gpt2` is what GLIDE's
captions are split by, `openai/clip-vit-base-patch32` what CLIP's are.
"""

import gzip
import hashlib
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from glide_jax import config
from glide_jax.text import published
from glide_jax.text.tokenizer import NoTokenizer, Tokenizer


class Vocabulary(NamedTuple):
    """A published tokenizer: where its merges are, what they are, and what is made of them."""

    name: str
    folder: str
    """In a cache; a folder that is given may have it, too."""
    files: tuple[str, ...]
    """Names that the list of merges goes by; the last one is the hub's."""
    repository: str
    merges: int
    """How many of the list count."""
    sha256: str
    """Of those, one a line."""
    rows: int
    """Of the published models' table of tokens."""
    encoding: Callable


GPT2 = Vocabulary(
    name="GPT-2",
    folder="gpt2",
    files=("vocab.bpe", "vocab.bpe.gz", "merges.txt"),
    repository="openai-community/gpt2",
    merges=50_000,
    sha256="04e3597d7996f292ca9b8b7285ca4d58a6ae171ac47d73fc7140ceb0c7a6bbc0",
    rows=50_257,
    encoding=published.gpt2_encoding,
)
CLIP = Vocabulary(
    name="CLIP",
    folder="clip",
    files=("bpe_simple_vocab_16e6.txt", "bpe_simple_vocab_16e6.txt.gz", "merges.txt"),
    repository="openai/clip-vit-base-patch32",
    merges=48_894,
    sha256="f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a",
    rows=65_536,
    encoding=published.clip_encoding,
)


def tokenizer_for(text: config.TextEncoder, vocab=None, cache=None):
    """The tokenizer of a published model, CLIP's where captions are cleaned so, else GPT-2's.

    Args:
        text: the model's text encoder.
        vocab: the folder with the list of merges. By default it is looked for in the cache, and
            fetched from the hub where it is not there.
        cache: the folder that what is fetched goes to; by default the hub library's own.

    Returns:
        A `Tokenizer`; for a model with another vocabulary a `NoTokenizer`, with a warning.

    Raises:
        ValueError: there is no such list in `vocab`, or it is not the published one, or the package
            that fetches is missing.
        OSError: it cannot be fetched.
    """
    vocabulary = CLIP if text.cleaning == "clip" else GPT2
    if text.vocab_size != vocabulary.rows:
        warnings.warn(
            f"the model has {text.vocab_size} rows of tokens, and with {vocabulary.name}'s "
            f"vocabulary it would have {vocabulary.rows}: it gets no tokenizer, and so knows no "
            "captions",
            stacklevel=2,
        )
        return NoTokenizer(text)
    merges = read_merges(find_merges(vocabulary, vocab, cache), vocabulary)
    return Tokenizer(vocabulary.encoding(merges), text)


def find_merges(vocabulary: Vocabulary, vocab=None, cache=None) -> Path:
    """The file with a vocabulary's merges: given, cached, or fetched. See `tokenizer_for`."""
    if vocab is None:
        return (cache and _find(vocabulary, cache)) or _fetch(vocabulary, cache)
    found = _find(vocabulary, vocab)
    if found is None:
        raise ValueError(f"{vocab} has no {vocabulary.name} vocabulary: {_wanted(vocabulary)}")
    return found


def _find(vocabulary, folder):
    folder = Path(folder)
    paths = (f / name for f in (folder / vocabulary.folder, folder) for name in vocabulary.files)
    return next((path for path in paths if path.exists()), None)


def _wanted(vocabulary):
    return f"give a folder with {' or '.join(vocabulary.files)}"


def _fetch(vocabulary, cache):
    name, repository = vocabulary.name, vocabulary.repository
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ValueError(
            f"the {name} vocabulary is to be fetched from {repository}, for which the package "
            f"huggingface_hub is missing: pip install '.[hub]', or {_wanted(vocabulary)}"
        ) from None
    folder = cache and Path(cache) / vocabulary.folder
    try:
        return Path(hf_hub_download(repository, vocabulary.files[-1], local_dir=folder))
    except Exception as error:  # of a dozen kinds, according to what failed
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise OSError(
            f"the {name} vocabulary cannot be fetched from {repository} ({reason}): "
            f"{_wanted(vocabulary)}"
        ) from error


def read_merges(path, vocabulary: Vocabulary):
    """The merges of a published list, pairs of tokens, the most urgent first.

    The file's first line is its title; it may be compressed. A ValueError names a file that holds
    another list.
    """
    content = Path(path).read_bytes()
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        lines = content.decode().splitlines()[1 : vocabulary.merges + 1]
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile, zlib.error):
        lines = []
    if hashlib.sha256("\n".join(lines).encode()).hexdigest() != vocabulary.sha256:
        raise ValueError(
            f"{path} is not {vocabulary.name}'s list of merges as it was published: give another, "
            "or delete it, to have it fetched"
        )
    return [tuple(line.split()) for line in lines]
