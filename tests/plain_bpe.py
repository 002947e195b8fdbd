"""GPT-2's and CLIP's tokens in plain Python, from their definition: slow, no `tokenizers`."""

import html
import random
import re
from itertools import pairwise

import ftfy

CHUNKS = [
    *(
        "aesthxand" * 4
        + "\u00e9\u0131\u03c3\u03a3\u732b\u017fA\u013012\u00b2'!<|>_\U0001f3a8 \t\n\u00a0"
    ),
    *("  ", "'s", "'T", "'RE", "'\u017f", "<|endoftext|>", "<|STARTOFTEXT|>", "&lt;", "&amp;amp;"),
]
SPECIALS = "<|startoftext|>", "<|endoftext|>"
PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
REST = [byte for byte in range(256) if byte not in PRINTED]
CHARACTER = {byte: chr(byte) for byte in PRINTED} | {b: chr(256 + i) for i, b in enumerate(REST)}

# Those beyond would make the patterns slow, and are in no caption here.
ALNUM = [chr(code) for code in range(0x10000) if chr(code).isalnum()]
L = "".join(c for c in ALNUM if c.isalpha())
N = "".join(c for c in ALNUM if not c.isalpha())
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
GPT2_WORDS = re.compile(rf"{CONTRACTIONS}| ?[{L}]+| ?[{N}]+| ?[^\s{L}{N}]+|\s+(?!\S)|\s+")
CLIP_WORDS = re.compile(
    rf"<\|startoftext\|>|<\|endoftext\|>|(?i:{CONTRACTIONS})|[{L}]+|[{N}]|[^\s{L}{N}]+"
)


def caption(rng: random.Random, length=12):
    """Letters, digits, marks, spaces, special tokens and HTML in any order."""
    return "".join(rng.choices(CHUNKS, k=length))


def merges(rng: random.Random, number, end=""):
    """So many pairs of tokens that come next to each other in words; `end` ends a word."""
    pairs = []
    while len(pairs) < number:
        word = rng.choice(GPT2_WORDS.findall(caption(rng).lower()))
        found = [pair for pair in pairwise(_spell(word, pairs, end)) if pair not in pairs]
        pairs += rng.sample(found, min(1, len(found)))
    return pairs


def gpt2(caption, pairs):
    """The tokens' numbers; <|endoftext|> is plain text."""
    numbers = {token: i for i, token in enumerate([*CHARACTER.values(), *map("".join, pairs)])}
    words = GPT2_WORDS.findall(caption.lower())
    return [numbers[token] for word in words for token in _spell(word, pairs)]


def clip(caption, pairs):
    """The tokens' numbers, without those of start and end around the caption."""
    single = [*CHARACTER.values(), *(character + "</w>" for character in CHARACTER.values())]
    tokens = [*single, *map("".join, pairs), *SPECIALS]
    numbers = {token: i for i, token in enumerate(tokens)}
    clean = html.unescape(html.unescape(ftfy.fix_text(caption)))
    words = CLIP_WORDS.findall(re.sub(r"\s+", " ", clean).strip().lower())
    spelled = ([word] if word in SPECIALS else _spell(word, pairs, "</w>") for word in words)
    return [numbers[token] for tokens in spelled for token in tokens]


def _spell(word, pairs, end=""):
    """Joins all of the most urgent pair from the left, as long as there is one."""
    symbols = [CHARACTER[byte] for byte in word.encode()]
    symbols[-1] += end
    ranks = {pair: rank for rank, pair in enumerate(pairs)}
    while found := [pair for pair in pairwise(symbols) if pair in ranks]:
        first, joined = min(found, key=ranks.get), []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == first:
                symbol = joined.pop() + symbol
            joined.append(symbol)
        symbols = joined
    return symbols
