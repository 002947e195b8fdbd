"""Files that are written whole or not at all, as UTF-8 on every system; and the cache's place."""

import contextlib
import os
import re
import uuid
from pathlib import Path

from etils import epath


@contextlib.contextmanager
def written_whole(path):
    """A path to write beside `path`, put in its place once the block ends without an error."""
    path = epath.Path(path)
    beside = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def is_left_over(path):
    """Whether a file is one that `written_whole` could not put in its place, nor remove."""
    return re.fullmatch(r"\..+\.[0-9a-f]{32}", epath.Path(path).name) is not None


@contextlib.contextmanager
def writing_to(run):
    """Names a run, and what can be done, where a file of it cannot be written in the block."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # has its sentence
            raise
        raise OSError(
            f"the run {run} cannot be written to ({error.strerror}); what it holds is as it was: "
            "make room or choose another --run"
        ) from error


def write_text(path, content):
    """Writes a text file whole or not at all."""
    with written_whole(path) as beside:
        beside.write_bytes(content.encode())


def read_text(path):
    """A UTF-8 text file; a ValueError names the file that is not one."""
    try:
        return epath.Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}") from None


def cache_folder():
    """Of what is fetched: $GLIDE_JAX_CACHE, else $XDG_CACHE_HOME/glide_jax or ~/.cache's."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GLIDE_JAX_CACHE") or Path(home) / "glide_jax").expanduser()
