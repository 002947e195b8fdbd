"""The figures in the docs: each row names the model that made it, which is still that one."""

import json
import pathlib
from types import SimpleNamespace

import pytest

from glide_jax import checkpoint, model_folder
from glide_jax.evaluation import pictures, reference, results

RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "results"


def rows():
    """(file name, row) of every row under docs/results."""
    for path in sorted(RESULTS.rglob("*.json")):
        for row in json.loads(path.read_text())["rows"]:
            yield path.name, row


def test_drawn_pictures_of_shapes_keep_the_names_that_their_verdicts_have():
    drawn = [row for _, row in rows() if "grid" in row]
    assert len(drawn) > 50
    for row in drawn:
        before = {name: value for name, value in row.items() if name != "reference"}
        assert row["grid"] == f"first/{row['split']}-{results.key_of(before)}.png"


def test_and_their_reference_its_hash():
    row = next(row for _, row in rows() if row.get("reference"))
    judge = SimpleNamespace(**row["features"])
    source, number = reference.open_real("shapes", row["split"], row["num"], 32)
    told = reference.about("shapes", row["split"], number, 32, source, judge)
    assert pictures.hash_of_json(told) == row["reference"]["hash"]


def made_with(row):
    """(name, hash) of each model that had a part in a row."""
    yield row["model"], row["model_hash"]
    if "base_model" in row:
        yield row["base_model"], row["base_model_hash"]
    for part in (row.get("features"), row.get("judge")):
        if part:
            yield part["name"], part["hash"]
    for name, own_hash in (("clip", "clip_hash"), ("rerank_model", "rerank_hash")):
        if name in row.get("settings", {}):
            yield row["settings"][name], row["settings"][own_hash]


def stale(rows, hashes):
    """What was measured with a shipped model that is not the one of its name any more.

    A training (runs/NAME) that does not ship can only have led.
    """
    return [
        f"{file}: {name} {own}, now {hashes[name]}"
        for file, row in rows
        for name, own in made_with(row)
        if not (name.startswith("runs/") and name == row["settings"].get("clip"))
        and own != hashes[name]
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


def test_a_training_may_have_led_that_does_not_ship():
    row = {"model": "base", "model_hash": "1"}
    row["settings"] = {"clip": "runs/clip", "clip_hash": "1"}
    assert stale([("x.json", row)], {"base": "1"}) == []
    assert stale([("x.json", row)], {"base": "2"}) == ["x.json: base 1, now 2"]
    with pytest.raises(KeyError):
        stale([("x.json", row | {"model": "runs/base"})], {"base": "1"})


def test_so_is_a_changed_network_that_judged_led_or_chose():
    hashes = dict.fromkeys(("base", "features", "judge", "leader", "chooser"), "1")
    row = {"model": "base", "model_hash": "1"}
    row |= {part: {"name": part, "hash": "1"} for part in ("features", "judge")}
    row["settings"] = {"clip": "leader", "clip_hash": "1"}
    row["settings"] |= {"rerank_model": "chooser", "rerank_hash": "1"}
    assert stale([("x.json", row)], hashes) == []
    for name in hashes:
        assert stale([("x.json", row)], hashes | {name: "2"}) == [f"x.json: {name} 1, now 2"]
