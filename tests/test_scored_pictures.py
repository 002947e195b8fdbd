"""evaluate.py --images and compare: any generator's pictures, scored; the metrics' values known."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import evaluate
from glide_jax import model_folder
from glide_jax.config import Classifier
from glide_jax.data.scenes import render
from glide_jax.data.shapes import describe
from glide_jax.evaluation import coco, features, pictures, results, scoring, seen, shapes_test
from glide_jax.evaluation.metrics import statistics
from glide_jax.evaluation.metrics.frechet import fid
from glide_jax.evaluation.metrics.inception_score import inception_score
from glide_jax.images import save_png
from tests import tiny

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
MODEL = Classifier(channels=(4, 8), features=5, objects=2, classes=3)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The folder of a tiny classifier."""
    folder = tmp_path_factory.mktemp("classifier") / "random"
    model_folder.save_model(folder, MODEL, None, tiny.random_params(1, MODEL))
    return folder


def features_file(path, shift=0.0, number=40):
    features = np.random.default_rng(3).standard_normal((number, 4)) + shift
    np.savez(path, features=features)
    return features


def run(*arguments):
    evaluate.main([*map(str, arguments), "--judge", "none", "--resamplings", "20"])


def test_features_are_scored_without_a_network(tmp_path, capsys):
    drawn = features_file(tmp_path / "a.npz", shift=1.0)
    real = features_file(tmp_path / "b.npz")
    run("--images", tmp_path / "a.npz", "--reference", tmp_path / "b.npz", "--out", tmp_path)
    told = json.loads((tmp_path / "results.json").read_text())
    # The same points moved by 1 in each of 4 directions: only the means differ.
    assert told["fid"]["value"] == pytest.approx(4.0, abs=1e-4) and told["fid"]["n"] == 40
    low, high = told["fid"]["interval"]
    assert low < 4 < high
    assert told["fid"]["value"] == pytest.approx(fid(*map(statistics.of, (drawn, real))), rel=1e-5)
    assert {"kid", "precision", "recall"} < told.keys()
    assert set(told["left_out"]) == {"inception_score", "clip_score", "caption_accuracy"}
    captured = capsys.readouterr()
    assert "inception_score is left out: there are no logits" in captured.err
    assert "| fid | kid |" in captured.out and "| 40 | 4 (" in captured.out
    page = (tmp_path / "report.html").read_text()
    assert "prefers-color-scheme: dark" in page and "http" not in page and "n 40" in page


def test_what_is_drawn_alike_is_perfect(tmp_path):
    rows = {"features": features_file(tmp_path / "a.npz")}
    found, _ = scoring.score(rows, rows, 5)
    assert found["precision"]["value"] == found["recall"]["value"] == 1
    assert found["fid"]["value"] == pytest.approx(0, abs=1e-9)
    only = {"statistics": statistics.of(rows["features"])}
    found, left_out = scoring.score(rows, only, 5)
    assert "fid" in found and left_out["kid"] == "the reference has statistics only, no features"


def test_logits_and_cosines_have_their_scores():
    sure = np.eye(4).repeat(25, axis=0) * 60
    found, left_out = scoring.score({"logits": sure, "cosines": np.array([0.2, 0.4])}, {}, 10)
    low, high = found["inception_score"]["interval"]
    value = found["inception_score"]["value"]
    # Four classes, each picture sure: 4 if each part had them as often, and less as they are dealt.
    assert value == pytest.approx(inception_score(sure).mean, rel=1e-5)
    assert low < value < high < 4.1
    assert found["clip_score"]["value"] == pytest.approx(0.3)
    assert left_out["fid"] == "there are no features: give --features"


def test_pictures_of_every_kind_of_place_are_the_same(tmp_path, network):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        save_png(folder / f"{number:02d}.png", image, {"prompts": [f"caption {number}"]})
    np.savez(tmp_path / "adm.npz", IMAGES, np.arange(12))
    places = folder, tmp_path / "adm.npz"
    found = [pictures.open_pictures(place) for place in places]
    for each in found:
        (batch,) = pictures.read_batches(each.source, None)
        np.testing.assert_array_equal(batch, IMAGES)
    assert found[0].captions[3] == "caption 3" and found[1].captions is None
    out = tmp_path / "out"
    run("compare", *places, "--features", network, "--reference", places[1], "--out", out)
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["images"]["path"] for row in rows] == [str(place) for place in places]
    assert rows[0]["images"]["hash"] == rows[1]["images"]["hash"]
    for row in rows:
        assert row["fid"]["value"] == pytest.approx(0, abs=1e-4) and row["recall"]["value"] == 1
        assert row["inception_score"]["n"] == 12 and row["settings"]["features"]["hash"]
    assert (out / "report.html").read_text().count("data:image/png;base64,") == 2


def test_a_picture_counts_once_whatever_the_batch(monkeypatch):
    source = pictures.Arrays(IMAGES)
    monkeypatch.setattr(pictures, "BATCH", 5)
    batches = list(pictures.read_batches(source, 16))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    expected = np.asarray(Image.fromarray(IMAGES[11]).resize((16, 16), Image.Resampling.BOX))
    np.testing.assert_array_equal(batches[-1][-1], expected)


def test_captions_of_shapes_are_refereed(tmp_path):
    items = shapes_test.items("test", 6)
    scenes = [describe(item.seed, shapes_test.PINNED_SEED, "test")[0] for item in items]
    for item, scene in zip(items, [*scenes[:4], scenes[5], scenes[4]], strict=True):
        settings = {"prompts": [item.caption]}
        save_png(tmp_path / f"{item.seed:03d}.png", render(scene, 32), settings)
    found, _ = seen.accuracy(pictures.open_pictures(tmp_path))
    assert found["caption_accuracy"]["value"] == pytest.approx(4 / 6, abs=1e-4)


def test_results_put_the_newest_metrics_beside_the_rows(tmp_path):
    path = tmp_path / "results.json"
    for value in (3, 2):
        results.add_row(path, {"settings": {"scale": value}, "fid": {"value": value}})
    told = json.loads(path.read_text())
    assert told["fid"]["value"] == 2 and [row["fid"]["value"] for row in told["rows"]] == [3, 2]


def jpeg(colour):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "JPEG")
    return file.getvalue()


def make_coco(folder):
    """COCO's layout with three pictures of two captions each."""
    (folder / "val2014").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images = [{"id": i, "file_name": f"COCO_val2014_{i:012d}.jpg"} for i in (7, 8, 9)]
    for image, colour in zip(images, ("red", "lime", "blue"), strict=True):
        (folder / "val2014" / image["file_name"]).write_bytes(jpeg(colour))
    captions = [
        {"id": 10 * i + n, "image_id": i, "caption": f" picture {i}, told {n}.\n"}
        for i in (7, 8, 9)
        for n in (1, 2)
    ]
    told = json.dumps({"images": images, "annotations": captions[::-1]})
    (folder / coco.CAPTIONS).write_text(told)
    return folder


def test_coco_is_read_from_its_own_layout(tmp_path):
    folder = make_coco(tmp_path / "coco")
    drawn = coco.Coco(folder, 6)
    assert sorted(drawn.captions(i)[0] for i in range(6)) == [
        f"picture {i}, told {n}." for i in (7, 8, 9) for n in (1, 2)
    ]
    again = coco.Coco(folder, 4)
    assert [again.captions(i) for i in range(4)] == [drawn.captions(i) for i in range(4)]
    colours = {"7": (254, 0, 0), "8": (0, 255, 1), "9": (0, 0, 254)}
    for index in range(6):
        image = pictures.read_one(drawn, index, 16)
        assert image.shape == (16, 16, 3)
        expected = colours[drawn.captions(index)[0][8]]
        np.testing.assert_allclose(image[8, 8], expected, atol=3)
    assert pictures.open_pictures(folder).number == 3
    with pytest.raises(ValueError, match="--num is 7, but .* has 6 captions"):
        coco.Coco(folder, 7)


def test_statistics_made_once_judge_as_the_pictures_do(tmp_path, network):
    folder, made = make_coco(tmp_path / "coco"), tmp_path / "coco.npz"
    run_reference = ["reference", "--data", folder, "--num", "6", "--features", network]
    evaluate.main([*map(str, run_reference), "--out", str(made)])
    ready = pictures.open_pictures(made).ready
    assert ready["statistics"].n == 6 and ready["features"].shape == (6, 5)
    assert ready["about"]["size"] == 32 and ready["about"]["captions"]
    judge = SimpleNamespace(hash="another", name="other", side=32, network=None)
    with pytest.raises(ValueError, match="not by other .*; make it anew by evaluate.py reference"):
        seen.referred(made, judge)
    np.savez(tmp_path / "adm.npz", IMAGES)
    out = tmp_path / "out"
    run("--images", tmp_path / "adm.npz", "--reference", made, "--features", network, "--out", out)
    told = json.loads((out / "results.json").read_text())
    (own,) = pictures.read_batches(pictures.Arrays(IMAGES), None)
    drawn = features.features([own], features.classifier_network(network))["features"]
    expected = fid(statistics.of(drawn), ready["statistics"])
    assert told["fid"]["value"] == pytest.approx(expected, rel=1e-4)
    assert told["fid"]["n_reference"] == told["reference"]["n"] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "nowhere"], "'nowhere' is neither a folder nor an .npz file"),
        (["--images", "{tmp}/empty"], "holds no pictures"),
        (["--images", "{tmp}/bad.npz"], r"arr_0 of .* is float64 \(2, 3\); give uint8"),
        (["--images", "{tmp}/odd.npz"], "has no arr_0, features, or mu and sigma"),
        (["--images", "{tmp}/cut.npz"], "cut.npz is no .npz file that can be read"),
        (["--images", "{tmp}/array.npz"], "array.npz is no .npz file that can be read"),
        (["--images", "{tmp}/x.npz", "--resamplings", "1"], "--resamplings is 1"),
        (["--images", "{tmp}/x.npz", "--size", "0"], "--size is 0"),
        (["--images", "{tmp}/x.npz", "--features", "nowhere"], "there is no model 'nowhere'"),
        (["--images", "{tmp}/x.npz", "--reference", "{tmp}/y.npz"], "4 columns .* same network"),
        (["compare", "{tmp}/x.npz"], "compare is given .*x.npz; give two or more"),
        (["reference", "--data", "nowhere"], "--features is missing|no such folder"),
    ],
)
def test_bad_input_is_a_sentence(options, message, tmp_path):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "bad.npz", arr_0=np.zeros((2, 3)))
    np.savez(tmp_path / "odd.npz", other=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "odd.npz").read_bytes()[:100])
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    features_file(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", features=np.zeros((9, 3)))
    options = [option.format(tmp=tmp_path) for option in options]
    with pytest.raises(ValueError, match=message):
        evaluate.main([*options, "--out", str(tmp_path / "out.npz")])


def test_pictures_that_differ_in_size_want_one(tmp_path):
    for number, side in enumerate((32, 24)):
        Image.fromarray(IMAGES[number, :side, :side]).save(tmp_path / f"{number}.png")
    source = pictures.open_pictures(tmp_path).source
    with pytest.raises(ValueError, match="1.png has a side of 24 pixels, and the first .* --size"):
        list(pictures.read_batches(source, None))
    assert next(pictures.read_batches(source, 16)).shape == (2, 16, 16, 3)
