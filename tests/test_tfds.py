"""TFDS data sets: built from a folder, read without TensorFlow, and what is refused."""

import dataclasses
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from glide_jax.config import Data
from glide_jax.data import pipeline, tfds_build
from glide_jax.data.examples import BadExample
from glide_jax.data.sources import open_folder, open_source, read_example
from glide_jax.data.tfds import main
from tests.pictures import fill, number_of, png
from tests.test_tars import write_tar

SIDE = 4


def refusal(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with three broken examples, and what was built from it."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "My pictures (2)"
    folder.mkdir()
    fill(folder, 12)
    (folder / "002.txt").write_text("one\nb\u00e4r\n")
    (folder / "003.png").write_bytes(b"?")
    (folder / "004.txt").write_text("")
    (folder / "005.txt").unlink()
    command = [sys.executable, "-m", "glide_jax.data.tfds", "build", str(folder)]
    done = subprocess.run(
        [*command, "--out", str(root / "out")], capture_output=True, text=True, check=True
    )
    return folder, root / "out", done


@pytest.fixture
def data(built):
    name = "my_pictures_2"
    return Data(source="tfds", path=str(built[1]), name=name, caption_field="captions")


def read_all(source):
    return [
        (number_of(image), captions)
        for image, captions in (read_example(source, i, SIDE) for i in range(len(source)))
    ]


def test_build_says_what_there_is_and_what_was_left_out(built):
    folder, out, done = built
    assert done.stdout.splitlines() == [
        f"9 examples in {out}/my_pictures_2/1.0.0",
        "3 left out:",
        "  003.png: cannot identify image file",
        "  004.png: its caption is empty",
        "  005.png: there is no file 005.txt",
        "to train on it: python train.py configs/folder.py --data.source tfds "
        f"--data.path {out} --data.name my_pictures_2 --data.caption-field captions",
    ]
    assert "12/12" in done.stderr  # the progress bar


def test_build_leaves_the_data_set_alone_behind(built):
    files = files_in(built[1])
    assert {name.rpartition("/")[0] for name in files} == {"my_pictures_2/1.0.0"}
    assert not any("incomplete" in name for name in files) and len(files) == 3


def test_examples_are_those_of_the_folder(built, data):
    source, folder = open_source(data, SIDE), open_folder(str(built[0]))
    good = [i for i in range(12) if i not in (3, 4, 5)]
    assert read_all(source) == [
        (number_of(image), captions)
        for image, captions in (read_example(folder, i, SIDE) for i in good)
    ]
    assert source.captions(2) == ["one", "b\u00e4r"]
    assert bytes(source[0].image) == (built[0] / "000.png").read_bytes()


def test_the_stream_is_that_of_a_folder_of_the_same(built, data, tmp_path, tokenizer):
    fill(tmp_path, 7)
    tfds_build.build(str(tmp_path), str(tmp_path / "out"), "seven")
    ways = (
        Data(source="folder", path=str(tmp_path)),
        dataclasses.replace(data, path=str(tmp_path / "out"), name="seven"),
        dataclasses.replace(data, path=str(tmp_path / "out"), name="seven:1.0.0", workers=1),
    )
    streams = [
        list(pipeline.batches(way, open_source(way, SIDE), 0, 4, 5, SIDE, tokenizer))
        for way in ways
    ]
    for stream in streams[1:]:
        for ours, theirs in zip(streams[0], stream, strict=True):
            for name, values in ours.items():
                np.testing.assert_array_equal(values, theirs[name])


def test_tar_shards_are_built_too(tmp_path):
    write_tar(tmp_path / "a.tar", {"0.png": png(5), "0.json": {"alt": ["x", "y"]}})
    number, left_out = tfds_build.build(str(tmp_path), str(tmp_path / "out"), "t", "alt")
    assert (number, left_out) == (1, [])
    data = Data(source="tfds", path=str(tmp_path / "out"), name="t", caption_field="captions")
    assert read_all(open_source(data, SIDE)) == [(5, ["x", "y"])]


def test_a_part_of_a_split(data):
    assert len(open_source(dataclasses.replace(data, split="train[3:7]"), SIDE)) == 4


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": None}, "Data.name is None; the source tfds takes one, such as coco_captions"),
        (
            {"caption_field": None},
            "Data.caption_field is None; the source tfds takes one, such as captions/text",
        ),
        ({"name": "no"}, "Data.name is 'no', and {out} has no such data set; it has my_pictures_2"),
        (
            {"name": "my_pictures_2:2.0.0"},
            "Data.name is 'my_pictures_2:2.0.0', and {out} has no such data set; it has "
            "my_pictures_2",
        ),
        (
            {"path": "/nowhere"},
            "Data.name is 'my_pictures_2', and /nowhere has no such data set; it has none",
        ),
        (
            {"split": "test"},
            "Data.split is 'test'; my_pictures_2 has train, and parts of them, such as train[:90%]",
        ),
        (
            {"caption_field": "text"},
            "Data.caption_field is 'text', which is no feature of my_pictures_2 with text; it has "
            "captions (Text), image (Image)",
        ),
        (
            {"caption_field": "image"},
            "Data.caption_field is 'image', which is no feature of my_pictures_2 with text; it has "
            "captions (Text), image (Image)",
        ),
        (
            {"image_field": "captions"},
            "Data.image_field is 'captions', which is no feature of my_pictures_2 with pictures; "
            "it has captions (Text), image (Image)",
        ),
    ],
)
def test_what_is_refused(built, data, change, message):
    with refusal(message.format(out=built[1])):
        open_source(dataclasses.replace(data, **change), SIDE)


def test_build_refuses_what_it_cannot_do(built, tmp_path):
    folder, out, _ = built
    target = out / "my_pictures_2" / "1.0.0"
    with refusal(f"{target} is there already: choose another --out or --name"):
        tfds_build.build(str(folder), str(out), "my_pictures_2")
    with refusal("name is '2nd'; allowed: letters, digits and _, a letter first"):
        tfds_build.build(str(folder), str(out), "2nd")
    with pytest.raises(ValueError, match="there is one command, build; usage: "):
        main(["make"])
    for path in fill(tmp_path, 2).glob("*.png"):
        path.write_bytes(b"?")
    with refusal("of 2 examples none is good; 000.png: cannot identify image file"):
        tfds_build.build(str(tmp_path), str(tmp_path / "out"), "none")
    assert not (tmp_path / "out").exists()


def test_build_cut_off_leaves_nothing(tmp_path, monkeypatch):
    reads = iter(range(100))

    def read_rgb(image, name):
        if next(reads) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(tfds_build, "read_rgb", read_rgb)
    with pytest.raises(KeyboardInterrupt):
        tfds_build.build(str(fill(tmp_path, 6)), str(tmp_path / "out"), "six")
    assert files_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    "folder, name",
    [("/x/My pictures (2)", "my_pictures_2"), ("/x/2024", "pictures_2024"), ("/x/_", "pictures")],
)
def test_a_data_set_is_named_after_its_folder(folder, name):
    assert tfds_build._name_of(folder) == name


def features():
    """More than pictures and one caption: among it a picture that is none."""
    image, text = tfds.features.Image(), tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "sample": {"image": image, "id": tfds.features.Scalar(np.int64), "other": image},
            "captions": tfds.features.Sequence({"text": text(), "by": text()}),
            "title": text(),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
        }
    )


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """A data set as others build it, with a config and two splits."""
    root = tmp_path_factory.mktemp("nested")

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Nested fields."""

        VERSION = tfds.core.Version("3.0.1")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="large")]

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features(), disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "validation": self._generate_examples()}

        def _generate_examples(self):
            for i, texts in enumerate((["a", "b"], ["", "c"], [])):
                captions = [{"text": text, "by": "me"} for text in texts]
                sample = {"image": png(i), "id": i, "other": b"no picture"}
                yield i, {"sample": sample, "captions": captions, "title": f"no {i}", "label": 0}

    Builder.name = "others"
    builder = Builder(data_dir=str(root), file_format="array_record")
    builder.download_and_prepare(download_dir=str(root / "downloads"))
    return Data(
        source="tfds",
        path=str(root),
        name="others/large",
        split="validation",
        image_field="sample/image",
        caption_field="captions/text",
    )


def test_nested_fields(nested):
    source = open_source(nested, SIDE)
    assert [read_example(source, i, SIDE)[1] for i in (0, 1)] == [["a", "b"], ["c"]]
    assert number_of(read_example(source, 1, SIDE)[0]) == 1
    with pytest.raises(BadExample, match="^others/large validation, example 2: its caption is em"):
        source.captions(2)
    title = open_source(dataclasses.replace(nested, caption_field="title"), SIDE)
    assert title.captions(2) == ["no 2"]


def test_features_are_listed_by_their_paths(nested):
    with refusal(
        "Data.caption_field is 'captions', which is no feature of others/large with text; it has "
        "captions/by (Text), captions/text (Text), label (ClassLabel), sample/id (Scalar), "
        "sample/image (Image), sample/other (Image), title (Text)"
    ):
        open_source(dataclasses.replace(nested, caption_field="captions"), SIDE)


def test_other_file_formats_are_refused(nested, tmp_path):
    shutil.copytree(nested.path, tmp_path / "copy")
    folder = tmp_path / "copy/others/large/3.0.1"
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    for path in folder.glob("*array_record*"):
        path.rename(folder / path.name.replace("array_record", "tfrecord"))
    with refusal(
        f"{folder} has tfrecord files, which cannot be read at random; prepare the data set with "
        "file_format='array_record'"
    ):
        open_source(dataclasses.replace(nested, path=str(tmp_path / "copy")), SIDE)


def test_tensorflow_is_not_loaded(data):
    code = (
        "import sys; from glide_jax.data.sources import open_source, read_example;"
        f"from glide_jax.config import Data; source = open_source({data!r}, 4);"
        "read_example(source, 0, 4); import tensorflow_datasets;"
        "assert not {'tensorflow', 'jax', 'flax'} & {*sys.modules}, 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
