"""The served page with a model that ships: fifty requests again and again, a kill, a new start."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import web_requests
from tests.test_processes import free_address

pytest.importorskip("gradio", reason="Gradio is not installed: requirements-web.txt")


def serve(port):
    """The page as a process, once it has drawn its first picture, and the seconds until then."""
    command = [sys.executable, "-m", "glide_jax.web", "--port", str(port)]
    since = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    while process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    assert web_requests.draw(address, 7) == 7
    return process, time.perf_counter() - since


def end(process):
    process.kill()
    process.wait()


def mebibytes(process):
    """That the process holds at this moment."""
    told = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_and_a_page_that_was_killed_draws_again_within_twenty_seconds():
    port = int(free_address().rpartition(":")[2])
    process, first = serve(port)
    try:
        held = []
        for _ in range(4):
            assert web_requests.at_once(f"http://127.0.0.1:{port}/", 50) == list(range(50))
            held.append(mebibytes(process))
        end(process)
        process, again = serve(port)
    finally:
        end(process)
    print(f"first picture {first:.1f} s after the start, {again:.1f} s after the kill;", end=" ")
    print("MiB after each fifty:", *map(round, held))
    assert held[3] < held[1] + 32
    assert again < 20
