"""A user's picture, edited by sample.py: what is kept, what size comes out, what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sample
from glide_jax import Pipeline, model_folder
from glide_jax.fitting import enlarge_mask, fit, mask_to_model, to_model
from glide_jax.images import read_settings
from glide_jax.retouching import Editing
from tests import tiny

ROOT = Path(__file__).parents[1]
BASE = tiny.SMALLER
MODELS = {
    "base": BASE,
    "painter": replace(BASE, unet=replace(BASE.unet, inpaint=True)),
    "up": replace(BASE, unet=replace(BASE.unet, low_res_size=16, image_size=32)),
}
MODELS["up-painter"] = replace(MODELS["up"], unet=replace(MODELS["up"].unet, inpaint=True))
PICTURE = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
MASK = np.ones((37, 50), bool)
MASK[5:25, 12:31] = False
PARTS = {"crop": np.s_[:, 6:43], "pad": np.s_[:, :]}  # what a model is given of the picture


@pytest.fixture(scope="module")
def files(tokenizer, tmp_path_factory):
    """A folder with models of random parameters, the picture, masks and edits."""
    folder = tmp_path_factory.mktemp("files")
    for seed, (name, model) in enumerate(MODELS.items()):
        model_folder.save_model(folder / name, model, tokenizer, tiny.random_params(seed, model))
    arrays = {"picture": PICTURE, "large": PICTURE[:32, :32], "all": np.ones_like(MASK)}
    arrays |= {"mask": MASK, "inverted": ~MASK, "twice": enlarge_mask(MASK, 2)}
    arrays |= {"square": MASK[:, :37], "edge": np.ones_like(MASK) & (np.arange(50) > 5)}
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    edits = [{"mask": "mask.png", "prompt": "a hat"}, {"box": [20, 10, 43, 30], "prompt": "a cat"}]
    (folder / "edits.json").write_text(json.dumps(edits))
    # What its last mask gives to draw is cut off.
    (folder / "late.json").write_text(json.dumps([*edits, {"mask": "edge.png", "prompt": ""}]))
    (folder / "middle.json").write_text(json.dumps([{"box": [8, 8, 24, 24], "prompt": "a hat"}]))
    return folder


@pytest.fixture
def draw(files, tmp_path, monkeypatch):
    """Runs sample.py beside the files; the paths of what it writes, in order."""
    monkeypatch.chdir(files)

    def draw(*arguments, image="picture.png", model="painter", up=None, out="out"):
        large = ["--upsampler", up, "--upsampling.steps", 4] if up else []
        given = ["--image", image, "--model", model, "--steps", 4, "--out", tmp_path / out]
        sample.main([str(argument) for argument in (*given, *large, *arguments)])
        written = tmp_path / out
        return sorted(written.iterdir()) if written.is_dir() else [written]

    return draw


def pixels(path):
    return np.asarray(Image.open(path))


def far(a, b):
    """The mean distance of pixels in grey levels; of noise and noise it is 85."""
    return np.abs(a.astype(int) - b).mean()


@pytest.mark.parametrize("how", ["crop", "pad"])
@pytest.mark.parametrize("up", [None, "up", "up-painter"])
def test_kept_pixels_are_as_they_were_at_the_pictures_own_size(draw, how, up):
    (path,) = draw("a hat", "--mask", "mask.png", "--fit", how, up=up)
    made, picture, mask = pixels(path), PICTURE[PARTS[how]], MASK[PARTS[how]]
    assert made.shape == picture.shape
    np.testing.assert_array_equal(made[mask], picture[mask])
    assert far(made[~mask], picture[~mask]) > 20


def test_without_pasting_it_is_what_was_drawn(draw, files):
    asked = ["a hat", "--mask", "mask.png", "--seed", 3, "--inpaint-method", "replace"]
    pasted, drawn = (pixels(draw(*asked, *more, model="base")[0]) for more in ([], ["--no-paste"]))
    picture, mask = PICTURE[PARTS["crop"]], MASK[PARTS["crop"]]
    np.testing.assert_array_equal(pasted, np.where(mask[..., None], picture, drawn))
    own = fit((37, 37), 16, "crop")
    small = Pipeline.load(files / "base").inpaint(
        *(to_model(picture, own)[None], mask_to_model(mask, own)[None], ["a hat"]),
        **{"method": "replace", "steps": 4, "seed": 3, "guidance_scale": 3.0},
    )
    large = Image.fromarray(small[0]).resize((37, 37), Image.Resampling.BICUBIC)
    assert far(drawn, np.asarray(large)) < 0.5


def test_an_upsampler_that_inpaints_keeps_the_large_pictures_pixels(draw):
    picture, kept = PICTURE[:32, :32], np.ones((32, 32), bool)
    kept[8:24, 8:24] = False
    plain, keeping = (
        pixels(draw("--edits", "middle.json", "--no-paste", image="large.png", up=up, out=up)[0])
        for up in ("up", "up-painter")
    )
    np.testing.assert_array_equal(keeping[kept], picture[kept])
    assert far(plain[kept], picture[kept]) > 20


def test_masks_may_be_inverted_or_of_another_size(draw):
    first, *others = (
        pixels(draw("a hat", *mask)[0])
        for mask in (
            ["--mask", "mask.png"],
            ["--mask", "inverted.png", "--invert-mask"],
            ["--mask", "twice.png"],
        )
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_each_caption_and_seed_has_its_picture(draw):
    asked = ["--mask", "mask.png", "--batch-size", 2]
    paths = draw("a hat", "a cat", *asked, "--num", 2, "--seed", 5)
    names = ["0000-5.png", "0000-6.png", "0001-5.png", "0001-6.png"]
    assert [path.name for path in paths] == names
    settings = read_settings(paths[3])
    assert settings["prompts"] == ["a cat"] and settings["seed"] == 6 and settings["num"] == 1
    picture, mask = PICTURE[PARTS["crop"]], MASK[PARTS["crop"]]
    made = [pixels(path) for path in paths]
    for image in made:
        np.testing.assert_array_equal(image[mask], picture[mask])
    (alone,) = draw("a cat", *asked, "--seed", 6, out="alone")
    np.testing.assert_array_equal(pixels(alone), made[3])
    assert far(made[3], made[2]) > 5


@pytest.fixture
def changed(monkeypatch):
    """Pictures of the whole are their negatives, at once; what was asked for each."""
    asked = []

    def negative(pipeline, images, prompts, **settings):
        asked.append(settings | {"images": images, "prompts": prompts})
        return 255 - images.repeat(settings["num"], axis=0)

    monkeypatch.setattr(Pipeline, "image_to_image", negative)
    return asked


STRENGTH, FROM = {"strength": 0.5, "sampler": "ancestral"}, {"strength": 0.6, "sampler": "ddim"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--strength", 0.5], STRENGTH | {"edit_from": None}),
        (["--edit-from", "a dog"], FROM | {"edit_from": ["a dog"] * 2}),
        (["--edit-from", "a dog", "--strength", 0.9], {"strength": 0.9, "sampler": "ddim"}),
    ],
)
def test_an_edit_of_the_whole_picture_is_asked_for_and_told(draw, changed, options, expected):
    paths = draw("a hat", "a cat", *options, "--num", 2, model="base")
    (asked,) = changed
    expected = expected | {"prompts": ["a hat", "a cat"], "num": 2}
    assert expected.items() <= asked.items()
    small = to_model(PICTURE[PARTS["crop"]], fit((37, 37), 16, "crop"))
    np.testing.assert_array_equal(asked["images"], [small, small])
    assert len(paths) == 4
    np.testing.assert_array_equal(pixels(paths[3]), 255 - small)
    told = read_settings(paths[3])
    assert told["strength"] == expected["strength"] and told["sampler"] == expected["sampler"]


def test_what_pad_adds_is_cut_off_and_an_upsampler_enlarges(draw, changed):
    asked = ["a hat", "--strength", 0.5, "--fit", "pad"]
    own = fit((37, 50), 16, "pad")
    (path,) = draw(*asked)
    np.testing.assert_array_equal(pixels(path), 255 - to_model(PICTURE, own)[own.place])
    assert pixels(path).shape == (12, 16, 3)
    (path,) = draw(*asked, up="up")
    assert pixels(path).shape == (24, 32, 3)


def test_edits_follow_each_other_as_single_commands_would(draw):
    paths = draw("--edits", "edits.json", "--seed", 7, up="up")
    assert [path.name for path in paths] == ["0000-7.png", "0001-7.png"]
    made = [PICTURE[PARTS["crop"]], *map(pixels, paths)]
    masks = [MASK[PARTS["crop"]], np.ones((37, 37), bool)]
    masks[1][10:30, 20 - 6 : 43 - 6] = False
    for before, after, mask in zip(made[:-1], made[1:], masks, strict=True):
        np.testing.assert_array_equal(after[mask], before[mask])
        assert far(after[~mask], before[~mask]) > 20
    Image.fromarray(masks[1]).save(paths[0].parent / "box.png")
    asked = ["--mask", paths[0].parent / "box.png", "--seed", 8]
    (alone,) = draw("a cat", *asked, image=paths[0], up="up", out="alone")
    np.testing.assert_array_equal(pixels(alone), made[2])


def test_a_file_of_edits_is_told_in_the_metadata(draw):
    first, second = draw("--edits", "edits.json", "--seed", 7, "--fit", "pad")
    expected = {"edits": "edits.json", "image": "picture.png", "seed": 7, "fit": "pad"}
    for path, prompts in ((first, ["a hat"]), (second, ["a hat", "a cat"])):
        settings = read_settings(path)
        assert settings["prompts"] == prompts and expected.items() <= settings.items()
        assert "mask" not in settings and "strength" not in settings


def test_a_grid_has_all_steps_and_a_single_picture_no_frame(draw):
    first, second = (pixels(path) for path in draw("--edits", "edits.json"))
    (path,) = draw("--edits", "edits.json", out="grid.png")
    assert read_settings(path)["prompts"] == ["a hat", "a cat"]
    factor = -(-512 // (2 * 39 + 2))
    grid = pixels(path)[::factor, ::factor]
    assert pixels(path).shape == (41 * factor, 80 * factor, 3)
    np.testing.assert_array_equal(grid[2:39, 2:39], first)
    np.testing.assert_array_equal(grid[2:39, 41:78], second)
    (path,) = draw("a hat", "--mask", "mask.png", out="single.png")
    np.testing.assert_array_equal(pixels(path), first)


MASKED = ["--mask", "mask.png"]
REFUSED = [
    (
        ["x", "--inpaint-method", "model", "--model", "base", *MASKED],
        "'model', but the model was not trained to",
    ),
    (
        ["x", "--inpaint-method", "repaint", *MASKED],
        "jump_length is 5; of 4 steps it must be 1 to 3",
    ),
    (["x"], "there is an --image; say how to edit it by --mask, --edits, --strength, --edit-from"),
    (["x", "--strength", "0.5", *MASKED], "--mask and --strength do not go together: give one"),
    (["x", "--edit-from", "y", *MASKED], "--mask and --edit-from do not go together: give one"),
    (["--edits", "edits.json", *MASKED], "--mask and --edits do not go together: give one"),
    (
        ["--edits", "edits.json", "--num", "2"],
        "^--num is 2; --edits makes one picture after each edit",
    ),
    (["x", "--edits", "edits.json"], "there is the prompt 'x', but --edits has its own: drop one"),
    (MASKED, "there is no prompt; give one in quotes"),
    (["x", "--clip-scale", "2", *MASKED], "^--clip-scale is 2.0, but no CLIP guides: say --guide"),
    (
        ["x", "--edit-from", "y", "--sampler", "dpmpp"],
        "^--sampler is 'dpmpp'; --edit-from inverts by ddim: leave it out",
    ),
    (["x", "--edit-from", "y", "--eta", "0.5"], "'ddim' with eta 0.5; an inversion takes ddim"),
    (["x", "--strength", "0"], "strength is 0.0; it must be above 0 and at most 1"),
    (["x", "--strength", "0.5", "--no-paste"], "there is --no-paste, but no --mask or --edits"),
    (["x", "--strength", "1", "--invert-mask"], "there is --invert-mask, but no --mask or --edits"),
    (["x", "--strength", "1", "--inpaint-method", "replace"], "there is --inpaint-method, but no"),
    (["x", "--resamplings", "2", *MASKED], "--resamplings, but no --inpaint-method repaint"),
    (["x", "--mask", "all.png"], "the mask all.png keeps every pixel; paint black what is"),
    (["x", "--mask", "square.png"], "square.png is 37 x 37 pixels and the picture 50 x 37; give"),
    (["x", "--mask", "none.png"], "there is no file none.png"),
    (["x", "--mask", "edge.png"], "^there is nothing to draw: the mask keeps all of the square"),
    (
        ["--edits", "late.json"],
        "^edit 3: there is nothing to draw: the mask keeps all of the square .*; fit 'pad' gives",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_edited_is_refused_before_anything_is_drawn(
    draw, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr("glide_jax.drawing.sample_batch", lambda *_: pytest.fail("it draws"))
    with pytest.raises(ValueError, match=message):
        draw(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask", "m.png"], "there is --mask, but no --image to edit"),
        (["--edits", "e.json"], "there is --edits, but no --image to edit"),
        (["--fit", "pad"], "there is --fit, but no --image"),
    ],
)
def test_without_an_image_there_is_nothing_to_edit(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sample.main(["x", *options])


def test_from_a_shell_a_missing_picture_is_told_before_jax_is_loaded(tmp_path):
    run = "import sys; sys.modules['jax'] = None; import sample; from glide_jax import cli"
    command = [sys.executable, "-c", f"{run}; cli.entry_point(sample.main, 'sample.py')"]
    options = ["x", "--image", "none.png", "--mask", "m.png", "--out", str(tmp_path / "out")]
    ended = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == "sample.py: there is no file none.png\n"
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_inpaints_is_the_default_where_a_part_is_drawn_anew():
    edits = {"mask": Path("m.png")}, {"edits": Path("e.json")}, {"strength": 0.5}
    models = [sample.Arguments(editing=Editing(Path("p.png"), **how)).own_model for how in edits]
    assert models == ["shapes32-inpaint", "shapes32-inpaint", "shapes32"]
