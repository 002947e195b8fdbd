"""Figures that are kept: verdicts as they are made, and the rows of results.json."""

import hashlib
import json
import platform

from etils import epath
from tqdm import tqdm

import glide_jax
from glide_jax import cli
from glide_jax.files import read_text, write_text

METRICS = ("fid", "kid", "inception_score", "precision", "recall", "clip_score", "caption_accuracy")
CHUNK = 64  # items whose verdicts are kept at a time

# What a row's figures depend on; each measure has those that it needs.
INPUTS = (
    *("measure", "model_hash", "base_model_hash", "data", "split", "captions", "captions_hash"),
    *("num", "shuffle", "among", "settings", "upsampler_hash", "features", "judge", "reference"),
)


def key_of(row):
    """What tells one row from another: all that its verdicts depend on."""
    text = json.dumps({name: row[name] for name in INPUTS if name in row}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def add_row(path, row):
    """Puts a row into results.json, in the place of one that measured the same.

    Its metrics are also beside the rows, as `evaluate.py --images` has them.
    """
    rows = json.loads(read_text(path))["rows"] if path.exists() else []
    rows = [old for old in rows if key_of(old) != key_of(row)] + [row]
    newest = {name: row[name] for name in METRICS if name in row}
    write_text(path, json.dumps(newest | {"rows": rows}, indent=1) + "\n")


def check_folder(folder, adds):
    """Raises a ValueError, before the work, where results.json could not be written or held others.

    Args:
        folder: of --out.
        adds: whether rows are added to the file, as a model's are; else it is written anew.
    """
    cli.check_folder("--out", folder)
    path = folder / "results.json"
    if not path.exists():
        return
    try:
        rows = json.loads(read_text(path)).get("rows")
    except (ValueError, AttributeError):
        raise ValueError(f"{path} is none of evaluate.py's: remove it, or give --out") from None
    has_added = rows is not None and all("images" not in row for row in rows)
    if has_added != adds:
        held = "rows of models, which would be lost" if has_added else "no rows of models"
        raise ValueError(f"{path} has {held}: give another folder as --out")


def hash_of(pipeline):
    """What the model of a Pipeline is, in 16 digits."""
    from glide_jax.model_folder import model_hash  # --help need not wait for JAX

    return model_hash(pipeline.model, pipeline.tokenizer, pipeline.params)


def versions() -> dict:
    """What a figure was made with."""
    import jax

    return {
        "glide_jax": glide_jax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
    }


def in_chunks(items, judge, kind, kept):
    """A verdict on each item, some at a time.

    Args:
        items: a list.
        judge: of some of them a list of verdicts.
        kind: the NamedTuple of a verdict.
        kept: a path. The verdicts are kept there, and a run that was broken off goes on from them.

    Returns:
        The verdicts, in the items' order.
    """
    kept = epath.Path(kept)
    lines = read_text(kept).splitlines() if kept.exists() else []
    verdicts = [kind(*json.loads(line)) for line in lines]
    with tqdm(total=len(items), initial=len(verdicts), desc=kept.stem, unit="picture") as bar:
        while len(verdicts) < len(items):
            new = judge(items[len(verdicts) : len(verdicts) + CHUNK])
            verdicts += new
            bar.update(len(new))
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_text(kept, "".join(json.dumps(verdict) + "\n" for verdict in verdicts))
    return verdicts
