"""A file on its way to its place: it grows beside it, and one process at a time writes to it."""

import base64
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import sys
from dataclasses import dataclass

from glide_jax.config import from_dict, to_dict
from glide_jax.files import read_text, write_text

CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What is known of a file, kept as NAME.json beside it."""

    url: str | None
    """Where it is from; none for a file that somebody put there."""
    size: int | None
    """Bytes of the whole, as its source says."""
    etag: str | None = None
    last_modified: str | None = None
    content_md5: str | None = None
    """Of the whole, in base64, as its source says."""
    sha256: str | None = None
    """Of the whole, in hexadecimal; none until it is there."""

    @property
    def validator(self):
        """What tells this state of the file from another, for If-Range; None if nothing does."""
        is_strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if is_strong else self.last_modified


def record_path(path):
    """Where the record of a file is."""
    return path.with_name(f"{path.name}.json")


def read_record(path):
    """The record of a file; None where there is none that can be read."""
    try:
        return from_dict(Record, json.loads(read_text(record_path(path))))
    except (FileNotFoundError, ValueError):
        return None


def write_record(path, record):
    """Writes the record of a file, whole or not at all."""
    write_text(record_path(path), json.dumps(to_dict(record), indent=1) + "\n")


def part_path(path):
    """Where a file grows."""
    return path.with_name(f"{path.name}.part")


class Part:
    """What has come of a file, in NAME.part beside its place.

    Attributes:
        path: the file's place.
        size: bytes that are there.
        record: of the file that they belong to, or None.
    """

    def __init__(self, path, file):
        self.path, self._file, self.record = path, file, read_record(path)
        self._forget()
        file.seek(0)
        while chunk := file.read(CHUNK):
            self._count(chunk)

    def _forget(self):
        self.size, self._sha256 = 0, hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def _count(self, chunk):
        self._sha256.update(chunk)
        self._md5.update(chunk)
        self.size += len(chunk)

    def begin(self, record):
        """Empties the part: what comes from now on belongs to the file of this record."""
        self._file.truncate(0)
        self._forget()
        self.record = record
        write_record(self.path, record)

    def append(self, chunk):
        """Adds bytes to the end."""
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._count(chunk)

    def finish(self):
        """Puts the file in its place. An OSError where its source's checksum is another's."""
        md5 = base64.b64encode(self._md5.digest()).decode()
        if self.record.content_md5 not in (None, md5):
            self.begin(self.record)
            raise OSError(
                f"what {self.record.url} sent is spoiled (its MD5 is {md5}, not "
                f"{self.record.content_md5} as announced): the same command begins anew"
            )
        os.fsync(self._file.fileno())
        # First the record: a file in its place has one, whatever happens in between.
        write_record(
            self.path,
            dataclasses.replace(self.record, size=self.size, sha256=self._sha256.hexdigest()),
        )
        part_path(self.path).replace(self.path)


@contextlib.contextmanager
def open_part(path, progress=True):
    """The part of a file, to go on with; an empty one is taken away after the block.

    While the block lasts no other process can enter it for the same file. Others wait, and with
    `progress` say so.
    """
    with _only_one(part_path(path), progress) as file:
        part = Part(path, file)
        try:
            yield part
        finally:
            if part.size == 0:
                part_path(path).unlink(missing_ok=True)
                if not path.exists():
                    record_path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def _only_one(path, progress):
    """The file at a path, made if need be, once no other process has it open in this way."""
    while True:
        with path.open("a+b", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress:
                    print(f"{path} is another process's: waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Who had it before may have put it elsewhere or taken it away.
            if _is_at(path, file):
                yield file
                return


def _is_at(path, file):
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
