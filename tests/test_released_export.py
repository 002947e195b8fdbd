"""Models back to PyTorch's checkpoints: bit for bit what they were converted from."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import checkpoint, cli, model_folder, parallel
from glide_jax.released import __main__ as command
from glide_jax.released import torch_file
from glide_jax.released.convert import convert
from glide_jax.released.export import export
from glide_jax.released.names import clip_from_pytorch, from_pytorch
from glide_jax.text.tokenizer import NoTokenizer
from glide_jax.training.step import TrainState
from tests import released, tiny

pytestmark = pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")


def assert_same_bits(path, weights):
    found = torch_file.read(path)
    assert set(found) == set(weights)
    for name, array in weights.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", released.TOLD_OF)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_was_converted_comes_back_bit_for_bit(name, suffix, dtype, tmp_path):
    weights = released.state_dict(name, dtype)
    # Numbers that arithmetic would not keep.
    weights["out.2.bias"][:3] = np.nan, -np.inf, -0.0
    torch_file.write(tmp_path / "model.pt", weights)
    convert([tmp_path / "model.pt"], tmp_path / "model", released.TOLD_OF[name])
    export(tmp_path / "model", tmp_path / f"back{suffix}")
    assert_same_bits(tmp_path / f"back{suffix}", weights)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_clip_comes_back_as_its_two_towers(suffix, tmp_path):
    names = ("tiny-clip-image", "tiny-clip-text")
    files = [released.checkpoint(tmp_path / f"{name}.pt", name) for name in names]
    convert(files, tmp_path / "clip", released.TOLD_CLIP)
    back = export(tmp_path / "clip", tmp_path / f"clip{suffix}")
    assert [path.stem for path in back] == ["clip_image_enc", "clip_text_enc"]
    for name, path in zip(names, back, strict=True):
        assert_same_bits(path, released.state_dict(name))


def test_a_clip_with_a_scale_of_its_own_is_refused(tmp_path):
    model = released.clip_model()
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), model_folder.param_shapes(model))
    model_folder.save_model(tmp_path, model, NoTokenizer(model.text), params)
    with pytest.raises(ValueError, match="the logit scale is 1; the published code knows 100 only"):
        export(tmp_path, tmp_path / "clip.pt")
    assert not list(tmp_path.glob("*.pt"))


def begin_run(run, model, params):
    """A training run with one checkpoint, of these averaged weights, and without an end."""
    model_folder.save_description(run, model, NoTokenizer(model.text))
    checkpoint.save_recipe(run, tiny.RECIPE)
    others = jax.tree.map(np.zeros_like, params)
    state = TrainState(jnp.array(3), others, {"0.99": params}, ())
    with checkpoint.Checkpoints(run) as checkpoints:
        checkpoints.save(parallel.replicate(state))


def test_a_training_run_is_exported_before_its_end(tmp_path):
    model, name = released.model_of("tiny-text2im"), "tiny-text2im"
    weights = released.state_dict(name)
    params = from_pytorch(weights, model_folder.param_shapes(model))
    begin_run(tmp_path / "run", model, params)
    export(tmp_path / "run", tmp_path / "run.pt")
    assert_same_bits(tmp_path / "run.pt", weights)


def test_so_is_that_of_a_clip_whose_files_are_not_overwritten(tmp_path):
    names, model = ("tiny-clip-image", "tiny-clip-text"), released.clip_model()
    dicts = [released.state_dict(name) for name in names]
    begin_run(tmp_path / "run", model, clip_from_pytorch(*dicts, model_folder.param_shapes(model)))
    out = tmp_path / "clip.pt"
    command.main(["export", str(tmp_path / "run"), "--out", str(out)])
    files = [tmp_path / f"clip_{tower}_enc.pt" for tower in ("image", "text")]
    for file, weights in zip(files, dicts, strict=True):
        assert_same_bits(file, weights)
    files[0].unlink()
    with pytest.raises(ValueError, match="--out gives '.*clip_text_enc.pt', which is there alrea"):
        command.main(["export", str(tmp_path / "run"), "--out", str(out)])
    assert not files[0].exists()


@pytest.mark.parametrize("changed", [{"norm_groups": 16}, {"patch": 2}])
def test_what_the_published_code_cannot_have_is_refused(changed, tmp_path):
    model = released.model_of("tiny-text2im")
    model = replace(model, unet=replace(model.unet, attention_resolutions=(), **changed))
    ((name, value),) = changed.items()
    model_folder.save_description(tmp_path, model, NoTokenizer(model.text))
    with pytest.raises(ValueError, match=f"UNet.{name} of .* is {value}; the published code knows"):
        export(tmp_path, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_the_command_and_what_it_refuses(tmp_path, monkeypatch, capsys):
    path, out = released.checkpoint(tmp_path / "model.pt"), tmp_path / "back.pt"
    convert([path], tmp_path / "model", released.TOLD)
    command.main(["export", str(tmp_path / "model"), "--out", str(out)])
    assert capsys.readouterr().out == f"{out}\n"
    assert_same_bits(out, released.state_dict("tiny-text2im"))
    for arguments, message in (
        ((tmp_path / "model", "--out", out), f"--out gives '{out}', which is there already; rem"),
        ((tmp_path / "model", "--out", tmp_path / "x.npz"), "x.npz has none of the suffixes"),
        (
            (tmp_path / "model", "--out", tmp_path / "no" / "x.pt"),
            "x.pt cannot be written: No such",
        ),
        (("corgi", "--out", tmp_path / "x.pt"), "there is no model 'corgi'"),
        (("corgi",), "--out"),
    ):
        monkeypatch.setattr(sys, "argv", ["released", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.entry_point(command.main, "released")
        said = capsys.readouterr().err
        assert stop.value.code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "x.pt").exists()
