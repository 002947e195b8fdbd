"""Tar shards: what is in them, where it lies, and what is refused."""

import io
import json
import re
import tarfile

import pytest

from glide_jax.data.examples import BadExample
from glide_jax.data.sources import open_folder, read_example
from tests.pictures import number_of, png


def write_tar(path, files, **options):
    """A tar of {name: bytes, string or what becomes JSON}."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files.items():
            if not isinstance(content, bytes | str):
                content = json.dumps(content)
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def read_all(source):
    return [
        (number_of(image), captions)
        for image, captions in (read_example(source, i, 4) for i in range(len(source)))
    ]


def test_examples_are_read_from_their_places(tmp_path):
    (tmp_path / "more").mkdir()
    write_tar(
        tmp_path / "b.tar",
        {
            "000.PNG": png(2),
            "000.json": {"caption": ["x", "y"]},
            "000.seg.png": png(99),
            "dir.1/001.png": png(3),
            "dir.1/001.txt": "three\ndrei\n",
            "dir.1/001.json": {"caption": "not this"},
            "alone.txt": "of no picture",
        },
    )
    write_tar(tmp_path / "more/a.tar", {"000.txt": "four", "000.png": png(4)})
    source = open_folder(str(tmp_path))
    assert read_all(source) == [(2, ["x", "y"]), (3, ["three", "drei"]), (4, ["four"])]


def test_a_field_is_looked_for_in_json_alone(tmp_path):
    files = {"0.png": png(0), "0.txt": "no", "0.json": {"meta": {"alt": "yes"}}}
    write_tar(tmp_path / "a.tar", files)
    assert open_folder(str(tmp_path), "meta/alt").captions(0) == ["yes"]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tmp_path, format):
    name = "a/" * 80 + "b\u00e4r"
    write_tar(tmp_path / "a.tar", {f"{name}.png": png(7), f"{name}.txt": "bear"}, format=format)
    source = open_folder(str(tmp_path))
    assert source.names[0] == name and read_all(source) == [(7, ["bear"])]


def test_what_is_wrong_with_an_example(tmp_path):
    files = {
        "good.png": png(0),
        "good.txt": "good",
        "bare.png": png(1),
        "empty.png": png(2),
        "empty.txt": "\n",
        "field.png": png(3),
        "field.json": {"text": "x", "width": 4},
        "json.png": png(4),
        "json.json": "{",
        "image.png": b"?",
        "image.txt": "x",
    }
    write_tar(tmp_path / "a.tar", files)
    source, reasons = open_folder(str(tmp_path)), []
    for index in range(1, len(source)):
        with pytest.raises(BadExample) as error:
            read_example(source, index, 4)
        reasons.append(str(error.value).partition(" is broken")[0])
    assert reasons == [
        "a.tar: bare: it has no caption",
        "a.tar: empty: its caption is empty",
        "a.tar: field: it has no field 'caption', but text, width",
        "a.tar: json: its .json",
        "a.tar: image: cannot identify image file",
    ]


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"0.png": png(0), "0.jpg": png(1), "0.txt": "x"},
            "two files that could be the picture of 0; it takes other names",
        ),
        (
            {"0.png": png(0), "0.txt": "x", "0.TXT": "y"},
            "two files that could be the .txt of 0; it takes other names",
        ),
        ({"0.txt": "x"}, "hold no pictures (.jpg .jpeg"),
        (
            {"0.png": png(0), "1.txt": "x"},
            "hold 1 pictures and no .txt or .json files with captions for them",
        ),
    ],
)
def test_shards_that_are_refused(tmp_path, files, message):
    write_tar(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_folder(str(tmp_path))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.zst"])
def test_compressed_shards_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"?")
    message = f"{tmp_path / name} is compressed, and so cannot be read at random; decompress it"
    with pytest.raises(ValueError, match=re.escape(message)):
        open_folder(str(tmp_path))


def test_shards_cut_off_are_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"0.png": png(0), "0.txt": "x", "1.png": png(1)})
    whole = path.read_bytes()
    for cut in (b"", whole[:100], whole[:700], whole[: 4 * 512 + 100], b"?" * 2000):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="a.tar is cut off, or no tar file: "):
            open_folder(str(tmp_path))


def test_pictures_beside_shards_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", {"0.png": png(0), "0.txt": "x"})
    (tmp_path / "b.png").write_bytes(png(1))
    message = f"{tmp_path} holds pictures (b.png) and tar shards (a.tar); give them a folder each"
    with pytest.raises(ValueError, match=re.escape(message)):
        open_folder(str(tmp_path))
