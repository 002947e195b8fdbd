"""Model folders: what is written is read back, and what is broken is named."""

import json

import jax
import numpy as np
import pytest

from glide_jax import checkpoint, model_folder
from glide_jax.files import written_whole
from glide_jax.text.tokenizer import NoTokenizer
from tests import tiny


@pytest.fixture
def folder(tmp_path, tokenizer, params):
    model_folder.save_model(tmp_path / "model", tiny.MODEL, tokenizer, params)
    return tmp_path / "model"


def test_a_model_comes_back(folder, tokenizer, params):
    model, read, restored = checkpoint.load_model(folder)
    assert model == tiny.MODEL
    assert read.to_json() == tokenizer.to_json()
    jax.tree.map(np.testing.assert_array_equal, restored, params)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "params.safetensors",
        "tokenizer.json",
    ]


def test_half_precision_halves_the_file_and_rounds_once(folder, tmp_path, tokenizer, params):
    model_folder.save_model(tmp_path / "half", tiny.MODEL, tokenizer, params, dtype="float16")
    sizes = [(f / "params.safetensors").stat().st_size for f in (folder, tmp_path / "half")]
    assert 1.9 < sizes[0] / sizes[1] < 2
    _, _, restored = checkpoint.load_model(tmp_path / "half")
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, restored, rounded)


def test_an_unknown_model_is_named_with_those_that_ship(tmp_path):
    with pytest.raises(ValueError, match="there is no model 'corgi'.*one of .*shapes32"):
        checkpoint.load_model("corgi")
    with pytest.raises(ValueError, match="there is no model"):
        checkpoint.load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "its kind and format are 'diffusion' and 99; known: diffusion, "),
        (
            {"kind": "gan"},
            "are 'gan' and 1; known: diffusion, clip, classifier, tagger and 1",
        ),
        ({"kind": ["clip"]}, "is not a model that can be read"),
        ({"model": {"units": 1}}, "Diffusion has no field 'units'"),
    ],
)
def test_a_folder_of_another_kind_is_refused(folder, change, message):
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | change))
    with pytest.raises(ValueError, match=message):
        checkpoint.load_model(folder)


def test_transposed_views_are_written_in_their_own_order(folder, params):
    views = jax.tree.map(lambda leaf: np.ascontiguousarray(leaf.T).T, params)
    assert not all(leaf.flags.c_contiguous for leaf in jax.tree.leaves(views))
    model_folder.save_params(folder / "params.safetensors", views)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load_model(folder)[2], params)


def test_a_broken_config_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a model that can be read"):
        checkpoint.load_model(folder)


def test_parameters_that_do_not_fit_are_named(folder, params):
    path = folder / "params.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="params.safetensors cannot be read"):
        checkpoint.load_model(folder)
    text = {
        name: leaf for name, leaf in params["text_encoder"].items() if name != "padding_embedding"
    }
    model_folder.save_params(path, {"text_encoder": text, "unet": params["unet"]})
    with pytest.raises(ValueError, match="config.json: look at text_encoder/padding_embedding$"):
        checkpoint.load_model(folder)
    text = params["text_encoder"] | {"padding_embedding": np.zeros((3, 3))}
    model_folder.save_params(path, {"text_encoder": text, "unet": params["unet"]})
    with pytest.raises(ValueError, match="look at text_encoder/padding_embedding$"):
        checkpoint.load_model(folder)


def test_a_number_that_is_missing_is_named(tmp_path):
    model, tokenizer, params = checkpoint.load_model("shapes-clip", kind="clip")
    del params["logit_scale"]
    model_folder.save_description(tmp_path, model, tokenizer)
    model_folder.save_params(tmp_path / "params.safetensors", params)
    with pytest.raises(ValueError, match="does not fit its config.json: look at logit_scale$"):
        checkpoint.load_model(tmp_path, kind="clip")


def test_a_broken_tokenizer_is_named(folder):
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match="its tokenizer cannot be read"):
        checkpoint.load_model(folder)


def test_a_model_without_a_tokenizer_knows_the_empty_caption(folder, tmp_path, tokenizer):
    (folder / "tokenizer.json").unlink()
    model, none, params = checkpoint.load_model(folder)
    for rows, same in zip(none.encode([""] * 2), tokenizer.encode([""] * 2), strict=True):
        np.testing.assert_array_equal(rows, same)
        assert rows.dtype == same.dtype
    with pytest.raises(ValueError, match="no tokenizer, and so no tokens for 'a', only for the em"):
        none.encode(["", "a"])
    model_folder.save_model(tmp_path / "again", model, none, params)
    names = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert names == ["config.json", "params.safetensors"]


def test_a_tokenizer_of_another_model_does_not_stay(folder, params):
    model_folder.save_model(folder, tiny.MODEL, NoTokenizer(tiny.MODEL.text), params)
    assert isinstance(model_folder.load_description(folder)[1], NoTokenizer)


def test_a_folder_without_parameters_is_refused_and_left_alone(folder):
    (folder / "params.safetensors").unlink()
    with pytest.raises(ValueError, match="holds neither params.safetensors nor a run"):
        checkpoint.load_model(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "tokenizer.json"]


def test_nothing_half_written_is_left(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_whole(target) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_ships_is_small_whole_and_has_a_card():
    sizes = {}
    for name in model_folder.pretrained_names():
        shipped = model_folder.PRETRAINED / name
        kind = json.loads((shipped / "config.json").read_text())["kind"]
        model, _, params = checkpoint.load_model(name, kind=kind)
        assert jax.tree.map(np.shape, params) == jax.tree.map(
            lambda leaf: leaf.shape, model_folder.param_shapes(model)
        )
        assert (shipped / "README.md").read_text().startswith(f"# {name}\n")
        sizes[name] = sum(file.stat().length for file in shipped.iterdir())
    assert {"shapes32", "shapes32-inpaint", "shapes-upsample"} <= set(sizes)
    assert max(sizes.values()) <= 6 * 2**20 and sum(sizes.values()) <= 24 * 2**20
