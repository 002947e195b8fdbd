"""The figure of the fine-tuned photographs: its measure, its layout and its errors."""

import re

import numpy as np
import pytest

from docs import photographs
from tests.pictures import colour, fill


def test_each_picture_is_measured_against_each_crop():
    crops = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 100, 250)])
    drawn = crops[[1, 2]] + np.uint8(3)
    expected = np.square(np.array([[103, 3, -147], [253, 153, 3]], np.float32))
    np.testing.assert_allclose(photographs.squared_errors(drawn, crops), expected)


def flat(tone):
    """A dark red picture: no letter has its colour."""
    return np.full((4, 4, 3), (tone, 0, 0), np.uint8)


def test_crops_are_shown_above_what_was_drawn():
    crops, drawn = ([flat(tone + i) for i in range(8)] for tone in (50, 90))
    shown = photographs.figure(crops, drawn, [f"caption {i}" for i in range(8)])
    for tone in (50, 90):
        areas = [(shown == (tone + i, 0, 0)).all(axis=2).sum() for i in range(8)]
        assert areas == [photographs.SHOWN**2] * 8
    first, below, second_bank = (
        np.argwhere((shown == (tone, 0, 0)).all(axis=2))[0] for tone in (50, 90, 56)
    )
    assert first[0] < below[0] < second_bank[0] and first[1] == below[1] == second_bank[1]


def test_crops_lie_in_photographs_and_have_captions_of_their_own():
    sizes = {"china": (640, 427), "flower": (640, 427), "hopper": (512, 600)}
    for name, (left, top, side), _ in photographs.CROPS:
        width, height = sizes[name]
        assert 0 <= left <= width - side and 0 <= top <= height - side
    captions = [caption for *_, caption in photographs.CROPS]
    assert len({*captions}) == len(captions) == 12


def test_a_package_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(photographs, "find_spec", lambda package: None)
    message = "china.jpg comes with sklearn and is not there: pip install scikit-learn matplotlib"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        photographs.write(tmp_path / "crops")
    assert not (tmp_path / "crops").exists()
    with pytest.raises(ValueError, match="say write DIR, or compare DIR MODEL"):
        photographs.main(["draw"])


def test_what_a_model_draws_is_counted_and_shown(monkeypatch, tmp_path, capsys):
    fill(tmp_path, 3)

    class Model:
        """Draws picture 1, whatever it is asked for."""

        def __init__(self):
            self.model = self.unet = self
            self.image_size = 4

        def text_to_image(self, captions, progress, **settings):
            assert captions == ["picture 0", "picture 1", "picture 2"]
            assert settings == photographs.SETTINGS
            return np.stack([np.full((4, 4, 3), colour(1), np.uint8)] * 3)

    monkeypatch.setattr(photographs.Pipeline, "load", lambda name: Model())
    monkeypatch.setattr(photographs, "FIGURE", tmp_path / "figure.png")
    photographs.compare(str(tmp_path), "any")
    said = capsys.readouterr().out
    assert "1 of 3 are nearest to the crop of their caption" in said
    assert "picture 2: nearest is 'picture 1', PSNR to its own 52.9 dB" in said
    assert (tmp_path / "figure.png").exists()
