"""The published models as names: fetched, converted, and taken by the entry points."""

import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import sample
import train
from glide_jax import Pipeline, model_folder
from glide_jax.images import read_settings
from glide_jax.model_folder import find_model, load_description
from glide_jax.released import __main__ as command
from glide_jax.released import known
from glide_jax.released.fetch import fetch
from glide_jax.released.names import from_pytorch
from glide_jax.released.ready import ready
from glide_jax.training import loop, runs
from tests import released
from tests.test_cli import ROOT
from tests.test_upsample import read_image

pytestmark = pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")


@pytest.fixture
def mirror(tmp_path):
    """A folder that has four of the published files; the models in them are tiny."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    released.checkpoint(folder / "base.pt", "tiny-text2im")
    released.checkpoint(folder / "upsample.pt", "tiny-superres")
    released.checkpoint(folder / "clip_image_enc.pt", "tiny-clip-image")
    released.checkpoint(folder / "clip_text_enc.pt", "tiny-clip-text")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the tiny models are known."""
    monkeypatch.setenv("GLIDE_JAX_CACHE", str(tmp_path / "cache"))
    towers = dict.fromkeys(("tiny-clip-image", "tiny-clip-text"), released.TOLD_CLIP)
    for name, told in (released.TOLD_OF | towers).items():
        monkeypatch.setitem(known.KNOWN, known.digest(released.MANIFESTS[name]), told)
    return tmp_path / "cache"


def test_a_name_is_fetched_and_converted_once(mirror, cache):
    where = re.escape(f"{cache}/models")
    command = "python -m glide_jax.released fetch base --convert"
    with pytest.raises(ValueError, match=f"'glide-base' is not in {where}: bring .* by {command}$"):
        Pipeline.load("glide-base")
    folder = ready("glide-base", url=mirror, progress=False)
    assert folder == cache / "models" / "glide-base" == Path(find_model("glide-base"))
    assert load_description(folder)[0] == released.model_of("tiny-text2im")
    # Then nothing else is needed.
    for path in (mirror / "base.pt", cache / "base.pt"):
        path.unlink()
    assert ready("glide-base", url=mirror) == folder
    Pipeline.load("glide-base")


def test_other_names_and_folders_stay(cache, tmp_path, monkeypatch):
    for name in ("shapes32", "corgi", tmp_path):
        assert ready(name) == name
    (tmp_path / "glide-mine").mkdir()
    (tmp_path / "glide-mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert ready("glide-mine") == "glide-mine"
    assert not cache.exists()


def test_names_that_are_not_published_are_refused_with_those_that_are(cache):
    with pytest.raises(ValueError, match="no published model 'glide-bass'; known: base, upsample"):
        ready("glide-bass")
    with pytest.raises(ValueError, match="no published model 'glide-bass'; known: base, upsample"):
        sample.main(["x", "--model", "glide-bass"])


def test_sample_makes_models_of_what_was_fetched(mirror, cache, tmp_path):
    command.main(["fetch", "base", "glide-upsample", "--url", str(mirror)])
    assert not (cache / "models").exists()
    models = [cache / "models" / f"glide-{name}" for name in ("base", "upsample")]
    options = ["--model", "glide-base", "--steps", "2", "--upsampler", "glide-upsample"]
    sample.main(["", "--out", str(tmp_path / "large"), *options, "--upsampling.steps", "2"])
    picture = tmp_path / "large" / "0000-0.png"
    settings = read_settings(picture)
    assert (settings["model"], settings["upsampler"]) == ("glide-base", "glide-upsample")
    base, upsampler = map(Pipeline.load, models)
    expected = upsampler.upsample(base.text_to_image([""], steps=2), [""], steps="2")
    assert expected.shape == (1, 32, 32, 3) and expected.std() > 1
    np.testing.assert_array_equal(read_image(picture), expected[0])


def test_training_starts_from_a_published_name(mirror, cache, tmp_path, monkeypatch):
    fetch("base", url=mirror, progress=False)
    started = []
    monkeypatch.setattr(loop, "train", lambda *arguments: started.append(arguments))
    config, run = str(ROOT / "configs" / "finetune.py"), str(tmp_path / "run")
    train.main([config, "--init-from", "glide-base", "--run", run, "--data.path", str(mirror)])
    ((recipe, place),) = started
    assert (recipe.init_from, place) == ("glide-base", run)
    adopted, (_, params) = runs.adopt_model(recipe, tmp_path / "run")
    model = released.model_of("tiny-text2im")
    assert adopted.model.unet.channel_mult == model.unet.channel_mult
    expected = from_pytorch(released.state_dict("tiny-text2im"), model_folder.param_shapes(model))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_a_run_that_goes_on_needs_no_published_model(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *arguments: None)
    (tmp_path / "config.json").write_text("{}")
    config = str(ROOT / "configs" / "finetune.py")
    train.main([config, "--init-from", "glide-base", "--run", str(tmp_path)])
    assert not cache.exists()


def test_two_files_make_the_clip_that_guides_by_its_name(mirror, cache, tmp_path, capsys):
    command.main(["fetch", "clip", "base", "--url", str(mirror), "--convert"])
    files = ["clip_image_enc.pt", "clip_text_enc.pt", "base.pt"]
    paths = [*files, "models/glide-clip", "models/glide-base"]
    assert capsys.readouterr().out.splitlines() == [str(cache / path) for path in paths]
    assert load_description(find_model("glide-clip"), kind="clip")[0] == released.clip_model()
    with pytest.raises(ValueError, match="glide-clip holds a CLIP, which goes to --clip-model"):
        sample.main(["x", "--model", "glide-clip"])
    shutil.rmtree(cache / "models" / "glide-clip")
    # Its vocabulary is another, and so it stops at the caption, not before.
    out = ["--out", str(tmp_path / "out"), "--steps", "2"]
    with pytest.raises(ValueError, match="the model has no tokenizer, and so no tokens for 'x'"):
        sample.main(["x", "--model", "glide-base", "--clip-model", "glide-clip", *out])
