"""Retrieval: known cases, a slow loop, what noise is added, and the command."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from glide_jax import model_folder, retrieval
from glide_jax.config import Clip, ClipImage
from glide_jax.evaluation import retrieval as command
from tests import tiny

MODEL = Clip(ClipImage(tiny.SIDE, 16, width=16, layers=1, heads=2), tiny.MODEL.text, embedding=8)
ALONE = np.eye(4, dtype=bool)


def test_ranks_of_known_cases():
    similarities = np.float32([[9, 1, 2, 3], [9, 1, 2, 3], [1, 2, 2, 0], [5, 5, 5, 5]])
    # First; last; as similar as a wrong one; all alike.
    np.testing.assert_array_equal(retrieval.ranks(similarities, ALONE), [0, 3, 1, 3])
    same = ALONE.copy()
    same[0, 3] = same[3, 0] = True
    np.testing.assert_array_equal(retrieval.ranks(similarities, same), [0, 3, 1, 2])
    similarities[0, 0] = np.nan
    similarities[1] = np.nan
    np.testing.assert_array_equal(retrieval.ranks(similarities, ALONE)[:2], [3, 3])


def test_what_is_found_is_what_a_slow_loop_finds():
    rng = np.random.default_rng(0)
    text = rng.standard_normal((30, 6)).astype(np.float32)
    image = text + 0.8 * rng.standard_normal((2, 30, 6)).astype(np.float32)
    captions = rng.integers(0, 25, 30)  # some occur twice
    same = captions[:, None] == captions[None]
    found = retrieval.found(3 * image, text, same)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        ("i2t_r1", "i2t_r5", "t2i_r1", "t2i_r5"), (2, 30)
    )
    cosine = lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b))  # noqa: E731
    for level in range(2):
        for i in range(30):
            of_image = [(-cosine(image[level, i], text[j]), captions[j]) for j in range(30)]
            of_text = [(-cosine(image[level, j], text[i]), captions[j]) for j in range(30)]
            for way, candidates in (("i2t", of_image), ("t2i", of_text)):
                order = [caption for _, caption in sorted(candidates)]
                wrong_before = sum(c != captions[i] for c in order[: order.index(captions[i])])
                for most in (1, 5):
                    assert found[f"{way}_r{most}"][level, i] == (wrong_before < most)
    shares = [np.mean(found[name]) for name in ("i2t_r1", "i2t_r5", "t2i_r1", "t2i_r5")]
    assert all(0.1 < share < 1 for share in shares)


def test_levels_are_ten_equal_parts_of_the_timesteps():
    t = retrieval.levels(MODEL, 256)
    assert t.shape == (10, 256) and t.min() == 0 and t.max() == 999
    for level in range(10):
        assert set(t[level]) == set(range(100 * level, 100 * level + 100))
    assert not retrieval.levels(replace(MODEL, timesteps=0), 5).any()


def test_captions_are_the_same_up_to_their_padding():
    tokens = np.array([[1, 2, 9], [1, 2, 3], [1, 2, 9], [1, 2, 0]], np.int32)
    mask = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]], bool)
    same = retrieval.same_captions(tokens, mask)
    np.testing.assert_array_equal(same, ALONE | (np.arange(4) == [[2], [9], [0], [9]]))


def test_a_picture_s_noise_differs_between_levels_by_its_strength_alone(monkeypatch):
    seen = []

    def image_embedding(model, params, x_t, t, dtype):
        seen.append(x_t)
        return x_t.reshape(len(x_t), -1)

    monkeypatch.setattr(retrieval.clip, "image_embedding", image_embedding)
    x_0 = np.random.default_rng(0).uniform(-1, 1, (3, 2, 2, 3)).astype(np.float32)
    key = jax.random.key(1)
    by_noise = retrieval.embeddings_by_noise(MODEL, {}, x_0, key).reshape(10, 3, 2, 2, 3)
    eps = jax.random.normal(key, x_0.shape)
    kept = lambda t: np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
    for x_t, t in zip(by_noise, retrieval.levels(MODEL, 3), strict=True):
        a = (kept(t + 1.0) / kept(0)).reshape(3, 1, 1, 1)
        np.testing.assert_allclose(x_t, np.sqrt(a) * x_0 + np.sqrt(1 - a) * eps, atol=1e-3)
    clean = retrieval.embeddings_by_noise(replace(MODEL, timesteps=0), {}, x_0, key)
    np.testing.assert_array_equal(clean.reshape(1, 3, 2, 2, 3)[0], x_0)
    assert len(seen) == 2  # traced once for all levels


@pytest.mark.parametrize("timesteps", [1000, 0])
def test_the_command_measures_a_model_folder(timesteps, tmp_path, tokenizer, capsys):
    model = replace(MODEL, timesteps=timesteps)
    folder, params = tmp_path / "model", tiny.random_params(3, model)
    model_folder.save_model(folder, model, tokenizer, params)
    arguments = ["--model", str(folder), "--num", "256", "--out", str(tmp_path / "out")]
    for _ in range(2):  # the same row takes the other's place
        command.main([*arguments, "--splits", "test"])
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["model_hash"] == model_folder.model_hash(model, tokenizer, params)
    assert row["split"] == "test" and row["among"] == row["num"] == 256
    number = 10 if timesteps else 1
    for name, shares in row["retrieval"].items():
        assert len(shares) == number and all(share["n"] == 256 for share in shares)
        # Random towers find a caption by chance, 1 or 5 of 256 and more where captions repeat.
        assert all(share["value"] < 0.3 for share in shares), name
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (2 + number)
    assert lines[2].startswith("| 0 to 99 |" if timesteps else "| 0 to 0 |")
    with Image.open(tmp_path / "out" / "retrieval-test.png") as image:
        assert image.size[0] > image.size[1] > 300


def test_the_command_refuses_what_it_cannot_measure(tmp_path, params, tokenizer):
    with pytest.raises(ValueError, match="--num is 300; it must be a multiple of 256"):
        command.main(["--model", "x", "--num", "300"])
    for seed in ("-1", "99999999999999999999"):
        with pytest.raises(ValueError, match=f"--seed is {seed}; allowed: 0 to 4294967295"):
            command.main(["--model", "x", "--seed", seed])
    model_folder.save_model(tmp_path, tiny.MODEL, tokenizer, params)
    with pytest.raises(ValueError, match="holds a diffusion model, .* here a CLIP is needed"):
        command.main(["--model", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
