"""A person chooses between generators, not knowing which: python evaluate.py duel A B.

A page on this machine shows two pictures of the same caption; each choice is written down at once.
"""

import base64
import contextlib
import html
import http.server
import json
import sys
import urllib.parse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from glide_jax import cli
from glide_jax.evaluation import duels, results
from glide_jax.evaluation.options import check_several
from glide_jax.evaluation.pictures import open_pictures, read_whole
from glide_jax.evaluation.report import STYLE, page, png
from glide_jax.evaluation.scores import in_words
from glide_jax.files import read_text, write_text

HOST = "127.0.0.1"
SIDES = ("left", "right")
PAIR_STYLE = """
.pair { display: flex; gap: 2rem; flex-wrap: wrap } .pair img { width: 22rem; max-width: 45vw }
fieldset { border: 0; padding: .5rem 0 } label { margin-right: 2rem } button { padding: .5rem 2rem }
"""


@dataclass(frozen=True)
class Arguments:
    """Has a person choose the more realistic and the better fitting of two generators' pictures."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Folders of captioned pictures, one for each generator: two or more."""
    num: int = 100
    """Pairs; fewer where there are fewer captions."""
    seed: int = 0
    """Of the pairs and their sides; each person should have another, and a folder of their own."""
    port: int = 8000
    """Of the page, which only this machine sees."""
    out: Path = Path("evaluations/duel")
    """The folder of choices.jsonl and results.json; the same command goes on where it stopped."""

    def __post_init__(self):
        check_several("duel", self.images)
        if self.num < 1:
            raise ValueError(f"--num is {self.num}; it must be 1 or more")
        cli.check_port(self.port)


class Duel:
    """The pairs, and the choices so far, which `choose` adds to."""

    def __init__(self, arguments):
        self.names, self.out = list(arguments.images), arguments.out
        sets = [open_pictures(path) for path in self.names]
        for each in sets:
            if each.source is None or each.captions is None:
                raise ValueError(
                    f"{each.path} has no captioned pictures; duel takes folders of them"
                    + (f" ({each.uncaptioned})" if each.uncaptioned else "")
                )
        self.sources = [each.source for each in sets]
        self.pairs = duels.make_pairs([s.captions for s in sets], arguments.num, arguments.seed)
        self.is_told = False  # that all pairs are decided
        for pair in self.pairs:
            for side in SIDES:
                self._read(getattr(pair, side))  # a broken one is told before the page is there
        self.path = self.out / "choices.jsonl"
        lines = read_text(self.path).splitlines() if self.path.exists() else []
        self.choices = [json.loads(line) for line in lines]
        for choice, pair in zip(self.choices, self.pairs, strict=False):
            if not choice.items() >= self._told(pair).items():
                raise ValueError(f"{self.path} holds choices of other pairs; give another --out")

    def _told(self, pair):
        """A pair as choices.jsonl names it."""
        sides = {side: self.names[getattr(pair, side)[0]] for side in SIDES}
        return {"caption": pair.caption} | sides

    @property
    def is_over(self):
        """Whether all pairs are decided."""
        return len(self.choices) >= len(self.pairs)

    def choose(self, number, sides):
        """Writes down the choice of a pair; one that is decided, or incomplete, changes nothing.

        Args:
            number: of the pair.
            sides: left or right by question.
        """
        if self.is_over or number != len(self.choices) or sides.keys() != duels.QUESTIONS.keys():
            return
        if not set(sides.values()) <= set(SIDES):
            return
        told = self._told(self.pairs[number])
        self.choices.append(told | {question: told[side] for question, side in sides.items()})
        self.out.mkdir(parents=True, exist_ok=True)
        write_text(self.path, "".join(json.dumps(choice) + "\n" for choice in self.choices))
        told = duels.summary(self.names, self.choices) | {"versions": results.versions()}
        write_text(self.out / "results.json", json.dumps(told, indent=1) + "\n")

    def page(self):
        """The next pair as HTML, which names no generator."""
        if self.is_over:
            return page("Duel", "<p>All pairs are decided. Thank you.</p>", STYLE)
        pair, number = self.pairs[len(self.choices)], len(self.choices)
        images = "".join(self._image(getattr(pair, side), side) for side in SIDES)
        body = (
            f"<h1>{html.escape(pair.caption)}</h1><p>{number + 1} of {len(self.pairs)}</p>"
            f'<div class="pair">{images}</div><form method="post" action="/">'
            f'<input type="hidden" name="pair" value="{number}">'
            f"{''.join(map(_question, duels.QUESTIONS))}<button>Next</button></form>"
        )
        return page("Duel", body, STYLE + PAIR_STYLE)

    def _read(self, place):
        """A picture as it is, square or not, uint8 [H, W, 3]; a ValueError if broken."""
        generator, index = place
        return np.asarray(read_whole(self.sources[generator], index)[1])

    def _image(self, place, side):
        # Decoded and written anew: a file's metadata could name its generator.
        uri = base64.b64encode(png(self._read(place))).decode()
        return f'<img alt="{side}" src="data:image/png;base64,{uri}">'


def _question(name):
    """A question with its two answers, as HTML."""
    answers = "".join(
        f'<label><input type="radio" name="{name}" value="{side}" required> {side}</label>'
        for side in SIDES
    )
    return f"<fieldset><legend>{duels.QUESTIONS[name]}</legend>{answers}</fieldset>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Shows a Duel's next pair, and takes its choice."""

    # Seconds: connections are served one by one, and a browser opens some that it does not use.
    timeout = 2

    def __init__(self, duel, *request):
        self.duel = duel
        super().__init__(*request)

    def do_GET(self):
        """The page; a browser asks for an icon, too, which there is not."""
        if self.path != "/":
            self.send_error(404)
            return
        is_over, content = self.duel.is_over, self.duel.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.duel.is_told = is_over

    def do_POST(self):
        """A choice, then the page again."""
        length = int(self.headers.get("Content-Length", 0))
        sent = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
        number = sent.pop("pair", "")
        if number.isdigit():
            self.duel.choose(int(number), sent)
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def log_message(self, *_):
        """Nothing is logged: choices are in the file."""


def table(found):
    """What `duels.summary` gives, as a table to read."""
    yield "| question | generator | wins | Elo |"
    yield "|---|---|---|---|"
    for question in duels.QUESTIONS:
        for name, own in found[question].items():
            low, high = own["elo"]["interval"]
            rating = f"{own['elo']['value']:+.0f} ({low:+.0f} to {high:+.0f})"
            yield f"| {question} | {name} | {in_words(own['win_rate'])} | {rating} |"


def _serve(duel, port):
    """Shows the pairs until all are decided, and the page that says so; or until Ctrl-C."""
    try:
        server = http.server.HTTPServer((HOST, port), partial(Handler, duel))
    except OSError as error:
        raise ValueError(f"--port is {port}, but {error.strerror}; give another") from None
    print(f"http://{HOST}:{port}/ shows the pairs; Ctrl-C ends", file=sys.stderr)
    with server, contextlib.suppress(KeyboardInterrupt):
        while not duel.is_told:
            server.handle_request()


def main(arguments, _):
    """Parses, serves until all is decided or Ctrl-C, tells."""
    parsed = cli.parse(Arguments, arguments, "evaluate.py duel", __doc__)
    results.check_folder(parsed.out, adds=False)
    duel = Duel(parsed)
    if not duel.is_over:
        _serve(duel, parsed.port)
    if duel.choices:
        print("\n".join(table(duels.summary(duel.names, duel.choices))))
    print(f"{parsed.out}: {len(duel.choices)} of {len(duel.pairs)} pairs", file=sys.stderr)
