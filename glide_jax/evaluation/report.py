"""A page of results that stands alone: figures, pictures, seeds and versions in one HTML file."""

import base64
import html
import io
import json

from PIL import Image

from glide_jax.evaluation import naming
from glide_jax.evaluation.results import METRICS
from glide_jax.files import write_text
from glide_jax.images import enlarge

STYLE = """
:root { color-scheme: light dark; --ink: #22272e; --page: #fff; --line: #d9dde2; --faint: #66707b }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e6ea; --page: #16191d; --line: #363c44; --faint: #98a2ad }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
td small { display: block; color: var(--faint) }
img { max-width: 100%; image-rendering: pixelated }
pre { overflow-x: auto; color: var(--faint); font-size: 12px }
"""
LEAST = 512  # pixels of a grid's longer side


def write(path, command, rows, pictures):
    """Writes the page.

    Args:
        path: of the .html file.
        command: the command line that made the results, as one string.
        rows: results, as results.json has them.
        pictures: the bytes of PNG files by title: grids, curves.
    """
    body = [
        "<h1>Evaluation</h1>",
        f"<pre>{html.escape(command)}</pre>",
        f'<div class="wide"><table>{"".join(_lines(rows))}</table></div>',
        "<p><small>In brackets: 95 % intervals. n is the number of pictures.</small></p>",
        *(
            f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="{_uri(content)}">'
            for title, content in pictures.items()
        ),
        "<h2>Settings, seeds and versions</h2>",
        *(f"<pre>{html.escape(json.dumps(_told(row), indent=1))}</pre>" for row in rows),
    ]
    write_text(path, page("Evaluation", "\n".join(body), STYLE))


def page(title, body, style, script=""):
    """A whole HTML page that loads nothing."""
    scripts = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n"
        f"<body>\n{body}\n{scripts}</body></html>\n"
    )


def names_of(rows):
    """What each row is of: the place of pictures, or a model with how it was sampled."""
    others = [name for name in naming.differing(rows) if name != "split"]
    return [_name_of(row, others) for row in rows]


def _name_of(row, others):
    if "images" in row:
        return row["images"]["path"]
    from glide_jax.evaluation import guided

    own = row["settings"]
    parts = [row["model"], row["split"], f"guidance {guided.in_words(own)}"]
    parts += [own["sampler"], f"{own['steps']} steps"]
    return ", ".join(parts + naming.in_words(row, others))


def _lines(rows):
    """The table's rows: a header, then one for each of the results."""
    names = [name for name in METRICS if any(name in row for row in rows)]
    heads = "".join(f"<th>{name}</th>" for name in names)
    yield f"<tr><th></th>{heads}</tr>"
    for title, row in zip(names_of(rows), rows, strict=True):
        cells = "".join(f"<td>{_cell(row.get(name))}</td>" for name in names)
        yield f"<tr><td>{html.escape(title)}</td>{cells}</tr>"


def _cell(found):
    if found is None:
        return ""
    low, high = (f"{end:.4g}" for end in found["interval"])
    return f"{found['value']:.4g}<small>({low} to {high}), n {found['n']}</small>"


def _told(row):
    """What a row says beside its metrics."""
    return {name: value for name, value in row.items() if name not in METRICS}


def png(image):
    """A picture, uint8 [H, W, 3], enlarged, as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(enlarge(image, LEAST)).save(file, "PNG")
    return file.getvalue()


def _uri(content):
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
