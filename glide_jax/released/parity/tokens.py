"""The figures of the tokenizers: exact, rows and what they are made of."""

import json
from functools import partial

import numpy as np

from glide_jax import config
from glide_jax.released.parity.measure import Check, Limit
from glide_jax.released.vocabulary import tokenizer_for
from glide_jax.text.cleaning import CLEANERS

TEXTS = {
    "gpt2": config.TextEncoder(),
    "clip": config.TextEncoder(context=77, vocab_size=65_536, cleaning="clip"),
}


def checks(folder, vocab):
    """The Checks of tokens.json.

    Args:
        folder: of the figures.
        vocab: the folder of the published vocabularies; where it is None, the figures' own
            `vocab`, or what `tokenizer_for` finds.
    """
    if not (folder / "tokens.json").exists():
        return
    rows = json.loads((folder / "tokens.json").read_text())
    if vocab is None and (folder / "vocab").is_dir():
        vocab = folder / "vocab"
    for name, text in TEXTS.items():
        published = {
            # Uncut rows are of many lengths: one after the other.
            f"{name}": np.array([token for row in rows for token in row[name]]),
            f"{name}_padded": np.array([row[f"{name}_padded"] for row in rows]),
            f"{name}_length": np.array([row[f"{name}_length"] for row in rows]),
        }
        captions = [row["text"] for row in rows]
        compute = partial(_compute, name, tokenizer_for(text, vocab), captions)
        yield Check(f"tokens {name}", compute, published, lambda key: Limit())


def _compute(name, tokenizer, captions):
    clean = CLEANERS[tokenizer.text.cleaning]
    cleaned = [clean(caption) for caption in captions]
    encoded = tokenizer.encoding.encode_batch(cleaned, add_special_tokens=False)
    tokens, mask = tokenizer.encode(captions, warn=False)
    return {
        f"{name}": np.array([token for row in encoded for token in row.ids]),
        f"{name}_padded": tokens,
        f"{name}_length": mask.sum(axis=1),
    }
