"""evaluate.py duel: blind pairs, choices that stay, and what they come to."""

import base64
import io
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from http.server import HTTPServer

import numpy as np
import pytest
from PIL import Image

from glide_jax.evaluation import duel, duels
from glide_jax.images import save_png


def make_sets(folder, captions=("a star", "a dog", "a <b>tree")):
    """Two generators' pictures: the first one's are black, the second one's white."""
    for name, grey in (("dark", 0), ("light", 255)):
        (folder / name).mkdir()
        for number, caption in enumerate(captions):
            image = np.full((8, 8, 3), grey, np.uint8)
            save_png(folder / name / f"{number}.png", image, {"prompts": [caption], "model": name})
    return str(folder / "dark"), str(folder / "light")


def started(folder, sets, **options):
    return duel.Duel(duel.Arguments(images=sets, out=folder / "out", **options))


def test_pairs_have_one_caption_and_sides_at_random():
    captions = [f"caption {number}" for number in range(400)]
    pairs = duels.make_pairs([captions, captions[::-1]], 400, seed=0)
    assert sorted(pair.caption for pair in pairs) == sorted(captions)
    for caption, (one, here), (other, there) in pairs:
        own = [captions, captions[::-1]]
        assert {one, other} == {0, 1} and own[one][here] == own[other][there] == caption
    firsts = sum(pair.left[0] == 0 for pair in pairs)
    assert 150 < firsts < 250  # 200 +- 5 standard deviations
    with pytest.raises(ValueError, match="have no caption in common"):
        duels.make_pairs([["a"], ["b"]], 1, 0)


def test_elo_is_the_odds_of_winning():
    wins = np.array([[0, 30], [10, 0]])
    # With one drawn duel beside them the odds are 30.5 to 10.5.
    first, second = duels.elo(wins)
    assert first - second == pytest.approx(400 * np.log10(30.5 / 10.5), abs=1e-6)
    assert first + second == pytest.approx(0, abs=1e-9)
    beaten = duels.elo(np.array([[0, 20, 0], [0, 0, 20], [0, 0, 0]]))
    assert np.isfinite(beaten).all() and beaten[0] > beaten[1] > beaten[2]


def test_the_summary_counts_each_question_for_itself():
    names = ["a", "b"]
    decided = [
        {"left": "a", "right": "b", "more_realistic": "a", "better_match": "ab"[i % 2]}
        for i in range(20)
    ]
    found = duels.summary(names, decided)
    assert found["more_realistic"]["a"]["win_rate"]["value"] == 1
    assert found["more_realistic"]["b"]["win_rate"]["interval"][1] == pytest.approx(
        0.1611, abs=1e-4
    )
    rating = found["better_match"]["a"]["elo"]
    assert rating["value"] == 0 and rating["interval"][0] < -50 and rating["interval"][1] > 50


def test_choices_are_taken_by_the_page_and_gone_on_with(tmp_path):
    sets = make_sets(tmp_path)
    own = started(tmp_path, sets)
    with HTTPServer((duel.HOST, 0), partial(duel.Handler, own)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://{duel.HOST}:{server.server_port}/"
        for number in range(2):
            shown = urllib.request.urlopen(address).read().decode()
            left = ("left", "right")[number % 2]
            answer = f"pair={number}&more_realistic={left}&better_match=right".encode()
            urllib.request.urlopen(address, answer)
            urllib.request.urlopen(address, answer)  # sent twice, it counts once
        server.shutdown()
    # The page is blind: neither names nor the pictures' metadata tell the generators apart.
    body = re.sub('base64,[^"]+', "", shown.partition("<body>")[2])
    assert "alt=" in body and not re.search("dark|light|http", body)
    (first, second) = re.findall('base64,([^"]+)', shown)
    for encoded in (first, second):
        assert not Image.open(io.BytesIO(base64.b64decode(encoded))).info
    again = started(tmp_path, sets)
    assert len(again.choices) == 2 and not again.is_over
    for number, choice in enumerate(again.choices):
        side = ("left", "right")[number % 2]
        assert choice["more_realistic"] == choice[side]
        assert choice["better_match"] == choice["right"]
    again.choose(2, {"more_realistic": "left"})  # incomplete
    again.choose(2, {"more_realistic": "left", "better_match": "both"})
    assert len(again.choices) == 2
    again.choose(2, {"more_realistic": "left", "better_match": "left"})
    assert again.is_over and "All pairs are decided" in again.page()
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    wins = [each["win_rate"]["value"] for each in told["more_realistic"].values()]
    assert sum(wins) == pytest.approx(1, abs=1e-3)
    assert "| more_realistic | " in "\n".join(duel.table(told))
    with pytest.raises(ValueError, match="holds choices of other pairs; give another --out"):
        started(tmp_path, sets, seed=5)


def test_a_caption_is_shown_as_it_is(tmp_path):
    own = started(tmp_path, make_sets(tmp_path, ("a <b>tree",)))
    assert "a &lt;b&gt;tree" in own.page()


def test_pictures_are_shown_as_they_are_and_broken_ones_told_before(tmp_path):
    sets = make_sets(tmp_path, ("a star",))
    wide = np.zeros((8, 12, 3), np.uint8)
    save_png(tmp_path / "dark" / "0.png", wide, {"prompts": ["a star"]})
    shown = re.findall('base64,([^"]+)', started(tmp_path, sets).page())
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in shown]
    assert sorted(width / height for width, height in sizes) == [1, 1.5]
    (tmp_path / "dark" / "0.txt").write_text("a star")
    (tmp_path / "dark" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="0.png: .*; mend the picture or leave it out"):
        started(tmp_path, sets)


def test_neither_an_idle_connection_nor_an_icon_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(duel.Handler, "timeout", 0.2)
    own = started(tmp_path, make_sets(tmp_path, ("a star",)))
    with socket.create_server((duel.HOST, 0)) as free:
        port = free.getsockname()[1]
    serving = threading.Thread(target=duel._serve, args=(own, port), daemon=True)
    serving.start()
    idle = connected(port)
    own.choose(0, {"more_realistic": "left", "better_match": "right"})
    address = f"http://{duel.HOST}:{port}/"
    with pytest.raises(urllib.error.HTTPError, match="404") as absent:
        urllib.request.urlopen(f"{address}favicon.ico", timeout=5)
    absent.value.close()
    with urllib.request.urlopen(address, timeout=5) as last:
        assert b"All pairs are decided" in last.read()
    serving.join(5)
    idle.close()
    assert not serving.is_alive()


def connected(port):
    """A connection, as soon as something listens."""
    for _ in range(100):
        try:
            return socket.create_connection((duel.HOST, port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nothing listens")


def test_what_cannot_duel_is_refused(tmp_path):
    with pytest.raises(ValueError, match="duel is given one; give two or more"):
        duel.Arguments(images=("one",))
    with pytest.raises(ValueError, match="--port is 99999; it must be from 1 to 65535"):
        duel.Arguments(images=("one", "two"), port=99999)
    np.savez(tmp_path / "x.npz", np.zeros((2, 4, 4, 3), np.uint8))
    dark, _ = make_sets(tmp_path)
    with pytest.raises(ValueError, match="x.npz has no captioned pictures"):
        started(tmp_path, (dark, str(tmp_path / "x.npz")))
    (tmp_path / "dark" / "1.txt").write_text(" ")
    with pytest.raises(ValueError, match=r"dark has no captioned .* \(1.png: its caption is empty"):
        started(tmp_path, (dark, str(tmp_path / "light")))
