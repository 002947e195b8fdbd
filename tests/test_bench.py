import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from glide_jax.bench import parts, report, timing
from glide_jax.bench.__main__ import Arguments, main, measure

from . import tiny

pytestmark = pytest.mark.long  # trainings, or much to compile

SILENT = SimpleNamespace(update=lambda: None)


class Clock:
    """Time that passes only where a call says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def taking(self, *seconds):
        """A call that takes so many seconds, each time the next number of them."""
        left = iter(seconds)

        def call():
            self.now += next(left)

        return call


def test_times_are_those_of_the_calls_alone():
    wall, processor = Clock(), Clock()
    calls = {"a": wall.taking(9, 99, 3, 2, 7), "b": wall.taking(5, 99, 1, 1, 1)}
    found = timing.compare(calls, 3, SILENT, (wall, processor))
    assert [spent.wall for spent in found["a"].rounds] == [3, 2, 7]
    assert (found["a"].least, found["a"].median, found["a"].compiling) == (2, 3, 7)
    assert found["b"].compiling == 4 and found["b"].least_processor == 0


def test_every_other_round_goes_backwards():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    timing.compare(calls, 2, SILENT)
    assert "".join(order) == "aabbcc" + "abc" + "cba"


def timed(*seconds):
    """A Timing whose processor times are twice those of the wall."""
    return timing.Timing(timing.Spent(9, 9), [timing.Spent(s, 2 * s) for s in seconds])


def test_figures_in_closed_form():
    products = {"small": parts.Part(None, flops=2e9), "large": parts.Part(None, flops=8e9)}
    best = report.best_rates(products, {"small": timed(1, 4), "large": timed(3, 2)})
    assert best == (4e9, 2e9)
    found = report.figures(parts.Part(None, 6, 1e9), timed(0.5, 1), best, other=timed(2, 1))
    expected = {"min": 0.5, "median": 0.75, "compiling": 8.5, "pictures": 12, "gflop": 1}
    expected |= {"gflops": 2, "share": 0.5, "processor_share": 0.5}
    assert found.pop("rounds")[1] == {"wall": 1, "processor": 2}
    assert found == expected | {"ratio": 2, "processor_ratio": 2}


def test_matrix_products_and_their_flops():
    product = parts.matrix_product(8, np.dtype("float32"))
    devices = jax.local_device_count()
    (a,) = product.call.args[1:]
    np.testing.assert_allclose(product.call(), np.asarray(a) @ np.asarray(a), rtol=1e-5, atol=1e-5)
    assert a.shape == (devices, 8, 8) and np.std(a) > 0.5
    assert product.flops == devices * 2 * 8**3


def test_a_batch_that_is_read_is_the_training_s():
    read = parts.reading(tiny.RECIPE)
    first, second = read.call(), read.call()
    assert first["image"].shape == (8, 32, 32, 3) and read.pictures == 8
    assert not np.array_equal(first["image"], second["image"])
    expected = tiny.batches(0, 1, tiny.tokenizer(), size=8)[0]
    np.testing.assert_array_equal(first["image"], expected["image"])


SAMPLE = ("sample-step", "train")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "other.py").write_text(
        "import time\ndef make(recipe, arguments):\n    return {'train': lambda: time.sleep(2)}\n"
    )
    (folder / "smaller.py").write_text(
        "import dataclasses\nfrom tests.tiny import RECIPE, SMALLER\n"
        "get_config = lambda: dataclasses.replace(RECIPE, model=SMALLER)\n"
    )
    args = ["--recipe", str(folder / "smaller.py"), "--rounds", "2", "--pictures", "2"]
    args += ["--against", str(folder / "other.py"), "--out", str(folder / "new" / "bench.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glide_jax.bench.__main__.SIDES", {"cpu": (32, 64)})
        printed = []
        patch.setattr("builtins.print", lambda line: printed.append(line))
        main([*args, "--parts", *SAMPLE])
    return json.loads((folder / "new" / "bench.json").read_text()), printed[0].splitlines()


@pytest.mark.long
def test_a_report_has_every_figure(measured):
    found, _ = measured
    assert found["recipe"] == "tiny" and found["dtype"] == "float32"
    assert found["machine"]["backend"] == "cpu" and found["machine"]["peak_gib"] > 0.1
    assert set(found["parts"]) == {
        *SAMPLE,
        "train, against",
        "matrix product 32",
        "matrix product 64",
    }
    shares = [row["share"] for name, row in found["parts"].items() if "matrix" in name]
    assert max(shares) == 1 and len(shares) == 2
    train, other = found["parts"]["train"], found["parts"]["train, against"]
    assert len(train["rounds"]) == 2 and other["min"] >= 2
    assert train["ratio"] == pytest.approx(other["min"] / train["min"])
    assert train["pictures"] == pytest.approx(8 / train["min"])


@pytest.mark.long
def test_flops_are_those_of_the_work(measured):
    step, train = (measured[0]["parts"][name]["gflop"] for name in SAMPLE)
    # The backward pass takes twice the forward one, less what no parameter needs; two rows each of
    # two pictures are sampled, eight are trained on with their text.
    assert 2.2 < train / step / (8 / 4) < 3.6


def test_the_table_has_a_line_for_each_part(measured):
    found, lines = measured
    assert lines[0].startswith("tiny: 2 cpu, float32; memory at most ")
    assert "ratio*" in lines[1] and len(lines) == 2 + len(found["parts"])
    assert lines[3].startswith("train ") and lines[3].endswith(
        f"{found['parts']['train']['processor_ratio']:.2f}"
    )


@pytest.mark.parametrize(
    ("values", "complaint"),
    (
        ({"rounds": 0}, "--rounds is 0; it must be 1 or more"),
        ({"batch_size": 0}, "--batch-size is 0; it must be 1 or more"),
        ({"guidance_scale": float("nan")}, "--guidance-scale is nan; it must be finite"),
        ({"pictures": 3}, "--pictures is 3; it must be a multiple of the 2 devices"),
        ({"recipe": "configs/shapes_clip.py"}, "which is of no diffusion model"),
    ),
)
def test_what_cannot_be_measured_is_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        measure(Arguments(**{"recipe": "configs/tiny.py"} | values))


def test_a_rival_must_make_what_is_timed(tmp_path):
    (tmp_path / "other.py").write_text(
        "def make(recipe, arguments):\n    return {'sample': None}\n"
    )
    arguments = Arguments("configs/tiny.py", ("data",), pictures=2, against=tmp_path / "other.py")
    with pytest.raises(ValueError, match="which makes sample: name in --parts what it makes"):
        measure(arguments)


def test_a_rival_that_cannot_be_run_is_told(tmp_path):
    (tmp_path / "other.py").write_text("import no_such_module")
    arguments = Arguments("configs/tiny.py", ("data",), pictures=2, against=tmp_path / "other.py")
    with pytest.raises(ValueError, match="other.py' cannot be run: ModuleNotFoundError"):
        measure(arguments)


def test_what_would_fail_after_the_work_is_refused_before_it(tmp_path, monkeypatch):
    def make_parts(*_):
        raise AssertionError("parts were made")

    monkeypatch.setattr(parts, "make_parts", make_parts)
    (tmp_path / "other.py").write_text("make = None")
    more = ["--recipe", "configs/tiny.py", "--pictures", "2"]
    with pytest.raises(ValueError, match="other.py', which has no make"):
        main([*more, "--against", str(tmp_path / "other.py"), "--out", str(tmp_path / "x.json")])
    with pytest.raises(ValueError, match="--out is '.*', which is a folder; name a file"):
        main([*more, "--out", str(tmp_path)])


def test_a_whole_sampling_counts_all_steps(monkeypatch):
    monkeypatch.setattr(parts, "step_flops", lambda network, scale, rows: 7.0)
    recipe = dataclasses.replace(tiny.RECIPE, model=tiny.SMALLER)
    network = parts.ready(recipe, parts.random_params(tiny.SMALLER))
    whole = parts.sampling(network, 2, 3, scale=3.0)
    assert whole.flops == 21 and whole.pictures == 2
    first, second = whole.call(), whole.call()
    assert first.shape == (2, 16, 16, 3) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_without_guidance_a_step_is_one_branch():
    recipe = dataclasses.replace(tiny.RECIPE, model=tiny.SMALLER)
    network = parts.ready(recipe, parts.random_params(tiny.SMALLER))
    alone, guided = (parts.sampling_step(network, 2, scale) for scale in (1.0, 3.0))
    assert guided.flops == pytest.approx(2 * alone.flops, rel=0.02)
    # Both conditions are of the same captions, so that guidance changes no noise.
    pair = zip(alone.call()[..., :3], guided.call()[..., :3], strict=True)
    for found, expected in pair:
        np.testing.assert_allclose(found, expected, atol=1e-4)
