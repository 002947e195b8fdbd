"""Files of successive edits: masks and boxes, and a sentence for each mistake."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from glide_jax.edits import edit_mask, read_edits

SIZE = 6, 9
RNG = np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    """Writes an edits file, from its text or from what it holds; its path."""

    def write(content):
        path = tmp_path / "edits.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def mask(tmp_path):
    """A mask beside the edits file: what is kept, bool [H, W]."""
    kept = RNG.integers(0, 2, SIZE) > 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(kept).save(tmp_path / "masks" / "hat.png")
    return kept


def test_edits_become_masks(write, mask):
    edits = read_edits(
        write(
            [
                {"mask": "masks/hat.png", "prompt": "a hat"},
                {"box": [2, 1, 5, 6], "prompt": ""},
                {"prompt": "all", "box": [0, 0, 9, 6]},
            ]
        )
    )
    assert [edit.prompt for edit in edits] == ["a hat", "", "all"]
    masks = [edit_mask(edit, SIZE) for edit in edits]
    assert all(mask.dtype == bool for mask in masks)
    np.testing.assert_array_equal(masks[0], mask)
    np.testing.assert_array_equal(edit_mask(edits[0], SIZE, invert=True), ~mask)
    np.testing.assert_array_equal(edit_mask(edits[1], SIZE, invert=True), masks[1])
    row, column = np.indices(SIZE)
    outside = (column < 2) | (column >= 5) | (row < 1)
    np.testing.assert_array_equal(masks[1], outside)
    assert not masks[2].any()


LIST = 'it takes [{"mask": FILE, "prompt": TEXT}, ...]'


@pytest.mark.parametrize(
    "content, sentence",
    [
        ({}, f" holds no list; {LIST}"),
        ("7", f" holds no list; {LIST}"),
        ([], f" holds an empty list; {LIST}"),
        ("[", " is no JSON: Expecting value: line 1 column 2 (char 1)"),
        ("", " is no JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_files_that_are_no_list_are_refused(write, content, sentence):
    path = write(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{sentence}')}$"):
        read_edits(path)


def test_deep_json_is_refused(write):
    with pytest.raises(ValueError, match="edits.json is no JSON: maximum recursion"):
        read_edits(write("[" * 100_000))


def test_a_missing_file_is_refused(tmp_path):
    sentence = f"there is no file {tmp_path / 'edits.json'}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_edits(tmp_path / "edits.json")


BOX = [0, 0, 1, 1]


@pytest.mark.parametrize(
    "entry, sentence",
    [
        ("a hat", 'is no object; it takes {"mask": FILE, "prompt": TEXT}'),
        (
            {"box": BOX, "promt": "x"},
            "has the unknown key 'promt'; of mask, box, prompt the nearest is 'prompt'",
        ),
        (
            {"Masks": "x", "prompt": "x"},
            "has the unknown key 'Masks'; of mask, box, prompt the nearest is 'mask'",
        ),
        ({"prompt": "x"}, "has no mask and box; give one"),
        ({"box": BOX, "mask": "x", "prompt": "x"}, "has both mask and box; give one"),
        ({"box": BOX}, "has the prompt None; it takes a text"),
        ({"box": BOX, "prompt": ["x"]}, "has the prompt ['x']; it takes a text"),
        (
            {"mask": "nowhere.png", "prompt": "x"},
            "has the mask 'nowhere.png', which is no file in FOLDER",
        ),
        ({"mask": 3, "prompt": "x"}, "has the mask 3, which is no file in FOLDER"),
        *(
            (
                {"box": box, "prompt": "x"},
                f"has the box {box!r}; it takes [left, top, right, bottom]",
            )
            for box in ("0 0 1 1", [0, 0, 1], [0, 0, 1, 1.0], [0, 0, 1, True], {}, None)
        ),
        *(
            (
                {"box": box, "prompt": "x"},
                f"has the box {box}, which is empty; left < right and top < bottom",
            )
            for box in ([3, 0, 3, 5], [4, 0, 3, 5], [0, 5, 3, 5], [0, 6, 3, 5])
        ),
    ],
)
def test_mistakes_name_the_entry(write, entry, sentence):
    path = write([{"box": BOX, "prompt": "x"}, entry])
    sentence = f"{path}, entry 2 {sentence}".replace("FOLDER", str(path.parent))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_edits(path)


@pytest.mark.parametrize("box", [[-1, 0, 3, 3], [0, -1, 3, 3], [0, 0, 10, 3], [0, 0, 3, 7]])
def test_a_box_outside_of_the_picture_names_the_entry(write, box):
    path = write([{"box": box, "prompt": "x"}])
    sentence = (
        f"{path}, entry 1 has the box {box}, which is not inside of the picture of 9 x 6 pixels"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        edit_mask(read_edits(path)[0], SIZE)


def test_a_mask_that_cannot_be_taken_names_the_entry(write):
    path = write([{"mask": "edits.json", "prompt": "x"}])
    sentence = f"{path}, entry 1: {path} cannot be read as a picture: cannot identify image file"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        edit_mask(read_edits(path)[0], SIZE)
