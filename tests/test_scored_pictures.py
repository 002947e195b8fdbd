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
from glide_jax.evaluation import (
    coco,
    features,
    pictures,
    reference,
    results,
    scoring,
    seen,
    shapes_test,
)
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
    assert left_out["fid"].startswith("there are no features: give --features (it has a default ")


@pytest.mark.parametrize("names", [("features",), ("statistics",), ("features", "statistics")])
def test_a_reference_of_one_picture_is_no_reference(names, tmp_path):
    rows = features_file(tmp_path / "a.npz")
    real = {"features": rows[:1], "statistics": statistics.of(rows[:1])}
    found, left_out = scoring.score({"features": rows}, {name: real[name] for name in names}, 5)
    why = "the reference has 1 pictures; {} or more are needed"
    assert left_out["fid"] == left_out["kid"] == why.format(2)
    assert left_out["recall"] == why.format(4)
    spoiled = statistics.of(rows)._replace(mean=np.full(4, np.nan))
    with pytest.raises(ValueError, match="statistics of --reference hold numbers that are not fin"):
        scoring.score({"features": rows}, {"statistics": spoiled}, 5)


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


def test_the_referee_reads_at_the_size_that_is_given(tmp_path):
    (item,) = shapes_test.items("test", 3)[:1]
    scene = describe(item.seed, shapes_test.PINNED_SEED, "test")[0]
    wide = np.pad(render(scene, 64), ((0, 0), (8, 8), (0, 0)), "edge")
    save_png(tmp_path / "wide.png", wide, {"prompts": [item.caption]})
    out = tmp_path / "out"
    run("--images", tmp_path, "--features", "none", "--size", "32", "--out", out)
    assert json.loads((out / "results.json").read_text())["caption_accuracy"]["value"] == 1


def captioned(folder, side=32, captions=("a star", "a dog")):
    """A folder of pictures of one side with a .txt beside each."""
    folder.mkdir()
    for number, caption in enumerate(captions):
        Image.new("RGB", (side, side), "red").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


def test_why_there_are_no_captions_is_told(tmp_path):
    folder = captioned(tmp_path / "drawn", captions=("a star", " "))
    evaluate.main(["--images", str(folder), "--out", str(tmp_path / "out")])
    left_out = json.loads((tmp_path / "out" / "results.json").read_text())["left_out"]
    why = "1.png: its caption is empty; mend it or leave it out"
    assert left_out["clip_score"] == left_out["caption_accuracy"] == why
    (folder / "1.txt").unlink()
    why = "1.png has no caption; give it one, or leave it out"
    assert pictures.open_pictures(folder).uncaptioned == why


def test_a_blank_caption_of_the_reference_is_told(network, tmp_path):
    folder = captioned(tmp_path / "real", captions=("a star", " "))
    more = ["--features", str(network), "--out", str(tmp_path / "real.npz")]
    with pytest.raises(ValueError, match="1.png: its caption is empty; mend it or leave it out"):
        evaluate.main(["reference", "--data", str(folder), *more])


def test_networks_of_shapes_judge_pictures_of_their_side_alone(tmp_path, capsys):
    few = [str(captioned(tmp_path / str(number), side=40)) for number in range(2)]
    more = ["--resamplings", "2", "--out", str(tmp_path / "out")]
    evaluate.main(["compare", *few, "--reference", few[0], *more])
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    row = told.get("rows", [told])[0]
    assert row["settings"].keys() == {"size", "resamplings"} and "fid" not in row
    for metric, option in {"fid": "--features", "clip_score": "--judge"}.items():
        assert option in row["left_out"][metric]
    evaluate.main(["--images", few[0], "--reference", few[1], "--size", "32", *more])
    row = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"features", "judge"} < row["settings"].keys() and "fid" in row
    with pytest.raises(ValueError, match="--features is missing"):
        evaluate.main(["reference", "--data", few[0], "--out", str(tmp_path / "real.npz")])


def test_a_reference_tells_its_files(network, tmp_path):
    folder, judge = captioned(tmp_path / "real"), SimpleNamespace(name="n", hash="h")
    source, number = reference.open_real(str(folder))
    before = reference.about(str(folder), "test", number, 32, source, judge)
    assert before == reference.about(str(folder), "test", number, 32, source, judge)
    Image.new("RGB", (33, 33), "blue").save(folder / "1.png")
    source, number = reference.open_real(str(folder))
    after = reference.about(str(folder), "test", number, 32, source, judge)
    assert before.pop("files") != after.pop("files") and before == after
    source, number = reference.open_real("shapes", num=2)
    assert "files" not in reference.about("shapes", "test", number, 32, source, judge)


def test_features_of_other_networks_or_sizes_are_not_compared(network, tmp_path):
    own = {"features": "a", "features_hash": "1", "size": 32}
    abouts = {"own": own, "other": own | {"features_hash": "2"}, "larger": own | {"size": 64}}
    rows = np.random.default_rng(0).standard_normal((9, 5))
    for name, about in abouts.items():
        np.savez(tmp_path / f"{name}.npz", features=rows, about=json.dumps(about))
    at = ["--images", tmp_path / "own.npz", "--out", tmp_path / "out", "--reference"]
    with pytest.raises(ValueError, match="own.npz has features of the network 1, and --reference"):
        run(*at, tmp_path / "other.npz")
    with pytest.raises(ValueError, match="own.npz has features of the size 32, and .* of 64; make"):
        run(*at, tmp_path / "larger.npz")
    with pytest.raises(ValueError, match=r"own.npz was made by a \(1\), not by"):
        run(*at, captioned(tmp_path / "real"), "--features", network)
    run(*at, tmp_path / "own.npz")


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
        (["reference", "--size", "0"], "--size is 0; it must be 1 or more"),
        (["reference", "--size", "9", "--features", "shapes-features"], "takes pictures of 32 pix"),
        (["reference", "--out", "{tmp}/empty.npz"], "--out is '.*', which is a folder; name a fi"),
        (["reference", "--out", "{tmp}/x.npz/y.npz"], "x.npz' is no folder to write to"),
        (
            ["--images", "{tmp}/adm.npz", "--size", "64", "--features", "shapes-features"],
            "--size is 64, but shapes-features takes pictures of 32 pixels",
        ),
    ],
)
def test_bad_input_is_a_sentence(options, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.npz").mkdir()
    np.savez(tmp_path / "adm.npz", IMAGES)
    np.savez(tmp_path / "bad.npz", arr_0=np.zeros((2, 3)))
    np.savez(tmp_path / "odd.npz", other=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "odd.npz").read_bytes()[:100])
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    features_file(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", features=np.zeros((9, 3)))
    options = [option.format(tmp=tmp_path) for option in options]
    if "--out" not in options:
        options += ["--out", str(tmp_path / "out.npz")]
    with pytest.raises(ValueError, match=message):
        evaluate.main(options)


def test_pictures_that_differ_in_size_want_one(tmp_path):
    for number, side in enumerate((32, 24)):
        Image.fromarray(IMAGES[number, :side, :side]).save(tmp_path / f"{number}.png")
    source = pictures.open_pictures(tmp_path).source
    with pytest.raises(ValueError, match="1.png has a side of 24 pixels, and the first .* --size"):
        list(pictures.read_batches(source, None))
    assert next(pictures.read_batches(source, 16)).shape == (2, 16, 16, 3)
