"""The notebooks: executed at tiny settings, and what is committed of them."""

import base64
import io
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from glide_jax import model_folder
from notebooks.execute import FOLDER, NAMES, execute, read, with_constants, without_traces
from tests import tiny
from tests.conftest import ROOT
from tests.pictures import fill

INPAINTING = replace(tiny.MODEL, unet=replace(tiny.MODEL.unet, inpaint=True))
# With one sampler or method each; the cells of published models show none.
PICTURES = {
    "text_to_image": 3,
    "train_your_own": 5,
    "inpaint_and_edit": 7,
    "clip_guidance_and_evaluation": 5,
}
MOST_BYTES = 500_000
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    """What cells show, each as uint8 [H, W, 3]."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                png = base64.b64decode(output.data["image/png"])
                yield np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def texts(notebook):
    """What cells print, on either stream, or name as their value."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            yield output.get("text") or output.get("data", {}).get("text/plain", "")


def check_shown(notebook, number):
    """Raises where a cell failed or warned, a picture is blank, or there are fewer."""
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert "error" not in kinds
    assert not [text for text in texts(notebook) if "warn" in text.lower()]
    shown = list(pictures(notebook))
    assert len(shown) >= number
    for picture in shown:
        middle = picture[len(picture) // 3 : -len(picture) // 3]
        assert min(picture.shape[:2]) > 60 and middle.std() > 5


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    """{notebook: constants} that are done in seconds."""
    folder = tmp_path_factory.mktemp("notebooks")
    models = {"model": tiny.MODEL, "inpainter": INPAINTING, "clip": tiny.CLIP}
    for name, model in models.items():
        params = tiny.random_params(model=model)
        model_folder.save_model(folder / name, model, tokenizer, params)
        models[name] = str(folder / name)
    (folder / "data").mkdir()
    options = ["--init-from", models["model"], "--batch-size", "2", "--sample-every", "50"]
    drawn = {"MODEL": models["model"], "NUM": 2, "STEPS": 2}
    return {
        "text_to_image": drawn | {"SCALES": (1, 3), "SAMPLERS": ("ancestral",)},
        "train_your_own": {
            "DATA": str(fill(folder / "data", 6)),
            "RUN": str(folder / "run"),
            "OPTIONS": options,
            "STEPS": 5,
            "MORE_STEPS": 5,
            "SAMPLE_STEPS": 2,
        },
        "inpaint_and_edit": drawn
        | {"INPAINT_MODEL": models["inpainter"], "STEPS": 6, "STRENGTHS": (0.5,)},
        "clip_guidance_and_evaluation": drawn
        | {
            "CLIP": models["clip"],
            "RANKER": models["clip"],
            "CLIP_SCALES": (0, 2),
            "RERANK_FROM": 2,
            "TRIED": 3,
        }
        | {"SWEPT": (1, 3), "OUT": str(folder / "evaluation")},
    }


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_top_to_bottom(name, settings):
    executed = execute(with_constants(read(name), settings[name]))
    check_shown(executed, PICTURES[name])
    if name == "train_your_own":
        assert (Path(settings[name]["RUN"]) / "params.safetensors").exists()
        second = [text for text in texts(executed) if "10/10" in text]
        assert second and not [text for text in texts(executed) if "1/10" in text]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_committed_with_its_pictures(name):
    notebook = read(name)
    nbformat.validate(notebook)
    check_shown(notebook, PICTURES[name])
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES
    assert without_traces(notebook) == notebook
    said = "\n".join([*texts(notebook), *(cell.source for cell in notebook.cells)])
    for place in (ROOT, Path.home(), tempfile.gettempdir(), Path(sys.prefix), "site-packages"):
        assert str(place) not in said


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_in_colab(name):
    title, setup = read(name).cells[:2]
    address = URLS["Repository"]
    own = address.removeprefix("https://github.com/")
    assert own != address
    opens = f"https://colab.research.google.com/github/{own}/blob/main/notebooks/{name}.ipynb"
    assert f"colab-badge.svg)]({opens})" in title.source
    assert f'REPOSITORY = "{address}"' in setup.source
    assert setup.source == read(NAMES[0]).cells[1].source
    assert f"notebooks/{name}.ipynb" in (ROOT / "README.md").read_text()


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Executes the first cell in an empty folder, and gives what it would have run."""

    def execute_first(driver=None, tpu=False, folder=tmp_path):
        ran = []

        def run(command, **options):
            ran.append([str(part) for part in command])
            if "clone" in command:
                Path(command[-1]).mkdir()
            return subprocess.CompletedProcess(command, 0, stdout=driver)

        for name in [name for name in os.environ if "TPU_" in name]:
            monkeypatch.delenv(name)
        if tpu:
            monkeypatch.setenv("TPU_WORKER_ID", "0")
        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(shutil, "which", lambda name: driver and name)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.chdir(folder)
        exec(read(NAMES[0]).cells[1].source, {})
        return ran

    return execute_first


@pytest.mark.parametrize(
    ("machine", "jax"),
    [
        ({}, "jax"),
        ({"tpu": True}, "jax[tpu]"),
        ({"driver": "580.65.06\n"}, "jax[cuda13]"),
        ({"driver": "550.54.15\n"}, "jax[cuda12]"),
        ({"driver": "NVIDIA-SMI has failed"}, "jax"),
    ],
)
def test_its_first_cell_installs_jax_for_the_machine(commands, tmp_path, machine, jax):
    clone, install = [ran for ran in commands(**machine) if ran[0] != "nvidia-smi"]
    assert clone[:2] == ["git", "clone"] and URLS["Repository"] in clone
    assert install[1:4] == ["-m", "pip", "install"] and jax in install
    assert str(tmp_path / "glide_jax" / "requirements.txt") in install
    assert Path.cwd() == tmp_path / "glide_jax"


def test_inside_a_checkout_it_installs_nothing(commands):
    assert commands(folder=FOLDER) == []
    assert Path.cwd() == ROOT and sys.path[0] == str(ROOT)


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no setting STEP in:"):
        with_constants(read(NAMES[0]), {"STEP": 1})


def test_a_cell_that_fails_or_a_blank_picture_is_found():
    cell = nbformat.v4.new_code_cell("1 / 0")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        execute(nbformat.v4.new_notebook(cells=[cell]))
    cell.source = "from PIL import Image\nImage.new('RGB', (90, 90), 'white')"
    with pytest.raises(AssertionError):
        check_shown(execute(nbformat.v4.new_notebook(cells=[cell])), 1)
