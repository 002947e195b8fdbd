"""What is done to a caption before it is split into tokens."""

import html
import re

# CLIP finds words by taking all punctuation in a row as one, so that a special token is one only
# where none comes before it.
_PUNCTUATION = re.compile(r"(<\|(?:start|end)oftext\|>)|(?:[^\w\s]|_)+", re.IGNORECASE)


def clip(caption):
    """A caption as CLIP's published tokenizer cleans it; in lower case, white space single.

    Encodings gone wrong are put right by ftfy, and HTML is unescaped twice. `<|startoftext|>` and
    `<|endoftext|>` stay, to be the special tokens; where the published tokenizer does not take
    them for such, right after punctuation, a space breaks them up, which changes no other token.

    Raises a ValueError where ftfy is not installed.
    """
    text = html.unescape(html.unescape(_fix_text(caption)))
    text = " ".join(text.split()).lower()
    return _PUNCTUATION.sub(_break_up, text) if "<|" in text else text


def _break_up(run):
    return f"{run[0]} " if run[1] is None and run[0].endswith("<|") else run[0]


def _fix_text(caption):
    try:
        import ftfy
    except ImportError:
        raise ValueError(
            "CLIP's tokenizer needs the package ftfy, which is missing: pip install '.[clip]'"
        ) from None
    return ftfy.fix_text(caption)


CLEANERS = {"none": lambda caption: caption, "lower": str.lower, "clip": clip}
