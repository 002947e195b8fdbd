"""Folders of pictures with .txt files or a captions.jsonl: what is found, and what is refused."""

import json
import pickle
import re

import pytest

from glide_jax.config import Data
from glide_jax.data.examples import BadExample, Names
from glide_jax.data.sources import open_folder, open_source, read_example
from tests.pictures import fill, number_of, png


def refusal(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def write_lines(folder, *rows):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")


def read_all(source):
    return [
        (number_of(image), captions)
        for image, captions in (read_example(source, i, 4) for i in range(len(source)))
    ]


def test_pictures_go_with_the_txt_of_their_name(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.b").mkdir()
    for i, name in enumerate(["b/x.JPG", "a.b/y.2.png", "c.png", ".hidden.png"]):
        (tmp_path / name).write_bytes(png(i))
        (tmp_path / name).with_suffix(".txt").write_text(f"caption {i}")
    (tmp_path / "notes.txt").write_text("of no picture")
    (tmp_path / "data.target.csv").write_text("no tar")
    source = open_folder(str(tmp_path))
    assert [source.pictures[i] for i in range(3)] == ["c.png", "a.b/y.2.png", "b/x.JPG"]
    assert read_all(source) == [(2, ["caption 2"]), (1, ["caption 1"]), (0, ["caption 0"])]


def test_a_txt_has_a_caption_a_line(tmp_path):
    fill(tmp_path, 1)
    (tmp_path / "000.txt").write_bytes("\ufeffein B\u00e4r \r\n\n  a bear\n".encode())
    assert open_folder(str(tmp_path)).captions(0) == ["ein B\u00e4r", "a bear"]


@pytest.mark.parametrize(
    "break_it, reason",
    [
        (lambda f: (f / "001.txt").unlink(), "001.png: there is no file 001.txt"),
        (lambda f: (f / "001.txt").write_text(" \n\t\n"), "001.png: its caption is empty"),
        (lambda f: (f / "001.txt").write_bytes(b"\xff"), "001.png: its caption is not UTF-8"),
        (lambda f: (f / "001.png").write_bytes(b"?"), "001.png: cannot identify image file"),
    ],
)
def test_what_is_wrong_with_an_example(tmp_path, break_it, reason):
    source = open_folder(str(fill(tmp_path, 3)))
    break_it(tmp_path)
    with pytest.raises(BadExample, match=f"^{re.escape(reason)}$"):
        read_example(source, 1, 4)
    assert len(open_folder(str(tmp_path))) == 3  # it counts still


def test_captions_jsonl_lists_pictures(tmp_path):
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(["a.png", "sub/b", "unlisted.png"]):
        (tmp_path / name).write_bytes(png(i))
    write_lines(
        tmp_path,
        {"file": "sub/b", "caption": ["one", "", "zw\u00f6lf"]},
        "",
        '  {"file": "a.png", "caption": "a"}\t\r',
        {"file": "c.png", "caption": "c"},
    )
    (tmp_path / "c.png").write_bytes(png(3))
    source = open_folder(str(tmp_path))
    assert read_all(source) == [(1, ["one", "zw\u00f6lf"]), (0, ["a"]), (3, ["c"])]


def test_another_field_of_captions_jsonl(tmp_path):
    (tmp_path / "a.png").write_bytes(png(0))
    write_lines(tmp_path, {"file": "a.png", "caption": "no", "meta": {"alt": "yes"}})
    assert open_folder(str(tmp_path), "meta/alt").captions(0) == ["yes"]


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"file": "a.png", "caption": ""}, "a.png: its caption is empty"),
        ({"file": "a.png", "caption": []}, "a.png: its caption is empty"),
        ({"file": "a.png", "caption": 3}, "a.png: its caption is empty"),
        ({"file": "a.png", "caption": "\ud83d"}, "a.png: its caption is not text in UTF-8"),
        ({"file": "a.png"}, "a.png: it has no field 'caption', but file"),
        ({"file": "a.png", "caption": None}, "a.png: it has no field 'caption', but file, caption"),
        ({"file": "b.png", "caption": "b"}, "b.png: there is no file b.png"),
        ({"file": ".", "caption": "b"}, ".: . cannot be read: Is a directory"),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path, row, reason):
    (tmp_path / "a.png").write_bytes(png(0))
    write_lines(tmp_path, {"file": "other.png", "caption": "x"}, row)
    with pytest.raises(BadExample, match=f"^{re.escape(reason)}$"):
        read_example(open_folder(str(tmp_path)), 1, 4)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([""], " is empty; it takes a line for each picture"),
        ([{"file": "a", "caption": "x"}, "{"], ", line 2 is no JSON: "),
        ([{"caption": "x"}], ', line 1 names no picture: it takes "file": "NAME"'),
        (["3"], ', line 1 names no picture: it takes "file": "NAME"'),
        (
            [{"file": "a", "caption": "x"}, {"file": "b", "caption": "x"}, {"file": "a"}],
            " lists a in lines 1 and 3; list it once, with all of its captions",
        ),
        (
            [{"file": "a", "text": "x"}, {"file": "b", "url": "y"}],
            " has the field 'caption'; its fields are file, text, url",
        ),
    ],
)
def test_a_captions_jsonl_that_is_refused(tmp_path, rows, message):
    write_lines(tmp_path, *rows)
    with pytest.raises(ValueError, match=f"captions.jsonl{re.escape(message)}"):
        open_folder(str(tmp_path))


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a caption")
    with refusal(
        f"{tmp_path} holds no pictures (.jpg .jpeg .png .webp .gif .bmp .tif .tiff .ppm .pgm), "
        "no captions.jsonl and no tar shards (.tar)"
    ):
        open_folder(str(tmp_path))


def test_a_folder_without_captions_is_refused(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(0))
    with refusal(
        f"{tmp_path} holds 2 pictures and no captions: there is no captions.jsonl, and no .txt "
        "beside a picture, such as a.txt beside a.png"
    ):
        open_folder(str(tmp_path))


def test_two_pictures_of_one_name_are_refused(tmp_path):
    (fill(tmp_path, 2) / "001.JPG").write_bytes(png(5))
    with refusal(
        f"{tmp_path} holds 001.JPG and 001.png: it takes other names to tell whose caption "
        "001.txt is"
    ):
        open_folder(str(tmp_path))


def test_one_name_in_two_folders_is_no_trouble(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, 2)
    assert [n for n, _ in read_all(open_folder(str(tmp_path)))] == [0, 1, 0, 1]


def test_a_field_of_txt_files_is_refused(tmp_path):
    with refusal(
        f"Data.caption_field is 'text', but the captions of {tmp_path} are .txt files, which have "
        "no fields"
    ):
        open_folder(str(fill(tmp_path, 1)), "text")


def test_no_folder_is_refused(tmp_path):
    with refusal(f"there is no folder '{tmp_path}/x'"):
        open_folder(f"{tmp_path}/x")
    with refusal("Data.path is None; the source folder takes the folder of your pictures"):
        open_folder(None)


def test_nothing_but_broken_examples_is_refused(tmp_path):
    for path in fill(tmp_path, 3).glob("*.png"):
        path.write_bytes(b"?")
    with refusal("of 3 examples looked at none is good; 000.png: cannot identify image file"):
        open_source(Data(source="folder", path=str(tmp_path)), 4)


def test_names_are_packed():
    names = ["a.png", "", "b\u00e4r/\U0001f43b.jpg", "\udcff.png"]  # the last is not UTF-8 on disk
    packed = pickle.loads(pickle.dumps(Names(names)))
    assert [packed[i] for i in range(len(packed))] == names
    many = Names(f"{i:040d}" for i in range(10_000))
    assert len(pickle.dumps(many)) < 49 * 10_000
    assert len(Names([])) == 0
