"""The same pictures and steps on any number of devices, which share the work, compiled once."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from glide_jax import Pipeline, parallel, sampling
from glide_jax.layouts import LAYOUTS
from tests import tiny, xla
from tests.eight_devices import COUNTS, GUIDED
from tests.one_step import distance

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What tests/eight_devices.py draws, by its names."""
    path = tmp_path_factory.mktemp("drawn") / "images.npz"
    command = [sys.executable, "-m", "tests.eight_devices", str(path)]
    environment = os.environ | {"XLA_FLAGS": xla.flags(devices=8)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return dict(np.load(path))


def levels_apart(a, b):
    """The largest difference of two sets of pictures, in uint8 levels."""
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int)).max()


@pytest.mark.long
@pytest.mark.parametrize("count", COUNTS)
def test_batch_1_and_batch_64_give_the_same_pictures_on_any_number_of_devices(drawn, count):
    expected = drawn["1, batch 64"]
    assert len(expected) == 64 and levels_apart(expected[:32], expected[32:]) > 1
    assert levels_apart(drawn[f"{count}, batch 64"], expected) <= 1
    first_five = expected.reshape(2, 32, *expected.shape[1:])[:, :5].reshape(
        10, *expected.shape[1:]
    )
    assert levels_apart(drawn[f"{count}, batch 1"], first_five) <= 1


@pytest.mark.long
@pytest.mark.parametrize("name", GUIDED)
def test_other_samplers_guided_give_the_same_pictures_on_eight_devices(drawn, name):
    expected = drawn[f"1, {name}"]
    assert expected.std() > 0 and levels_apart(expected[:1], expected[1:2]) > 1
    assert levels_apart(drawn[f"8, {name}"], expected) <= 1


@pytest.mark.long
@pytest.mark.parametrize("over", LAYOUTS)
@pytest.mark.parametrize("of", ["", "CLIP's "])
@pytest.mark.parametrize("name", ["loss", "gradient", "curve", "params", "average"])
def test_eight_devices_make_the_steps_of_one(drawn, over, of, name):
    name, most = of + name, 1e-5 if name in ("loss", "gradient") else 1e-4
    assert distance(drawn[f"{over}, {name}"], drawn[f"None, {name}"]) < most


@pytest.fixture
def sampled(monkeypatch):
    """What each piece of a run gives, as it lies on the devices."""
    given, run = [], sampling._run

    def recorded(*arguments, **settings):
        carry = run(*arguments, **settings)
        given.append({s.device: s.data.shape[0] for s in carry.x.addressable_shards})
        return carry

    monkeypatch.setattr(sampling, "_run", recorded)
    return given


@pytest.mark.parametrize(
    ("pictures", "batch_size", "rows"), [(4, 16, 2), (3, 16, 2), (1, 1, 1), (6, 3, 2)]
)
def test_all_local_devices_share_a_batch(params, tokenizer, sampled, pictures, batch_size, rows):
    two = Pipeline(tiny.MODEL, params, tokenizer)
    images = two.text_to_image(["x"], num=pictures, batch_size=batch_size, steps=2)
    assert len(images) == pictures
    assert sampled[0] == dict.fromkeys(jax.local_devices(), rows) and len(sampled[0]) == 2


def test_only_the_devices_that_are_given_work(params, tokenizer, sampled):
    second = jax.local_devices()[1:]
    Pipeline(tiny.MODEL, params, tokenizer, devices=second).text_to_image(["x"], num=4, steps=2)
    assert sampled == [{second[0]: 4}]


def test_another_host_s_devices_are_left_alone(params, tokenizer, sampled, monkeypatch):
    second = jax.local_devices()[1:]
    monkeypatch.setattr(jax, "local_devices", lambda: second)
    Pipeline(tiny.MODEL, params, tokenizer).text_to_image(["x"], num=4, steps=2)
    assert sampled == [{second[0]: 4}]


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpmpp"])
def test_no_program_is_compiled_twice(params, tokenizer, sampler):
    compiled = []

    def listen(event, seconds, **more):
        if "backend_compile" in event:
            compiled.append(more.get("fun_name"))

    def draw(steps):
        # Built anew each time, as the trainer's report does, from parameters on one device.
        made = Pipeline(tiny.MODEL, params, tokenizer)
        made.text_to_image(["x"], num=2, steps=steps, sampler=sampler, eta=1.0)

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        draw(steps=4)
        assert [name for name in compiled if "_run" in name] == ["jit(_run)"]
        compiled.clear()
        draw(steps=8)  # two pieces of four, the second of which starts where the first ended
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size is 7; it must be a multiple of the 2 devices"):
        parallel.check_batch_size(7)
    with pytest.raises(ValueError, match="of the 2 devices, in 4 parts each"):
        parallel.check_batch_size(4, accumulate=4)


def test_processes_are_told_by_the_environment(monkeypatch):
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: joined.append(given))
    known = {"COORDINATOR_ADDRESS": "h:1", "NUM_PROCESSES": "2", "PROCESS_ID": "1"}
    for name, value in known.items():
        monkeypatch.setenv(f"JAX_{name}", value)
    parallel.start(None)
    parallel.start("other:2", 3, 0)
    assert joined == [("h:1", 2, 1), ("other:2", 3, 0)]
