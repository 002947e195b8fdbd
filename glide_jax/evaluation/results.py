"""Figures that are kept: the rows of results.json."""

import hashlib
import json

from glide_jax.evaluation.shapes_test import versions as versions
from glide_jax.files import read_text, write_text

# What a row's figures depend on; each measure has those that it needs.
INPUTS = ("measure", "model_hash", "data", "split", "num", "among", "settings")


def key_of(row):
    """What tells one row from another: all that its figures depend on."""
    text = json.dumps({name: row[name] for name in INPUTS if name in row}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def add_row(path, row):
    """Puts a row into results.json, in the place of one that measured the same."""
    rows = json.loads(read_text(path))["rows"] if path.exists() else []
    rows = [old for old in rows if key_of(old) != key_of(row)] + [row]
    write_text(path, json.dumps({"rows": rows}, indent=1) + "\n")
