"""The encodings of GPT-2, which GLIDE took over, and of CLIP, from their lists of merges."""

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = (
    r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)


def gpt2_encoding(merges):
    """GPT-2's byte-level encoding; tokens are 256 bytes, and one a merge.

    GPT-2's own <|endoftext|> is left out: in a caption GLIDE reads it as plain text, and its number
    is the one that GLIDE pads with.

    Args:
        merges: pairs of tokens, the most urgent first.

    Returns:
        A `tokenizers.Tokenizer` for captions in lower case.
    """
    encoding = tokenizers.Tokenizer(_bpe(_bytes(), merges))
    encoding.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding.decoder = decoders.ByteLevel()
    return encoding


def clip_encoding(merges):
    """CLIP's byte-level encoding; tokens are 256 bytes, 256 that end a word, one a merge, two more.

    Those two, start and end, come around each caption, and stand for themselves within.

    Args:
        merges: pairs of tokens, the most urgent first.

    Returns:
        A `tokenizers.Tokenizer` for captions cleaned by `cleaning.clip`.
    """
    single = _bytes() + [f"{byte}</w>" for byte in _bytes()]
    specials = [CLIP_START, CLIP_END]
    encoding = tokenizers.Tokenizer(_bpe(single, merges, specials, end="</w>"))
    encoding.add_special_tokens(specials)
    encoding.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    encoding.post_processor = processors.TemplateProcessing(
        single=f"{CLIP_START} $A {CLIP_END}",
        special_tokens=[(token, encoding.token_to_id(token)) for token in specials],
    )
    return encoding


def _bytes():
    """The characters that stand for the 256 bytes, in the order of GPT-2's and CLIP's tokens."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _bpe(single, merges, specials=(), end=""):
    tokens = [*single, *("".join(pair) for pair in merges), *specials]
    vocab = {token: number for number, token in enumerate(tokens)}
    return models.BPE(vocab, list(merges), end_of_word_suffix=end)
