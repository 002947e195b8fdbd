"""The figures in the docs: each row names the model that made it, which is still that one."""

import json
import pathlib

import pytest

from glide_jax import checkpoint, model_folder

RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "results"


def rows():
    """(file name, row) of every row under docs/results."""
    for path in sorted(RESULTS.rglob("*.json")):
        for row in json.loads(path.read_text())["rows"]:
            yield path.name, row


def stale(rows, hashes):
    """What was measured with a model that is not the one of its name any more."""
    return [
        f"{file}: {row[role]} {row[f'{role}_hash']}, now {hashes[row[role]]}"
        for file, row in rows
        for role in ("model", "base_model")
        if role in row and row[f"{role}_hash"] != hashes[row[role]]
    ]


@pytest.fixture(scope="module")
def hashes():
    def of(name):
        kind = json.loads((model_folder.PRETRAINED / name / "config.json").read_text())["kind"]
        return model_folder.model_hash(*checkpoint.load_model(name, kind=kind))

    return {name: of(name) for name in model_folder.pretrained_names()}


def test_no_figure_is_of_a_model_that_has_changed_since(hashes):
    assert stale(rows(), hashes) == []


def test_a_changed_model_is_told():
    old = {"model": "shapes32", "model_hash": "0" * 16}
    assert stale([("x.json", old)], {"shapes32": "1" * 16}) == [
        f"x.json: shapes32 {'0' * 16}, now {'1' * 16}"
    ]


def test_so_is_a_changed_model_whose_pictures_were_enlarged():
    row = {"model": "up", "model_hash": "1", "base_model": "base", "base_model_hash": "2"}
    assert stale([("x.json", row)], {"up": "1", "base": "2"}) == []
    assert stale([("x.json", row)], {"up": "1", "base": "3"}) == ["x.json: base 2, now 3"]
