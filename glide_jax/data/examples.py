"""What every source gives: examples, or the reason why one is broken."""

from typing import NamedTuple, Protocol

import numpy as np


class BadExample(Exception):
    """An example that cannot be used; its message names it and says why."""


class Example(NamedTuple):
    """A picture, as the bytes of its file or as uint8 [size, size, 3], and its captions.

    `name` is what to call it where something is wrong with it.
    """

    name: str
    image: bytes | np.ndarray
    captions: list[str]


class Source(Protocol):
    """Examples by index, pickled to worker processes; one of length sys.maxsize has no end."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """The example at an index; raises a BadExample for one that cannot be used."""

    def captions(self, index: int) -> list[str]:
        """Its captions, without the time that its picture takes."""


def captions_in(value, name) -> list[str]:
    """The captions that a field holds: a string or a list of them, none of which is blank.

    Raises:
        BadExample: there is none, or one is no text; `name` is the example's.
    """
    texts = value if isinstance(value, list) else [value]
    captions = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    if not captions:
        raise BadExample(f"{name}: its caption is empty")
    try:
        "".join(captions).encode()
    except UnicodeEncodeError:  # JSON can write half of a pair of surrogates
        raise BadExample(f"{name}: its caption is not text in UTF-8") from None
    return captions


def captions_in_lines(content: bytes, name) -> list[str]:
    """The captions of a .txt file, one a line."""
    try:
        return captions_in(content.decode("utf-8-sig").splitlines(), name)
    except UnicodeDecodeError:
        raise BadExample(f"{name}: its caption is not UTF-8") from None


def field_of(values, path, name):
    """What a JSON object has at a path such as "caption" or "meta/captions".

    Raises:
        BadExample: there is nothing; `name` is the example's.
    """
    inside = values
    for part in path.split("/"):
        if not isinstance(inside, dict) or inside.get(part) is None:
            has = ", ".join(values) if isinstance(values, dict) else "no fields"
            raise BadExample(f"{name}: it has no field {path!r}, but {has}")
        inside = inside[part]
    return inside


class Names:
    """Strings packed into one block: a million of 40 letters take 48 MB, and pickle as quickly."""

    def __init__(self, names):
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        self.ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self.block = b"".join(encoded)

    def __len__(self):
        return len(self.ends)

    def __getitem__(self, index):
        start = self.ends[index - 1] if index else 0
        return self.block[start : self.ends[index]].decode("utf-8", "surrogateescape")
