"""From an address to a part of a file: what is missing, tried again where the connection breaks."""

import dataclasses
import http.client
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import urlsplit

from tqdm import tqdm

import glide_jax
from glide_jax.released.part import CHUNK, Record, open_part

TIMEOUT = 30.0
"""Seconds without an answer or a byte after which a connection counts as broken."""
PAUSES = (1, 2, 4, 8, 16)
"""Seconds before each new try; after progress they begin anew."""
BEGINNINGS = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
"""A checkpoint is a zip file or, before torch 1.6, a sequence of pickles."""
LONGEST_BEGINNING = 4


class Broken(OSError):
    """May work when it is tried again."""


class Unreachable(Broken):
    """No connection was made. At first that means no network, later a break."""


def download(url, path, progress=True):
    """Brings a checkpoint from an address to `path`, whole or not at all.

    What comes is kept in NAME.part beside it, and the next call goes on from there, unless the file
    at the address is another by then or its server sends whole files only.

    Args:
        url: http, https or file.
        path: a local Path whose folder exists. Where there is a file, nothing is done.
        progress: shows a bar, and says what is waited for.

    Raises:
        OSError: one sentence without an errno for what is wrong at the address; with one, the
            file could not be written.
    """
    with open_part(path, progress) as part:
        if path.exists():  # another process was first
            return
        _fill(url, part, progress)
        part.finish()


def _fill(url, part, progress):
    """Tries until the part is whole, or too many times in a row without any progress."""
    began, furthest, failures = part.size, part.size, 0
    while not (part.size and part.record.url == url and part.record.size == part.size):
        try:
            _try(url, part, progress)
        except Broken as error:
            if part.size > furthest:
                furthest, failures = part.size, 0
            is_offline = isinstance(error, Unreachable) and failures == 0 and furthest == began
            if is_offline or failures == len(PAUSES):
                kept = "; the same command goes on from there" if part.size else ""
                raise OSError(f"{error}{kept}") from error
            pause, failures = PAUSES[failures], failures + 1
            if progress:
                print(f"{error}; again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)


def _try(url, part, progress):
    """One connection's worth of the part."""
    with _connect(url, part) as response:
        _check_room(part)
        with tqdm(
            desc=part.path.name,
            initial=part.size,
            total=part.record.size,
            unit="B",
            unit_scale=True,
            disable=not progress,
        ) as bar:
            _receive(response, part, bar)
    if part.record.size is None:  # sent in HTTP's chunks, of which the last one says so
        part.record = dataclasses.replace(part.record, size=part.size)


def _connect(url, part):
    """A response whose body goes on where the part, emptied if need be, ends."""
    response = _rest(url, part) or _request(url)
    if response.status == 206:
        return response
    try:
        part.begin(_record_of(url, response))
    except BaseException:
        response.close()
        raise
    return response


def _rest(url, part):
    """The response to a request for what is missing; None where only the whole will do.

    A server that ignores the range, or has another file by now, responds with the whole.
    """
    record = part.record
    if not (part.size and record and record.url == url and record.validator):
        return None
    response = _request(url, {"Range": f"bytes={part.size}-", "If-Range": record.validator})
    if response and response.status == 206 and not _goes_on(response, part):
        response.close()
        return None
    return response


def _goes_on(response, part):
    """Whether a partial response begins where the part ends, and is of the same file."""
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    sizes = ("*", given and given[2] if part.record.size is None else str(part.record.size))
    if not given or int(given[1]) != part.size or given[2] not in sizes:
        return False
    # Not every server that knows Range knows If-Range.
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    return etag in (None, part.record.etag) and modified in (None, part.record.last_modified)


def _record_of(url, response):
    """What a response of status 200 says of the whole file."""
    headers = response.headers
    size = headers.get("Content-Length", "")
    if getattr(response, "chunked", False):
        size = ""
    elif not size.isdecimal():
        raise OSError(f"{url} does not say how long it is, so nobody can tell when it is whole")
    return Record(
        url,
        int(size) if size else None,
        headers.get("ETag"),
        headers.get("Last-Modified"),
        headers.get("Content-MD5"),
    )


def _request(url, headers=None):
    """The response to a request; None where the range that it asks for is not there."""
    agent = {"User-Agent": f"glide_jax/{glide_jax.__version__}"}
    request = urllib.request.Request(url, headers=agent | (headers or {}))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and headers:
            return None
        kind = Broken if error.code >= 500 or error.code in (408, 429) else OSError
        raise kind(f"{url} answers {error.code} {' '.join(str(error.reason).split())}") from error
    except urllib.error.URLError as error:
        raise _no_connection(url, error.reason) from error
    except (http.client.InvalidURL, UnicodeError) as error:
        raise ValueError(f"{url} is no address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_why_broken(url, error)) from error
    allowed = (200, 206) if headers else (200, None)  # files have no status
    if response.status not in allowed:
        response.close()
        raise OSError(f"{url} answers {response.status} {response.reason}, and sends no file")
    return response


def _no_connection(url, reason):
    """The error for an address with which no connection came about."""
    host = urlsplit(url).hostname
    if not host:  # a local file
        return OSError(f"{url} cannot be read ({getattr(reason, 'strerror', reason)})")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return OSError(
            f"{host} shows a certificate that is not trusted ({reason.verify_message}): check the "
            "clock and the certificates of this machine, or give another --url"
        )
    if isinstance(reason, ssl.SSLError):
        return Unreachable(f"{host} speaks no TLS that can be understood ({reason.reason})")
    if isinstance(reason, TimeoutError):
        return Broken(_why_broken(url, reason))
    why = getattr(reason, "strerror", None) or reason
    return Unreachable(
        f"{host} cannot be reached ({why}): check the network, or give another --url"
    )


def _why_broken(url, error):
    if isinstance(error, TimeoutError):
        return f"{url} was silent for {TIMEOUT:g} s"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"the connection to {url} broke ({why})"


def _check_room(part):
    missing = (part.record.size or 0) - part.size
    free = shutil.disk_usage(part.path.parent).free
    if missing > free:
        raise OSError(
            f"{part.path.name} needs {_in_bytes(missing)} more, and {part.path.parent} has room "
            f"for {_in_bytes(free)}: make room or choose another --cache"
        )


def _receive(response, part, bar):
    """Appends the body as it comes, and raises what is wrong with it."""
    url, size = part.record.url, part.record.size
    # It would stop reading there, and a file that is longer than its server says would look whole.
    response.length = None
    if part.size == 0:
        part.append(_beginning(response, part))
        bar.update(part.size)
    while chunk := _read(partial(response.read1, CHUNK), part):
        if size is not None and part.size + len(chunk) > size:
            part.begin(part.record)
            raise OSError(f"{url} sends more than the {size} bytes that it announces")
        part.append(chunk)
        bar.update(len(chunk))
    if size is not None and part.size < size:
        raise Broken(f"{url} broke off at {_progress(part)}")


def _beginning(response, part):
    """The first bytes, which tell a checkpoint from an error page."""
    url, size = part.record.url, part.record.size
    chunk = _read(partial(response.read, LONGEST_BEGINNING), part)
    if size is not None and len(chunk) < min(LONGEST_BEGINNING, size):
        raise Broken(f"{url} broke off at {_progress(part)}")
    if not chunk.startswith(BEGINNINGS):
        raise OSError(f"{url} is no PyTorch checkpoint: it begins with {chunk!r}")
    return chunk


def _read(read, part):
    try:
        return read()
    except (OSError, http.client.HTTPException) as error:
        if part.size == part.record.size:  # a server that sent all, and holds the line
            return b""
        why = _why_broken(part.record.url, error)
        raise Broken(f"{why} at {_progress(part)}") from error


def _progress(part):
    whole = f" of {_in_bytes(part.record.size)}" if part.record.size else ""
    return _in_bytes(part.size) + whole


def _in_bytes(number):
    return tqdm.format_sizeof(number, "B")
