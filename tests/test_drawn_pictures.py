"""evaluate.py --model with networks that judge: batch by batch, gone on with; a sweep's curves."""

import json
from itertools import product

import numpy as np
import pytest
from PIL import Image

import evaluate
from configs import eval_coco
from glide_jax import model_folder
from glide_jax.config import Classifier
from glide_jax.data import shapes
from glide_jax.data.scenes import render
from glide_jax.evaluation import (
    drawn_pictures,
    features,
    judges,
    kept,
    metric_curves,
    options,
    reference,
    report,
    results,
    seen,
    shapes_test,
    wrong,
)
from glide_jax.evaluation.metrics import statistics
from glide_jax.evaluation.metrics.frechet import fid
from glide_jax.evaluation.pictures import open_pictures, read_batches
from tests import tiny
from tests.test_scored_pictures import make_coco

MODEL = Classifier(channels=(4, 8), features=5, objects=2, classes=3)
NUM = 40


class Painter:
    """A Pipeline that paints each caption's scene, or a grey picture of its seed."""

    def __init__(self, tokenizer):
        self.model, self.tokenizer, self.params = tiny.MODEL, tokenizer, {}
        self.dtype, self.asked, self.tired_after = "float32", [], np.inf

    def text_to_image(self, prompts, *, seed, **_):
        if len(self.asked) >= self.tired_after:
            raise KeyboardInterrupt
        self.asked += seed
        return np.stack([self.paint(*pair) for pair in zip(prompts, seed, strict=True)])

    def paint(self, prompt, seed):
        for split, data_seed in product(("test", "compositional"), shapes_test.SEEDS.values()):
            scene, caption = shapes.describe(seed, data_seed, split)
            if caption == prompt:
                return render(scene, 32)
        return np.full((32, 32, 3), 50 * seed, np.uint8)


@pytest.fixture
def painter(tokenizer, monkeypatch):
    own = Painter(tokenizer)
    monkeypatch.setattr(evaluate, "load", lambda name, dtype: own)
    return own


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The folder of a tiny classifier."""
    folder = tmp_path_factory.mktemp("classifier") / "random"
    model_folder.save_model(folder, MODEL, None, tiny.random_params(1, MODEL))
    return folder


def run(out, network, *more, num=NUM):
    fixed = [
        "--num",
        num,
        "--features",
        network,
        "--judge",
        "none",
        "--resamplings",
        "5",
        "--out",
        out,
    ]
    evaluate.main([str(each) for each in [*more, *fixed]])
    return json.loads((out / "results.json").read_text())


def test_a_model_is_scored_batch_by_batch_and_gone_on_with(painter, network, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "CHUNK", 16)
    painter.tired_after = 32
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, network, "--splits", "test", "--save")
    painter.tired_after = np.inf
    told = run(tmp_path, network, "--splits", "test", "--save")
    items = shapes_test.items("test", NUM)
    assert painter.asked == [item.seed for item in items]  # none twice
    assert told["caption_accuracy"]["value"] == 1 and told["rows"][0]["fid"] == told["fid"]
    real = np.stack([shapes.example(i, reference.SEED, "test", 32).image for i in range(NUM)])
    drawn = np.stack([painter.paint(item.caption, item.seed) for item in items])
    judge = features.classifier_network(network)
    both = [features.features([each], judge)["features"] for each in (drawn, real)]
    expected = fid(*map(statistics.of, both))
    assert told["fid"]["value"] == pytest.approx(expected, rel=1e-3) and told["fid"]["n"] == NUM
    assert told["inception_score"]["n"] == NUM
    (folder,) = (tmp_path / "pictures").iterdir()
    saved = open_pictures(folder)
    assert saved.captions == [item.caption for item in items]
    np.testing.assert_array_equal(next(read_batches(saved.source, None)), drawn)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == 1 and "inception_score" in page


def test_without_a_network_nothing_is_kept_of_the_pictures(painter, tmp_path):
    without = ["--features", "none", "--judge", "none"]
    evaluate.main(["--num", "6", "--splits", "test", *without, "--out", str(tmp_path)])
    told = json.loads((tmp_path / "results.json").read_text())
    assert "fid" not in told and told["caption_accuracy"]["n"] == 6
    assert not (tmp_path / "features").exists() and not (tmp_path / "pictures").exists()


def test_captions_of_coco_are_drawn_and_held_against_its_pictures(painter, network, tmp_path):
    folder = make_coco(tmp_path / "coco")
    told = run(tmp_path / "out", network, "--data", folder, num=5)
    row = told["rows"][0]
    assert painter.asked == [0, 1, 2, 3, 4] and row["reference"]["n"] == 5
    assert (tmp_path / "out" / row["reference"]["path"]).is_file()
    assert not row["reference"]["path"].startswith("/")
    assert told["fid"]["value"] > 0 and "caption_accuracy" not in told
    assert row["left_out"]["inception_score"] == "there are 5 pictures; it takes 10"


def test_a_sweep_draws_its_curves(painter, network, tmp_path):
    told = run(tmp_path, network, "sweep", "--scales", "0,1,2.5", "--guidance", "cfg", num=12)
    assert [row["settings"]["guidance_scale"] for row in told["rows"]] == [0, 1, 2.5]
    found = metric_curves.panels(told["rows"])
    assert set(found) == {("inception_score", "fid"), ("recall", "precision")}
    (points,) = found["inception_score", "fid"].values()
    values = [row["fid"]["value"] for row in told["rows"]]
    assert [point[0] for point in points] == [0, 1, 2.5]
    assert [point[2] for point in points] == values
    assert (tmp_path / "metric-curves.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 4


def test_each_row_of_a_sweep_has_its_grid_in_the_report(painter, network, tmp_path):
    more = ["--samplers", "ddim", "dpmpp", "--steps-each", "5", "6", "--scales", "1"]
    told = run(tmp_path, network, "sweep", *more, num=3)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == len(told["rows"]) == 4
    assert "<h2>shapes32, test, guidance 1, dpmpp, 6 steps</h2>" in page
    rows = [row | {"data": name} for row in told["rows"] for name in ("a", "b")]
    assert len(set(report.names_of(rows))) == 8


def test_a_clip_judges_drawn_pictures_as_it_does_those_that_are_there(tmp_path, tokenizer):
    params = tiny.random_params(2, tiny.CLIP) | {"logit_scale": np.float32(1)}
    model_folder.save_model(tmp_path / "clip", tiny.CLIP, tokenizer, params)
    only_clip = judges.Judges(None, judges.load_judge(tmp_path / "clip", None))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    items = [shapes_test.Item(c, None, 0, i) for i, c in enumerate(("a star", "a cross", "a dot"))]
    own = kept.Kept(tmp_path / "kept", only_clip)
    own.add(items, images, ())
    kept.Saved(tmp_path / "saved", {}).add(items, images, ())
    there, _ = seen.made_of(open_pictures(tmp_path / "saved"), only_clip)
    found = own.read(3)["cosines"]
    np.testing.assert_allclose(there["cosines"], found, atol=1e-6)
    embeddings = features.features([images], only_clip.judge.network.images)["features"]
    encoded = only_clip.judge.network.tokenizer.encode([item.caption for item in items])
    texts = features.features([encoded], only_clip.judge.network.texts)["features"]
    norms = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(texts, axis=1)
    np.testing.assert_allclose(found, (embeddings * texts).sum(axis=1) / norms, atol=1e-5)


def test_features_that_are_gone_are_told(tmp_path):
    own = kept.Kept(tmp_path, None)
    np.savez(tmp_path / "00000000.npz", features=np.zeros((3, 2)))
    assert own.read(3)["features"].shape == (3, 2)
    with pytest.raises(ValueError, match="has features of 3 pictures, not of 4; remove it"):
        own.read(4)
    with pytest.raises(ValueError, match="has features of 0 pictures, not of 4; remove it"):
        kept.Kept(tmp_path / "gone", None).read(4)


def test_a_sheet_has_what_went_wrong_before_a_stop_once(tmp_path):
    items = [shapes_test.Item(f"caption {seed}", None, 1, seed) for seed in range(30)]
    images = np.tile(np.arange(30, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 3))
    verdicts = [shapes_test.Verdict(("colour",) * (seed % 2), 0.0) for seed in range(30)]
    first = wrong.WrongPictures(tmp_path / "wrong" / "test.jsonl")
    first.add(items[:10], images[:10], verdicts[:10])
    again = wrong.WrongPictures(tmp_path / "wrong" / "test.jsonl")
    again.add(items[5:], images[5:], verdicts[5:])  # five of them for the second time
    assert [caption for _, caption, _ in again.found] == [f"caption {n}" for n in range(1, 30, 2)]
    for picture, caption, kinds in again.found:
        np.testing.assert_array_equal(picture, images[int(caption.split()[1])])
        assert list(kinds) == ["colour"] and picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("held", "command", "message"),
    [
        ('{"fid": 1}', ["--splits", "test"], "has no rows of models"),
        ('{"rows": [{"images": {}}]}', ["sweep"], "has no rows of models"),
        ("[1]", ["inpainting"], "is none of evaluate.py's"),
        (
            '{"rows": [{"model": "m"}]}',
            ["--images", "x"],
            "has rows of models, which would be lost",
        ),
        ('{"rows": [{"model": "m"}]}', ["compare", "x", "y"], "which would be lost"),
        ('{"rows": []}', ["duel", "x", "y"], "which would be lost"),
    ],
)
def test_results_of_another_kind_stay(painter, held, command, message, tmp_path):
    (tmp_path / "results.json").write_text(held)
    with pytest.raises(ValueError, match=message):
        evaluate.main([*command, "--out", str(tmp_path)])
    assert (tmp_path / "results.json").read_text() == held and not painter.asked


def test_the_recipe_of_coco_is_the_paper_s_protocol():
    own = eval_coco.get_config()
    assert own.num == 30_000 and own.upsampler and own.parts == ("folder",)
    line = ["--config", eval_coco.__file__, "--num", "9"]
    rest, default = options.with_config(line, options.Sweep)
    assert rest == ["--num", "9"] and isinstance(default, options.Sweep)
    assert default.model == "glide-base" and default.guides == ("cfg",)


CELLS = [
    (["sweep", "--samplers", "ddim", "dpmpp", "--steps-each", "5", "fast27"], "for dpmpp it must"),
    (["sweep", "--guides", "cfg", "clip", "--clip-models", "nowhere"], "there is no model 'nowhe"),
    (["sweep", "--rerank-froms", "1", "2", "--rerank-model", "nowhere"], "there is no model 'now"),
    (["--eta", "2", "--sampler", "ddim"], "eta is 2.0; it must be from 0 to 1"),
    (["--dynamic-threshold", "2"], "dynamic_threshold is 2.0; it must be above 0"),
    (["--batch-size", "0"], "batch_size is 0; it must be 1 or more"),
    (["--reference", "nowhere", "--judge", "shapes-clip-eval"], "'nowhere' is neither a folder"),
]


@pytest.mark.parametrize(("more", "message"), CELLS)
def test_what_a_later_cell_lacks_is_told_before_the_first_picture(painter, more, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        evaluate.main([*more, "--num", "3", "--out", str(tmp_path / "out")])
    assert not painter.asked and not (tmp_path / "out").exists()


def test_a_clip_that_does_not_fit_is_told_before_the_first_picture(painter, monkeypatch, tmp_path):
    class Unfit:
        def check_fits(self, network):
            raise ValueError("the CLIP's image_size is another")

    painter.network = None
    monkeypatch.setattr(drawn_pictures, "load_clip", lambda name, dtype: Unfit())
    with pytest.raises(ValueError, match="the CLIP's image_size is another"):
        evaluate.main(["sweep", "--guides", "cfg", "clip", "--num", "3", "--out", str(tmp_path)])
    assert not painter.asked


def test_a_reference_is_opened_once_for_all_cells(painter, network, monkeypatch, tmp_path):
    opened, referred = [], seen.referred
    monkeypatch.setattr(seen, "referred", lambda *own: opened.append(own) or referred(*own))
    rows = np.random.default_rng(0).standard_normal((9, 5))
    np.savez(tmp_path / "real.npz", features=rows)
    more = ["--scales", "1", "2", "--reference", tmp_path / "real.npz"]
    told = run(tmp_path / "out", network, "sweep", *more, num=5)
    assert len(opened) == 1
    assert [row["reference"]["path"] for row in told["rows"]] == [str(tmp_path / "real.npz")] * 2


def captioned(folder, captions):
    folder.mkdir()
    for number, caption in enumerate(captions):
        Image.new("RGB", (32, 32), (90 * number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


def test_other_captions_or_pictures_of_a_folder_are_another_measurement(painter, network, tmp_path):
    folder = captioned(tmp_path / "own", ("a star", "a dog", "a cat"))
    run(tmp_path / "out", network, "--data", folder, num=3)
    run(tmp_path / "out", network, "--data", folder, num=3)
    assert painter.asked == [0, 1, 2]
    (folder / "1.txt").write_text("a tree")
    told = run(tmp_path / "out", network, "--data", folder, num=3)
    assert painter.asked == [0, 1, 2] * 2 and len(told["rows"]) == 2
    Image.new("RGB", (40, 40), "red").save(folder / "2.png")
    told = run(tmp_path / "out", network, "--data", folder, num=3)
    assert len({row["reference"]["hash"] for row in told["rows"]}) == len(told["rows"]) == 3


def test_what_a_folder_lacks_is_told_before_the_first_picture(painter, network, tmp_path):
    folder = captioned(tmp_path / "own", ("a star", " ", "a cat"))
    with pytest.raises(ValueError, match="1.png: its caption is empty; mend it or leave it out"):
        run(tmp_path / "out", network, "--data", folder, num=3)
    (folder / "1.txt").write_text("a dog")
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="2.png: .*; mend the picture or leave it out"):
        run(tmp_path / "out", network, "--data", folder, num=3)
    with pytest.raises(ValueError, match="--upsampler 'x' is no upsampler; 'shapes32' draws 32 pi"):
        run(tmp_path / "out", network, "--data", folder, "--upsampler", "x", num=3)
    assert not painter.asked


def test_a_sweep_refuses_what_it_has_lists_for():
    alone = {"sampler": "ddim", "guide": "clip", "clip_model": "x", "clip_scale": 2.0}
    for name, value in (alone | {"rerank_from": 4, "rerank_model": "x"}).items():
        option = name.replace("_", "-")
        with pytest.raises(ValueError, match=f"--{option} is {value!r}, but .*: (say|give) --"):
            list(options.Sweep(**{name: value}).cells())
    with pytest.raises(ValueError, match="--guidance-scale is 2.0, but only --guides both takes"):
        list(options.Sweep(guidance_scale=2.0).cells())
    cells = list(options.Sweep(guidance_scale=2.0, guides=("both",), scales=(1.0,)).cells())
    assert [(cell.guidance_scale, cell.clip_scale) for cell in cells] == [(2.0, 1.0)]


def test_a_config_gives_what_it_says_and_no_more(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from glide_jax.evaluation.options import Drawing\n"
        "get_config = lambda: Drawing(model='m', batch_size=4)\n"
    )
    for line in (["--config", str(path), "--save"], ["--save", f"--config={path}"]):
        rest, default = options.with_config(line, options.Sweep)
        assert rest == ["--save"] and default == options.Sweep(model="m", batch_size=4)
        assert (default.captions, default.num, default.splits) == ("tuning", 256, ("test",))
    _, default = options.with_config(["--config", str(path)], options.Drawing)
    assert default == options.Drawing(model="m", batch_size=4)


def test_lists_are_apart_by_commas_or_spaces():
    line = "--scales 0,1,2 3 --guidance=cfg,clip --steps-each 10,10,3 --model a,b"
    expected = "--scales 0 1 2 3 --guides cfg clip --steps-each 10,10,3 --model a,b"
    assert list(options.with_lists(line.split())) == expected.split()


@pytest.mark.parametrize(
    ("more", "steps"),
    [({}, [None]), ({"steps": "5"}, ["5"]), ({"steps_each": ("5", "fast27")}, ["5", "fast27"])],
)
def test_a_sweep_has_the_steps_of_a_drawing_where_it_names_none(more, steps):
    cells = options.Sweep(scales=(3.0,), **more).cells()
    assert [cell.steps for cell in cells] == steps


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "--data is 'nowhere', but there is no such folder"),
        (["--data", "tfds:coco_captions"], "which names no split: tfds:coco_captions@val"),
        (["--resamplings", "0"], "--resamplings is 0"),
        (["--upsampler", "x"], "but --data is shapes: evaluate.py upsampling"),
        (["--config", "nowhere.py"], "--config is 'nowhere.py'"),
        (["--config=nowhere.py"], "--config is 'nowhere.py'; give a file such as configs/eval_c"),
        (["--config", "README.md"], "README.md is no config that can be read: SyntaxError"),
        (["--config", "configs/tiny.py"], "has no get_config\\(\\) of evaluate.py"),
    ],
)
def test_bad_input_is_a_sentence(painter, more, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        evaluate.main(["--num", "3", *more, "--out", str(tmp_path)])


def test_a_config_without_its_file_is_told():
    with pytest.raises(ValueError, match="--config is ''; give a file such as configs/eval_coco"):
        options.with_config(["--save", "--config"], options.Drawing)
