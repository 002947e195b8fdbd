"""Brings the published checkpoints into a cache: python -m glide_jax.released fetch base upsample

A download that breaks goes on where it stopped, in the same command or in the next.
"""

import contextlib
import hashlib
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit, urlunsplit

import tyro

from glide_jax.files import cache_folder
from glide_jax.released.download import BEGINNINGS, download
from glide_jax.released.part import Record, read_record, write_record

PUBLISHED = "https://openaipublic.blob.core.windows.net/diffusion/dec-2021/"
FILES = {
    "base": "base.pt",
    "upsample": "upsample.pt",
    "base-inpaint": "base_inpaint.pt",
    "upsample-inpaint": "upsample_inpaint.pt",
    "clip-image-enc": "clip_image_enc.pt",
    "clip-text-enc": "clip_text_enc.pt",
}
# The files of each model, and of each name.
MODELS = {name: (name,) for name in FILES if not name.startswith("clip-")} | {
    "clip": ("clip-image-enc", "clip-text-enc")
}
NAMES = {name: (name,) for name in FILES} | MODELS


@dataclass(frozen=True)
class Arguments:
    """What to fetch, from where, and where to."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """base, upsample, base-inpaint, upsample-inpaint, clip-image-enc, clip-text-enc, or clip for
    both; glide-base and so on name the same."""
    url: str | None = None
    """Another place that has the files: an http, https or file address, or a folder."""
    cache: Path | None = None
    """Where they go; by default $GLIDE_JAX_CACHE or ~/.cache/glide_jax."""
    verify: bool = False
    """Reads files that are there already, too, and compares their checksums."""
    convert: bool = False
    """Makes models of them, too, which go by the names glide-base and so on."""
    vocab: Path | None = None
    """For --convert: the folder of the published vocabulary; by default the cache or the hub."""


def run(arguments: Arguments):
    """Fetches, and prints where each file is."""
    if not arguments.names:
        raise ValueError(f"there is nothing to fetch; known: {', '.join(NAMES)}")
    known = MODELS if arguments.convert else NAMES
    # All are looked up before hours of the first.
    parts = [look_up(name, known) for name in arguments.names]
    try:
        for name in itertools.chain(*parts):
            print(fetch(name, arguments.cache, arguments.url, verify=arguments.verify))
        if arguments.convert:
            from glide_jax.released.ready import ready  # loads JAX, for which a fetch need not wait

            for name in arguments.names:
                model = f"glide-{name.removeprefix('glide-')}"
                print(ready(model, arguments.cache, arguments.url, arguments.vocab))
    except KeyboardInterrupt:
        print("what came is kept: the same command goes on from there", file=sys.stderr)
        raise


def fetch(name, cache=None, url=None, progress=True, verify=False) -> Path:
    """A published checkpoint as a local file, downloaded where the cache does not have it.

    Args:
        name: of `FILES`, with or without glide- before it.
        cache: the folder it goes to; by default `cache_folder()`.
        url: the http, https or file address, or the folder, that has it; by default `PUBLISHED`.
            A file that the cache has from elsewhere is then refused.
        progress: shows a bar.
        verify: compares the SHA-256 of a file that is there already.

    Raises:
        ValueError: an unknown name, or a url of another kind.
        OSError: the file cannot be had, cannot be written, or is not what was once fetched.
    """
    path = Path(cache or cache_folder()).expanduser() / look_up(name, FILES)
    source = address(url or PUBLISHED, path.name)
    with _writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check(path, source if url else None, verify)
        else:
            download(source, path, progress)
    return path


def look_up(name, known):
    """What a table has of a name, glide- before it or not; a ValueError lists the known."""
    found = known.get(name.removeprefix("glide-"))
    if found is None:
        raise ValueError(f"there is no published model {name!r}; known: {', '.join(known)}")
    return found


def address(base, name):
    """The address of a file in a place: an http, https or file address, or a folder."""
    is_address = re.match(r"(https?://[^/[]|file:/)", str(base), re.IGNORECASE)
    if is_address:
        parts = urlsplit(str(base))
        path = quote(parts.path.rstrip("/"), safe="/%:;,=@!$&'()*+~")
        return urlunsplit(parts._replace(path=f"{path}/{name}"))
    folder = Path(base).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"--url is {str(base)!r}; allowed: an http, https or file address, or a folder"
        )
    return (folder.resolve() / name).as_uri()


@contextlib.contextmanager
def _writing_to(path):
    """Names the cache where a file of it cannot be read or written in the block."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # has its sentence
            raise
        raise OSError(
            f"{path} cannot be written ({error.strerror}); what came is kept: make room or choose "
            "another --cache"
        ) from error


def _check(path, source, verify):
    """Raises an OSError where a file is not the one of its record, or not from the source."""
    record = read_record(path)
    if record is None or record.sha256 is None:
        record = _adopt(path)
    if source not in (None, record.url):
        origin = f"is from {record.url}" if record.url else "was put there by hand"
        raise OSError(f"{path} {origin}, not from {source}: remove it or choose another --cache")
    size = path.stat().st_size
    if size != record.size:
        raise OSError(_spoiled(path, f"has {size} bytes", record.size))
    if verify and (sha256 := _sha256(path)) != record.sha256:
        raise OSError(_spoiled(path, f"has the SHA-256 {sha256}", record.sha256))


def _spoiled(path, what, expected):
    return f"{path} {what}, not {expected} as when it was fetched: remove it and fetch it again"


def _adopt(path):
    """The record of a file that somebody put into the cache, made and kept."""
    with path.open("rb") as file:
        beginning = file.read(4)
    if not beginning.startswith(BEGINNINGS):
        raise OSError(f"{path} is no PyTorch checkpoint: it begins with {beginning!r}")
    record = Record(None, path.stat().st_size, sha256=_sha256(path))
    write_record(path, record)
    return record


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
