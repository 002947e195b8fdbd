"""The command lines as a user calls them, on a model that a short run has trained."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sample
import train
from glide_jax import cli
from glide_jax.config.loading import load_recipe
from glide_jax.images import read_settings

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "tiny.py")
FINETUNE = str(ROOT / "configs" / "finetune.py")
SHORT = ["--steps", "4", "--optim.warmup-steps", "1", "--checkpoint-every", "2"]
SHORT += ["--optim.ema-decays", "0.99", "0.5"]  # as in test_loop.py: the same programs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the tiny recipe, made by train.py."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train.main([CONFIG, "--run", str(folder), "--sample-every", "4", *SHORT])
    return folder


def draw(run, *arguments):
    sample.main(["--model", str(run), "--steps", "2", *map(str, arguments)])


def test_the_command_line_reaches_the_recipe(run):
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["steps"] == 4 and recipe["optim"]["warmup_steps"] == 1
    assert recipe["checkpoint_every"] == 2 and recipe["name"] == "tiny"


def test_the_same_command_goes_on(run, tmp_path, capfd):
    run = shutil.copytree(run, tmp_path / "run")
    for last_checkpoint in (4, 2):
        train.main([CONFIG, "--run", str(run), "--sample-every", "4", *SHORT])
        last = (run / "metrics.jsonl").read_text().splitlines()
        assert max(json.loads(line)["step"] for line in last) == 4
        # The bar starts where the run stood.
        assert f"{last_checkpoint}/4" in capfd.readouterr().err
        shutil.rmtree(run / "checkpoints" / "4")


def test_a_grid_carries_its_settings(run, tmp_path):
    out = tmp_path / "grid.png"
    draw(run, "a red circle", "", "--num", 3, "--seed", 7, "--out", out, "--negative-prompt", "x")
    settings = read_settings(out)
    assert settings["prompts"] == ["a red circle", ""] and settings["seed"] == 7
    assert settings["guidance_scale"] == 3.0 and settings["negative_prompt"] == "x"
    with Image.open(out) as image:  # three columns, two rows, 2 pixels between, enlarged
        factor = -(-512 // (3 * 34 + 2))
        assert image.size == ((3 * 34 + 2) * factor, (2 * 34 + 2) * factor)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_a_picture_tells_how_many_steps_it_had_by_default(run, tmp_path):
    out = tmp_path / "grid.png"
    sample.main(["--model", str(run), "a red circle", "--out", str(out)])
    assert read_settings(out)["steps"] == "27"
    assert cli.Sampling().settings()["steps"] == "100"  # of a picture that is given
    assert cli.Sampling(steps="fast27").settings(27)["steps"] == "fast27"


def test_a_folder_gets_a_file_for_each_picture(run, tmp_path):
    (tmp_path / "captions.txt").write_text("a red circle\na blue star\n")
    out = tmp_path / "pictures"
    arguments = ("--prompts", tmp_path / "captions.txt", "--num", 2, "--seed", 3)
    draw(run, *arguments, "--out", out, "--sampler", "dpmpp", "--batch-size", 3)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["0000-3.png", "0000-4.png", "0001-3.png", "0001-4.png"]
    settings = read_settings(out / names[3])
    assert settings["prompts"] == ["a blue star"] and settings["seed"] == 4
    # Its settings draw that picture again.
    draw(run, "a blue star", "--seed", 4, "--sampler", "dpmpp", "--out", tmp_path / "again")
    pair = [
        np.asarray(Image.open(p)).astype(int)
        for p in (out / names[3], tmp_path / "again/0000-4.png")
    ]
    assert np.abs(pair[0] - pair[1]).max() <= 1


BAD_SAMPLE = [
    ([], 'there is no prompt; give one in quotes ("" is unconditional)'),
    (["x", "--model", "corgi"], "there is no model 'corgi'"),
    (["x", "--modle", "y"], "Unrecognized options: --modle, y; perhaps you meant --model"),
    (["x", "--sampler", "euler"], "invalid choice 'euler' for argument '--sampler'"),
    (["x", "--steps", "0"], "respacing '0'"),
    (["x", "--steps", "many"], "not 'many'"),
    (["x", "--steps", "0", "--sampler", "dpmpp"], "must be in 1..1000, not 0"),
    (["x", "--guidance-scale", "nan"], "guidance_scale is nan; it must be a finite number"),
    (["x", "--guidance-scale", "high"], "could not convert string to float: 'high'"),
    (["x", "--num", "0"], "num is 0; it must be 1 or more"),
    (["x", "--num", "0", "--rerank-from", "8"], "num is 0; it must be 1 or more"),
    (["x", "--num", "9999999999"], "seed is 0 and num 9999999999; together they must be at most"),
    (["x", "--seed", "99999999999999999999"], "seed is 99999999999999999999 and num 1; together"),
    (["x", "--seed", "4294967295", "--rerank-from", "8"], "seed is 4294967295; with rerank_from"),
    (["x", "--guidance-scale", "1e39"], "guidance_scale is 1e+39; it must be from -3.4e+38 to"),
    (["x", "--guidance-interval", "1"], "--guidance-interval: it takes None or INT INT, not '1'\n"),
    (["x", "-steps", "5"], "Unrecognized options: -steps; perhaps you meant --steps\n"),
    (["a red \udcff"], "the caption 'a red \\udcff' is not text in UTF-8"),
    (["x", "--negative-prompt", "\udcff"], "the caption '\\udcff' is not text in UTF-8"),
    (["x", "--out", "gs://bucket/x"], "--out is 'gs:/bucket/x'; it must be on this machine"),
    (["x", "--out", "gs://bucket/x.png"], "--out is 'gs:/bucket/x.png'; it must be on this"),
    (["x", "--num", "two"], "invalid literal for int() with base 10: 'two'"),
    (["--prompts", "nowhere.txt"], "--prompts is 'nowhere.txt', which is no file"),
    (["--prompts", "{folder}.png"], "which is no file"),
    (["--prompts", "{latin}"], "latin.txt is not a text file in UTF-8"),
    (["--prompts", "{file}"], "there is no prompt"),
    (["x", "--model", "{file}"], "there is no model"),
    (["x", "--model", "s3://bucket/x"], "Install s3fs"),
    (["x", "--out", "picture.jpg"], "--out is 'picture.jpg'; it must be a .png file or a folder"),
    (["x", "--out", "{file}/x.png"], "is no folder to write to"),
]
BAD_TRAIN = [
    ([], "the recipe comes first"),
    (["configs/tinny.py"], "there is no recipe 'configs/tinny.py'; did you mean configs/tiny.py?"),
    (
        ["README.md"],
        "'README.md'; configs has base64.py, base64_paper.py, cfg_finetune.py, ",
    ),
    (["sample.py"], "has no attribute 'get_config'"),
    ([CONFIG, "--seed", "99999999999999999999"], "Recipe.seed is 99999999999999999999"),
    ([CONFIG, "--optim.learning-rate", "inf"], "Optim.learning_rate is inf"),
    ([CONFIG, "--optim.learnin-rate", "1"], "perhaps you meant --optim.learning-rate FLOAT"),
    ([CONFIG, "--step", "5"], "--step, 5; perhaps you meant --steps INT\n"),
    ([CONFIG, "--step", "5", "--sed", "4"], "--sed, 4; perhaps you meant --steps INT\n"),
    ([CONFIG, "--steps", "0"], "Recipe.steps is 0; allowed: 1 or more"),
    ([CONFIG, "--steps", "few"], "Error parsing --steps: invalid literal for int()"),
    ([CONFIG, "--keep-every", "x"], "Error parsing --keep-every: it takes None or INT, not 'x'\n"),
    ([CONFIG, "--batch-size", "7"], "batch_size is 7; it must be a multiple of"),
    ([CONFIG, "--model.schedule", "cosine"], "invalid choice 'cosine'"),
    ([CONFIG, "--devices", "8"], "--devices and --device-memory are a dry run's"),
    ([CONFIG, "--dry-run", "--devices", "0"], "--devices is 0; it must be 1 or more"),
    (
        [CONFIG, "--dry-run", "--device-memory", "16"],
        "--device-memory is '16'; it must be a number",
    ),
    ([CONFIG, "--dry-run", "--devices", "3"], "batch_size is 8; it must be a multiple of the 3"),
    ([CONFIG, "--run", "{file}/run"], "{file}"),
    ([CONFIG, "--init-from", "corgi"], "there is no model 'corgi': it is neither a folder with"),
    ([CONFIG, "--init-from", "{file}"], "neither a folder with a config.json nor one of shapes-"),
    ([CONFIG, "--init-from", "shapes32"], "which the training starts from, has"),
    ([FINETUNE], "Data.path is None; the source folder takes the folder of your pictures"),
    ([FINETUNE, "--data.path", "nowhere"], "there is no folder 'nowhere'"),
]


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [(sample.main, *case) for case in BAD_SAMPLE] + [(train.main, *case) for case in BAD_TRAIN],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    main, arguments, message, run, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    (tmp_path / "latin.txt").write_bytes("ein grüner Kreis".encode("latin-1"))
    (tmp_path / "folder.png").mkdir()
    names = {"file": "file", "folder": "folder", "latin": "latin.txt"}
    places = {key: str(tmp_path / name) for key, name in names.items()}
    arguments = [argument.format(**places) for argument in arguments]
    if main is sample.main and "--model" not in arguments:
        arguments += ["--model", str(run)]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    monkeypatch.chdir(ROOT)
    before = sorted(tmp_path.rglob("*")) + sorted(ROOT.glob("*"))
    with pytest.raises(SystemExit) as stop:
        cli.entry_point(main, "program")
    assert stop.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("program: ") and complaint.count("\n") == 1
    assert message.format(**places) in complaint
    assert sorted(tmp_path.rglob("*")) + sorted(ROOT.glob("*")) == before


def test_from_a_shell_there_is_no_traceback(tmp_path):
    command = [sys.executable, str(ROOT / "sample.py"), "x", "--model", "corgi"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("sample.py: there is no model 'corgi'")
    assert list(tmp_path.iterdir()) == []


# Two writes of one checkpoint that fail, of which only the first is waited for.
FAILURES = """
import asyncio
import logging
from glide_jax import cli
from glide_jax.config.loading import load_recipe

def save(arguments):
    logging.basicConfig()
    loop = asyncio.new_event_loop()
    writes = [loop.create_future() for _ in range(2)]
    for write in writes:
        write.set_exception(OSError("the disk is full"))
    loop.run_until_complete(writes[0])

cli.entry_point(save, "program")
"""


def test_several_writes_that_fail_are_one_sentence():
    command = [sys.executable, "-c", FAILURES]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "program: the disk is full\n")


def flags(value, above=""):
    """The flags of a dataclass's fields and of those within, with the dataclasses above them."""
    for field in dataclasses.fields(value):
        name, own = f"{above}{field.name.replace('_', '-')}", getattr(value, field.name)
        if dataclasses.is_dataclass(own):
            yield from flags(own, f"{name}.")
        else:
            yield f"--{name}"


@pytest.mark.parametrize(
    ("script", "fields"),
    [
        (
            ["sample.py"],
            ["--prompts", "--num", "--seed", "--out", "--upsampler", "--image", "--strength"]
            + [*flags(cli.Sampling()), *flags(sample.Upsampling(), "upsampling.")],
        ),
        (["train.py", CONFIG], ["--run", *flags(load_recipe(CONFIG)[0])]),
    ],
)
def test_help_lists_every_field(script, fields):
    command = [sys.executable, *script, "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"--[\w.-]+", ended.stdout))
    assert [flag for flag in fields if flag not in listed] == []
