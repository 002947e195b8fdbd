"""Downloads from a server that breaks off, lies and forgets; and what is said of it."""

import base64
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from glide_jax import cli
from glide_jax.files import cache_folder
from glide_jax.released import __main__ as command
from glide_jax.released import download, part
from glide_jax.released.fetch import FILES, PUBLISHED, address, fetch
from tests.file_server import Server
from tests.test_interruptions import only_small_files

ROOT = Path(__file__).parents[1]
CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(300_000)
OTHER = b"PK\x03\x04" + np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BROKEN_AT = 123_457


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.001, 0.002))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with Server(CONTENT) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def get(server, cache, **options):
    return fetch("base", cache, server.url, progress=False, **options)


def refusal(message):
    return pytest.raises(OSError, match=f"^{re.escape(message)}$")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def record_of(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def assert_whole(cache, content=CONTENT):
    """The file is there, and nothing beside it but what is known of it."""
    assert names_in(cache) == ["base.pt", "base.pt.json"]
    assert (cache / "base.pt").read_bytes() == content
    record = record_of(cache / "base.pt")
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["size"] == len(content)


def assert_part(cache, size=BROKEN_AT):
    """Only the part is there, and it can be gone on with."""
    assert names_in(cache) == ["base.pt.json", "base.pt.part"]
    assert (cache / "base.pt.part").read_bytes() == CONTENT[:size]
    assert record_of(cache / "base.pt")["sha256"] is None


def break_off(server, cache, at=BROKEN_AT):
    """A command that ends with a part."""
    server.script = [{"until": at}]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="broke off at"):
        patch.setattr(download, "PAUSES", ())
        get(server, cache)


def test_a_file_is_fetched_once_and_known(server, cache):
    path = get(server, cache)
    assert path == cache / "base.pt"
    assert_whole(cache)
    assert server.requests == [("/base.pt", None, None)]
    assert record_of(path)["url"] == f"{server.url}/base.pt"
    assert record_of(path)["etag"].startswith('"')
    assert get(server, cache, verify=True) == fetch("glide-base", cache) == path
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", FILES)
def test_published_names(name, server, cache):
    assert fetch(name, cache, server.url, progress=False).name == f"{name}.pt".replace("-", "_")
    assert address(PUBLISHED, FILES[name]) == (
        f"https://openaipublic.blob.core.windows.net/diffusion/dec-2021/{FILES[name]}"
    )


def test_a_break_goes_on_where_it_was(server, cache):
    server.script = [{"until": BROKEN_AT}, {"until": 200_000}]
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-", "bytes=200000-"]
    etag = record_of(cache / "base.pt")["etag"]
    assert [if_range for *_, if_range in server.requests] == [None, etag, etag]
    assert_whole(cache)


def test_the_next_command_goes_on_too(server, cache):
    server.script = [{"until": BROKEN_AT}] + [{"status": 503}] * 4
    with refusal(
        f"{server.url}/base.pt answers 503 Service Unavailable; the same command goes on from there"
    ):
        get(server, cache)
    assert_part(cache)
    get(server, cache)
    assert server.ranges == [None] + [f"bytes={BROKEN_AT}-"] * 5
    assert_whole(cache)


def test_tries_end_with_growing_pauses_unless_there_is_progress(server, cache, monkeypatch):
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    monkeypatch.setattr(download, "PAUSES", (1, 2, 4))
    advances = [{"until": size} for size in (100, 200, 300)]
    server.script = [*[{"status": 500}] * 2, *advances, *[{"status": 502}] * 3]
    with refusal(
        f"{server.url}/base.pt answers 502 Bad Gateway; the same command goes on from there"
    ):
        get(server, cache)
    assert slept == [1, 2, 1, 1, 1, 2, 4]
    assert_part(cache, 300)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_errors_that_pass_are_tried_again(server, cache, status):
    server.script = [{"status": status}] * 3
    get(server, cache)
    assert len(server.requests) == 4
    assert_whole(cache)


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")]
)
def test_errors_that_stay_are_not_and_leave_nothing(server, cache, status, words):
    server.script = [{"status": status}]
    with refusal(f"{server.url}/base.pt answers {words}"):
        get(server, cache)
    assert len(server.requests) == 1 and names_in(cache) == []


def test_a_status_without_a_file_is_refused(server, cache):
    server.script = [{"status": 204}]
    with refusal(f"{server.url}/base.pt answers 204 No Content, and sends no file"):
        get(server, cache)
    assert names_in(cache) == []


def test_a_server_without_ranges_begins_anew(server, cache):
    server.script = [{"until": BROKEN_AT}, {"knows_range": False}]
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


def test_a_server_without_validators_is_asked_for_the_whole(server, cache):
    server.script = [{"until": BROKEN_AT, "validators": False}, {}]
    get(server, cache)
    assert server.ranges == [None, None]
    assert_whole(cache)


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changed_begins_anew(server, cache, knows_if_range):
    break_off(server, cache)
    server.content, server.script = OTHER, [{"knows_if_range": knows_if_range}]
    get(server, cache)
    # Where the server did not see it, a second request asks for the whole.
    assert server.ranges[1:] == [f"bytes={BROKEN_AT}-"] + [None] * (not knows_if_range)
    assert_whole(cache, OTHER)


def test_a_file_that_shrank_begins_anew(server, cache):
    break_off(server, cache)
    server.content, server.script = CONTENT[:1000], [{"knows_if_range": False}]  # so it says 416
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-", None]
    assert_whole(cache, CONTENT[:1000])


@pytest.mark.parametrize(
    "wrong",
    ["bytes 5-300003/300004", f"bytes {BROKEN_AT}-300003/400000", "bytes what", "5-6/7"],
)
def test_a_range_that_is_another_is_not_taken(server, cache, wrong):
    server.script = [{"until": BROKEN_AT}, {"headers": (("Content-Range", wrong),)}]
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-", None]
    assert_whole(cache)


def test_a_part_from_elsewhere_is_not_gone_on_with(server, cache):
    break_off(server, cache)
    with Server(OTHER) as other:
        get(other, cache)
        assert other.ranges == [None]
    assert_whole(cache, OTHER)


def test_less_than_announced_is_refused(server, cache):
    server.script = [{"announce": 10}] * 20
    sentence = f"{server.url}/base.pt broke off at 300kB of 300kB; the same command goes on from "
    with refusal(f"{sentence}there"):
        get(server, cache)
    assert "base.pt" not in names_in(cache)
    assert 1 < len(server.requests) < 12


def test_more_than_announced_is_refused(server, cache):
    server.script = [{"announce": -10}]
    with refusal(f"{server.url}/base.pt sends more than the 299994 bytes that it announces"):
        get(server, cache)
    assert names_in(cache) == []


def test_a_length_that_is_not_said_is_refused(server, cache):
    server.script = [{"announce": None}]
    with refusal(
        f"{server.url}/base.pt does not say how long it is, so nobody can tell when it is whole"
    ):
        get(server, cache)
    assert names_in(cache) == []


def test_chunks_of_http_say_where_they_end(server, cache):
    server.script = [{"chunked": True, "until": BROKEN_AT}, {"chunked": True}]
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><title>Sign in</title>", b"", b"PK", b"\x80\x09ab", b"\x1f\x8b\x08ab"]
)
def test_what_is_no_checkpoint_is_refused(server, cache, body):
    server.script = [{"body": body}]
    with refusal(f"{server.url}/base.pt is no PyTorch checkpoint: it begins with {body[:4]!r}"):
        get(server, cache)
    assert names_in(cache) == [] and len(server.requests) == 1


def test_the_format_before_torch_1_6_is_a_checkpoint(server, cache):
    server.content = b"\x80\x02\x8a\x0al\xfc" + CONTENT
    get(server, cache)
    assert_whole(cache, server.content)


def test_a_break_within_the_first_bytes_is_no_page(server, cache):
    server.script = [{"until": 2}]
    get(server, cache)
    assert server.ranges == [None, None]
    assert_whole(cache)


def test_redirections_keep_the_range(server, cache):
    there = {"status": 302, "headers": (("Location", "/elsewhere"),)}
    server.script = [there, {"until": BROKEN_AT}, there]
    get(server, cache)
    assert [path for path, *_ in server.requests] == ["/base.pt", "/elsewhere"] * 2
    assert server.ranges == [None, None] + [f"bytes={BROKEN_AT}-"] * 2
    assert_whole(cache)


def test_redirections_in_a_circle_end(server, cache):
    server.script = [{"status": 302, "headers": (("Location", "/base.pt"),)}] * 20
    with pytest.raises(OSError, match="answers 302 .*infinite loop") as error:
        get(server, cache)
    assert "\n" not in str(error.value) and names_in(cache) == []


@pytest.mark.parametrize("hold", ["headers", "end"])
def test_silence_is_a_break(server, cache, monkeypatch, hold):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    server.script = [{"hold": hold, "until": BROKEN_AT}]
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-" if hold == "end" else None]
    assert_whole(cache)


def test_silence_for_ever_is_one_sentence(server, cache, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.script = [{"hold": "headers"}] * 4
    with refusal(f"{server.url}/base.pt was silent for 0.05 s"):
        get(server, cache)
    assert names_in(cache) == []


def test_a_server_that_holds_the_line_has_sent_all(server, cache, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    server.script = [{"hold": "end"}]
    get(server, cache)
    assert server.ranges == [None]
    assert_whole(cache)


def md5(content):
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def test_content_md5_is_checked(server, cache):
    headers = (("Content-MD5", md5(OTHER)),)
    server.script = [{"headers": headers, "until": BROKEN_AT}]
    with refusal(
        f"what {server.url}/base.pt sent is spoiled (its MD5 is {md5(CONTENT)}, not {md5(OTHER)} "
        "as announced): the same command begins anew"
    ):
        get(server, cache)
    assert names_in(cache) == []
    server.script = [{"headers": (("Content-MD5", md5(CONTENT)),)}]
    get(server, cache)
    assert_whole(cache)


def test_no_room_is_said_before_anything_is_written(server, cache, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with refusal(
        f"base.pt needs 300kB more, and {cache} has room for 1.00kB: make room or choose "
        "another --cache"
    ):
        get(server, cache)
    assert names_in(cache) == []
    # What is there already needs no room.
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=10**9))
        break_off(server, cache, at=len(CONTENT) - 1000)
    get(server, cache)
    assert_whole(cache)


def test_a_disk_that_fills_up_keeps_what_came(server, cache):
    real = part.Part.append

    def append(self, chunk):
        if self.size + len(chunk) > BROKEN_AT:
            real(self, chunk[: BROKEN_AT - self.size])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, chunk)

    with (
        pytest.MonkeyPatch.context() as patch,
        refusal(
            f"{cache}/base.pt cannot be written (No space left on device); what came is kept: "
            "make room or choose another --cache"
        ),
    ):
        patch.setattr(part.Part, "append", append)
        get(server, cache)
    assert_part(cache)
    get(server, cache)
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


def test_no_network_is_said_at_once(server, cache, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", unknown)
        patch.setattr(download.time, "sleep", None)
        with refusal(
            "nowhere.example cannot be reached (Name or service not known): check the "
            "network, or give another --url"
        ):
            fetch("base", cache, "http://nowhere.example/", progress=False)
    server.shutdown()
    server.server_close()
    with refusal(
        "127.0.0.1 cannot be reached (Connection refused): check the network, or give another --url"
    ):
        get(server, cache)
    assert names_in(cache) == []


def test_a_network_that_goes_away_is_waited_for(server, cache, monkeypatch):
    server.script = [{"until": BROKEN_AT}]
    real, down = socket.getaddrinfo, [True, True]

    def getaddrinfo(*args, **kwargs):
        if server.requests and down:
            down.pop()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    get(server, cache)
    assert not down
    assert_whole(cache)


def test_another_protocol_at_the_port_is_one_sentence(server, cache):
    url = server.url.replace("http:", "https:")
    with pytest.raises(OSError, match=r"^127\.0\.0\.1 speaks no TLS that can be understood \(\w+"):
        fetch("base", cache, url, progress=False)
    assert names_in(cache) == []


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_signed_is_one_sentence(server, cache, tmp_path):
    made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
            *("-keyout", made[0], "-out", made[1]),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with refusal(
        "127.0.0.1 shows a certificate that is not trusted (self-signed certificate): check the "
        "clock and the certificates of this machine, or give another --url"
    ):
        fetch("base", cache, server.url.replace("http:", "https:"), progress=False)
    assert names_in(cache) == []


def wait_for(condition):
    """Returns once a condition holds; fails after a minute."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def has_come(cache, size=BROKEN_AT):
    beside = cache / "base.pt.part"
    return beside.exists() and beside.stat().st_size == size


def start(server, cache, *options):
    """The command as a process."""
    arguments = ("fetch", "base", "--url", server.url, "--cache", str(cache), *options)
    return subprocess.Popen(
        [sys.executable, "-m", "glide_jax.released", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, errors = process.communicate()
    return process.returncode, out, [line.split("\r")[-1] for line in errors.splitlines()]


def test_after_kill_9_the_same_command_goes_on(server, cache):
    server.script = [{"until": BROKEN_AT, "hold": "end"}]
    process = start(server, cache)
    wait_for(lambda: has_come(cache))
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert_part(cache)
    code, out, _ = finish(start(server, cache))
    assert (code, out) == (0, f"{cache}/base.pt\n")
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


def test_killed_before_the_last_rename_nothing_is_asked_for_again(server, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(part.os, "fsync", lambda number: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get(server, cache)
    assert_part(cache, len(CONTENT))
    get(server, cache)
    assert len(server.requests) == 1
    assert_whole(cache)


def test_ctrl_c_keeps_what_came_and_says_so(server, cache):
    server.script = [{"until": BROKEN_AT, "hold": "end"}]
    process = start(server, cache)
    wait_for(lambda: has_come(cache))
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert code == 130 and errors[-2:] == [
        "what came is kept: the same command goes on from there",
        "released: interrupted",
    ]
    assert_part(cache)


def test_a_full_disk_is_exit_code_2_and_one_sentence(server, cache):
    with only_small_files():
        process = start(server, cache)
    code, _, errors = finish(process)
    assert code == 2 and errors[-1] == (
        f"released: {cache}/base.pt cannot be written (File too large); what came is kept: "
        "make room or choose another --cache"
    )
    assert_part(cache, 100_000)
    assert finish(start(server, cache))[0] == 0
    assert server.ranges == [None, "bytes=100000-"]
    assert_whole(cache)


def test_a_second_process_waits_for_the_first(server, cache):
    server.script = [{"until": BROKEN_AT, "hold": "end"}]
    first = start(server, cache)
    wait_for(lambda: has_come(cache))
    second = start(server, cache)
    line = second.stderr.readline()
    assert line == f"{cache}/base.pt.part is another process's: waiting for it\n"
    server.go_on.set()
    for process in (first, second):
        code, out, _ = finish(process)
        assert (code, out) == (0, f"{cache}/base.pt\n")
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


def test_the_second_goes_on_where_the_first_was_killed(server, cache):
    server.script = [{"until": BROKEN_AT, "hold": "end"}]
    first = start(server, cache)
    wait_for(lambda: has_come(cache))
    second = start(server, cache)
    assert "waiting" in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    finish(first)
    assert finish(second)[0] == 0
    assert server.ranges == [None, f"bytes={BROKEN_AT}-"]
    assert_whole(cache)


def test_many_at_once_fetch_once(server, cache):
    threads = [threading.Thread(target=get, args=(server, cache)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert_whole(cache)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mirror (ü)"
    folder.mkdir()
    (folder / "base.pt").write_bytes(CONTENT)
    return folder


@pytest.mark.parametrize("way", [str, Path, Path.as_uri, lambda path: f"{path.as_uri()}/"])
def test_a_folder_is_copied_from(folder, cache, way):
    fetch("base", cache, way(folder), progress=False)
    assert_whole(cache)
    (folder / "base.pt").unlink()
    fetch("base", cache, way(folder), progress=False)


def test_a_folder_is_checked_too(folder, cache):
    with refusal(f"{folder.as_uri()}/upsample.pt cannot be read (No such file or directory)"):
        fetch("upsample", cache, folder, progress=False)
    (folder / "base.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with refusal(f"{folder.as_uri()}/base.pt is no PyTorch checkpoint: it begins with b'vers'"):
        fetch("base", cache, folder, progress=False)
    assert names_in(cache) == []


def test_a_file_that_was_changed_or_cut_is_found_out(server, cache):
    path = get(server, cache)
    changed = bytearray(CONTENT)
    changed[1000] ^= 1
    path.write_bytes(changed)
    get(server, cache)  # the size is right
    with refusal(
        f"{path} has the SHA-256 {hashlib.sha256(changed).hexdigest()}, not {SHA256} as when it "
        "was fetched: remove it and fetch it again"
    ):
        get(server, cache, verify=True)
    path.write_bytes(CONTENT[:-1])
    with refusal(
        f"{path} has 300003 bytes, not 300004 as when it was fetched: remove it and fetch it again"
    ):
        get(server, cache)
    path.unlink()
    get(server, cache)
    assert_whole(cache)


def test_a_file_put_there_by_hand_is_taken_and_known(server, cache):
    cache.mkdir()
    path = cache / "base.pt"
    path.write_bytes(b"<html>")
    with refusal(f"{path} is no PyTorch checkpoint: it begins with b'<htm'"):
        fetch("base", cache)
    path.write_bytes(CONTENT)
    assert fetch("base", cache) == path
    assert_whole(cache)
    with refusal(
        f"{path} was put there by hand, not from {server.url}/base.pt: remove it or choose another "
        "--cache"
    ):
        get(server, cache)
    assert server.requests == []


def test_a_file_from_elsewhere_is_not_given_for_another(server, cache, folder):
    path = get(server, cache)
    with refusal(
        f"{path} is from {server.url}/base.pt, not from {folder.as_uri()}/base.pt: remove it or "
        "choose another --cache"
    ):
        fetch("base", cache, folder)
    assert fetch("base", cache) == path


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("GLIDE_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("/home/somebody/.cache/glide_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/glide_jax")
    monkeypatch.setenv("GLIDE_JAX_CACHE", "/weights")
    assert cache_folder() == Path("/weights")
    monkeypatch.setenv("GLIDE_JAX_CACHE", "")
    assert cache_folder() == Path("/caches/glide_jax")


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["released", *arguments])
    cli.entry_point(command.main, "released")


def test_the_command_prints_where_files_are_and_shows_progress(server, cache, monkeypatch, capsys):
    monkeypatch.setenv("GLIDE_JAX_CACHE", str(cache))
    call(monkeypatch, "fetch", "base", "glide-clip", "--url", server.url)
    out, errors = capsys.readouterr()
    assert out == f"{cache}/base.pt\n{cache}/clip_image_enc.pt\n{cache}/clip_text_enc.pt\n"
    assert "base.pt: 100%" in errors and "300k/300k" in errors and "B/s]" in errors


MODELS = "base, upsample, base-inpaint, upsample-inpaint"
KNOWN = f"known: {MODELS}, clip-image-enc, clip-text-enc, clip"
BAD = [
    ([], "the command comes first; known: fetch, convert, export"),
    (["fech"], "there is no command 'fech'; known: fetch, convert, export"),
    (["fetch"], f"there is nothing to fetch; {KNOWN}"),
    (["fetch", "base", "bas"], f"there is no published model 'bas'; {KNOWN}"),
    (
        ["fetch", "clip-text-enc", "--convert"],
        f"there is no published model 'clip-text-enc'; known: {MODELS}, clip",
    ),
    (["fetch", "base", "--curl", "x"], "Unrecognized options: --curl, x"),
    (
        ["fetch", "base", "--url", "gs://x"],
        "--url is 'gs://x'; allowed: an http, https or file address, or a folder",
    ),
    (["fetch", "base", "--url", "nowhere"], "--url is 'nowhere'; allowed: an http, https or"),
    (["fetch", "base", "--url", "http://a:b"], "http://a:b/base.pt is no address (nonnumeric"),
    (["fetch", "base", "--url", "http://[x"], "--url is 'http://[x'; allowed: an http, https or"),
    (["fetch", "base", "--url", "{server}", "--cache", "{file}"], "{file}/base.pt cannot be"),
    (["fetch", "base", "--url", "{server}", "--cache", "/proc/x"], "/proc/x/base.pt cannot be"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_sentence_and_leaves_nothing(
    arguments, message, server, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLIDE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    places = {"file": tmp_path / "file", "server": server.url}
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *(argument.format(**places) for argument in arguments))
    out, errors = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and errors.count("\n") == 1
    assert errors.startswith(f"released: {message.format(**places)}")
    assert server.requests == []
    assert not any(path.is_file() for path in (tmp_path / "cache").glob("*"))


def test_help_knows_the_commands_and_their_options(capsys):
    command.main(["--help"])
    assert "fetch: brings the published checkpoints into a cache" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        command.main(["fetch", "--help"])
    out = capsys.readouterr().out
    assert not stop.value.code and all(f"--{name}" in out for name in ("url", "cache", "verify"))
