"""The stream of examples: by position alone, each once an epoch, broken ones replaced."""

import contextlib
import dataclasses
import multiprocessing
import subprocess
import sys
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image

from glide_jax.config import Data
from glide_jax.data import pipeline, shapes
from tests import tiny
from tests.pictures import fill, number_of

NUMBER, BATCH, SIDE = 20, 6, 4


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path, NUMBER)


def data_of(folder, **fields):
    return Data(source="folder", path=str(folder), **fields)


def draw(data, tokenizer, start, stop, host=0, hosts=1):
    source = pipeline.open_source(data, SIDE)
    return list(pipeline.batches(data, source, start, stop, BATCH, SIDE, tokenizer, host, hosts))


def numbers(batches):
    return [number_of(image) for batch in batches for image in batch["image"]]


def captions_of(batches, tokenizer):
    rows = [row for batch in batches for row in zip(batch["tokens"], batch["mask"], strict=True)]
    return [tokenizer.encoding.decode(tokens[mask].tolist()) for tokens, mask in rows]


def assert_same(batches, others):
    jax.tree.map(np.testing.assert_array_equal, list(batches), list(others))


def test_a_batch_is_what_a_loss_takes(folder, tokenizer):
    (batch,) = draw(data_of(folder), tokenizer, 0, 1)
    shapes_and_kinds = {name: (leaf.shape, leaf.dtype.name) for name, leaf in batch.items()}
    context = tokenizer.text.context
    assert shapes_and_kinds == {
        "image": ((BATCH, SIDE, SIDE, 3), "uint8"),
        "tokens": ((BATCH, context), "int32"),
        "mask": ((BATCH, context), "bool"),
        "row": ((BATCH,), "int32"),
        "replaced": ((BATCH,), "int32"),
    }
    assert batch["row"].tolist() == list(range(BATCH)) and not batch["replaced"].any()


def test_pictures_have_their_own_captions(folder, tokenizer):
    batches = draw(data_of(folder), tokenizer, 0, 5)
    assert captions_of(batches, tokenizer) == [f"picture {n}" for n in numbers(batches)]


def test_an_epoch_has_every_example_once_and_the_next_another_order(folder, tokenizer):
    drawn = numbers(draw(data_of(folder), tokenizer, 0, 20))[: 6 * NUMBER]
    epochs = [tuple(drawn[i : i + NUMBER]) for i in range(0, len(drawn), NUMBER)]
    assert all(sorted(epoch) == list(range(NUMBER)) for epoch in epochs)
    assert len({*epochs, tuple(range(NUMBER))}) == 7


def test_the_order_is_pinned(folder, tokenizer):
    """A run that goes on with another version of grain must find its place."""
    drawn = numbers(draw(data_of(folder), tokenizer, 0, 4))
    assert drawn[:6] == [16, 2, 13, 14, 9, 7] and drawn[20:24] == [9, 11, 1, 15]


def test_another_seed_gives_another_order(folder, tokenizer):
    firsts = {tuple(numbers(draw(data_of(folder, seed=s), tokenizer, 0, 3))) for s in range(5)}
    assert len(firsts) == 5


def test_batch_k_does_not_depend_on_the_start(folder, tokenizer):
    for name in ("000", "007"):
        (folder / f"{name}.txt").write_text("one\ntwo\nthree\n")
    (folder / "003.png").write_bytes(b"?")
    data = data_of(folder, flip=True)
    whole = draw(data, tokenizer, 0, 9)
    assert_same(draw(data, tokenizer, 4, 9), whole[4:])
    for k in (7, 2):
        assert_same(draw(data, tokenizer, k, k + 1), whole[k : k + 1])
    assert draw(data, tokenizer, 3, 3) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same(folder, tokenizer, workers):
    data = data_of(folder)
    (folder / "003.txt").write_text("")
    ahead = draw(dataclasses.replace(data, workers=workers), tokenizer, 2, 7)
    assert_same(ahead, draw(data, tokenizer, 2, 7))


def test_workers_outlive_what_a_scheduler_sends_to_all_processes(folder, tokenizer):
    data = data_of(folder, workers=1)
    source = pipeline.open_source(data, SIDE)
    expected = draw(data_of(folder), tokenizer, 0, 40)
    with contextlib.closing(
        pipeline.batches(data, source, 0, 40, BATCH, SIDE, tokenizer)
    ) as stream:
        found = [next(stream)]
        (worker,) = multiprocessing.active_children()
        worker.terminate()
        found += stream
    assert_same(found, expected)


def test_a_worker_that_is_gone_is_told(folder, tokenizer):
    data = data_of(folder, workers=1)
    source = pipeline.open_source(data, SIDE)
    stream = pipeline.batches(data, source, 0, 400, BATCH, SIDE, tokenizer)
    next(stream)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(OSError, match="of --data.workers 1 one is gone: .* exit code -9"):
        list(stream)


def test_a_worker_s_complaint_arrives(folder, tokenizer):
    data = data_of(folder, workers=1)
    source = pipeline.open_source(data, SIDE)
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match="^of 20 examples none is good; 0.*: there is no file"):
        next(pipeline.batches(data, source, 0, 1, BATCH, SIDE, tokenizer))


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_together_have_the_batch(folder, tokenizer, hosts):
    data = data_of(folder)
    parts = [draw(data, tokenizer, 1, 4, host, hosts) for host in range(hosts)]
    together = [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]}
        for batch in zip(*parts, strict=True)
    ]
    assert_same(together, draw(data, tokenizer, 1, 4))


def test_a_batch_that_does_not_divide_over_the_hosts_is_refused(folder, tokenizer):
    with pytest.raises(ValueError, match="batch_size is 6; it must be a multiple of the 4 hosts"):
        draw(data_of(folder), tokenizer, 0, 1, 0, 4)


def test_each_of_several_captions_is_drawn_as_often(folder, tokenizer):
    for path in folder.glob("*.txt"):
        path.write_text("one\ntwo\nthree\n")
    counts = Counter(captions_of(draw(data_of(folder), tokenizer, 0, 100), tokenizer))
    assert set(counts) == {"one", "two", "three"}
    assert all(abs(count - 200) < 4 * (600 * 2 / 9) ** 0.5 for count in counts.values())


def test_captions_of_one_picture_change_with_the_epoch(folder, tokenizer):
    (folder / "004.txt").write_text("one\ntwo\n")
    batches = draw(data_of(folder), tokenizer, 0, 80)
    texts = zip(numbers(batches), captions_of(batches, tokenizer), strict=True)
    assert {text for number, text in texts if number == 4} == {"one", "two"}


def half_dark(folder):
    """Every picture gets a dark left half."""
    pixels = np.full((SIDE, SIDE, 3), 200, np.uint8)
    pixels[:, : SIDE // 2] = 0
    for path in folder.glob("*.png"):
        Image.fromarray(pixels).save(path)


def test_flips_only_where_asked_for(folder, tokenizer):
    half_dark(folder)
    for path in [*folder.glob("*.txt")][::2]:
        path.write_text("one\ntwo\n")

    def mirrored(data):
        images = np.concatenate([batch["image"] for batch in draw(data, tokenizer, 0, 50)])
        left, right = images[:, :, 0, 0], images[:, :, -1, 0]
        assert ((left == 0) ^ (right == 0)).all()
        return (right == 0).all(axis=1).sum()

    assert mirrored(data_of(folder)) == 0
    assert abs(mirrored(data_of(folder, flip=True)) - 150) < 4 * 75**0.5


def next_good(order, broken):
    """What stands at each place of an epoch, and how many were passed over for it."""
    stands = []
    for place in range(len(order)):
        ahead = [order[(place + i) % len(order)] for i in range(len(order))]
        passed = next(i for i, number in enumerate(ahead) if number not in broken)
        stands.append((ahead[passed], passed))
    return stands


@pytest.mark.parametrize(
    "break_it",
    [
        lambda picture: picture.write_bytes(picture.read_bytes()[:40]),
        lambda picture: picture.unlink(),
        lambda picture: picture.with_suffix(".txt").unlink(),
        lambda picture: picture.with_suffix(".txt").write_text("  \n"),
    ],
    ids=["picture cut off", "picture gone", "caption missing", "caption empty"],
)
def test_the_next_good_example_replaces_a_broken_one(folder, tokenizer, break_it):
    data, stop = data_of(folder), 10  # three epochs
    source = pipeline.open_source(data, SIDE)
    whole = numbers(draw(data, tokenizer, 0, stop))
    broken = {*whole[7:9], whole[19]}  # two in a row, and the last of the first epoch
    for number in broken:
        break_it(folder / f"{number:03d}.png")
    batches = list(pipeline.batches(data, source, 0, stop, BATCH, SIDE, tokenizer))
    expected = [
        stands
        for start in range(0, BATCH * stop, NUMBER)
        for stands in next_good(whole[start : start + NUMBER], broken)
    ]
    replaced = np.concatenate([batch["replaced"] for batch in batches]).tolist()
    assert list(zip(numbers(batches), replaced, strict=True)) == expected
    assert captions_of(batches, tokenizer) == [f"picture {n}" for n in numbers(batches)]
    assert set(Counter(numbers(batches))) == set(range(NUMBER)) - broken


def test_captions_for_the_tokenizer_are_spread_and_good(folder):
    (folder / "003.txt").write_text("")
    (folder / "004.txt").write_text("first\nsecond\n")
    source = pipeline.open_source(data_of(folder), SIDE)
    texts = pipeline.captions(source, 100)
    assert len(texts) == NUMBER - 1 and len(set(texts)) == NUMBER - 1
    assert "first" in texts and "second" not in texts and "picture 3" not in texts
    few = pipeline.captions(source, 5)
    assert few == texts[:5] and few != [f"picture {i}" for i in range(5)]


def test_the_fixed_batch_is_of_good_examples(folder, tokenizer):
    (folder / "003.png").write_bytes(b"?")
    source = pipeline.open_source(data_of(folder), SIDE)
    batch, texts = pipeline.fixed_batch(source, 100, SIDE, tokenizer)
    assert len(texts) == NUMBER - 1 and batch["row"].tolist() == list(range(NUMBER - 1))
    assert texts == [f"picture {n}" for n in numbers([batch])] == captions_of([batch], tokenizer)
    again, first = pipeline.fixed_batch(source, 2, SIDE, tokenizer)
    assert first == texts[:2] and len(again["image"]) == 2
    assert set(batch) == {"image", "tokens", "mask", "row"}


def test_captions_too_long_are_told_of_once(folder, tokenizer):
    (folder / "004.txt").write_text("far too long " * 40)
    source = pipeline.open_source(data_of(folder), SIDE)
    with pytest.warns(UserWarning, match="1 of 20 captions were cut to the model's 24 tokens"):
        pipeline.fixed_batch(source, 100, SIDE, tokenizer)
    draw(data_of(folder), tokenizer, 0, 4)  # a warning from our own modules is an error in tests


def test_shapes_keep_their_stream(tokenizer):
    """Models that ship were trained on it: example k * B + row, without end or order."""
    data, size = Data(seed=3), 32
    source = pipeline.open_source(data, size)
    (batch,) = pipeline.batches(data, source, 10**9, 10**9 + 1, 5, size, tokenizer)
    drawn = [shapes.example(5 * 10**9 + row, 3, "train", size) for row in range(5)]
    tokens, mask = tokenizer.encode([example.caption for example in drawn])
    expected = {
        "image": np.stack([example.image for example in drawn]),
        "tokens": tokens,
        "mask": mask,
        "row": np.arange(5),
        "replaced": np.zeros(5),
    }
    assert_same([batch], [expected])


def test_the_report_is_on_the_test_split_of_shapes(tokenizer):
    batch, texts = pipeline.fixed_batch(tiny.SOURCE, 4, tiny.SIDE, tokenizer)
    drawn = [shapes.example(index, 0, "test", tiny.SIDE) for index in range(4)]
    assert texts == [example.caption for example in drawn]
    np.testing.assert_array_equal(batch["image"], np.stack([example.image for example in drawn]))
    assert pipeline.captions(tiny.SOURCE, 3) == [shapes.example(i).caption for i in range(3)]


def loaded_by(code):
    """The top-level modules that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_data_libraries_are_loaded_where_they_are_needed():
    assert not {"grain", "tensorflow_datasets"} & loaded_by(
        "import sample; from glide_jax import Pipeline"
    )
    loaded = loaded_by(
        "from glide_jax.training import loop; from glide_jax.config import Data;"
        "loop.data.open_source(Data(), 32)"
    )
    assert "grain" in loaded and not {"tensorflow_datasets", "tensorflow"} & loaded
