"""Checkpoints of PyTorch, read and written without it: figures of its own files, and hostile ones.

What is written is looked at by Python's pickle and zipfile, which know nothing of the reader.
"""

import io
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from glide_jax.released import torch_file
from tests import hostile, parity
from tests.stand_ins import FIXTURES

ROOT = FIXTURES.parents[1]
SHARED = ROOT.parent / "shared" / "parity"
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
ODD = {
    "view": BASE[1:3, 2:5],
    "transposed": BASE.T,
    "whole": BASE,
    "bf16": BASE.astype(ml_dtypes.bfloat16),
    "half": BASE.astype(np.float16),
    "ints": np.arange(5),
    "scalar": np.float32(2.5).reshape(()),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "param": BASE + 1,
}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert isinstance(found[name], np.ndarray)
        np.testing.assert_array_equal(found[name], array, name, strict=True)


@pytest.mark.parametrize("file", ["odd.pt", "odd-legacy.pt"])
def test_every_kind_of_tensor_is_read(file):
    found = torch_file.read(FIXTURES / file)
    assert_equal(found, ODD)
    assert all(not array.flags.writeable for array in found.values())
    assert np.shares_memory(found["view"], found["transposed"])
    assert found["transposed"].strides == (4, 24)  # a view, not a copy
    assert not np.shares_memory(found["whole"], found["param"])
    # In the older format nothing is aligned, and JAX takes it all the same.
    for name, array in ODD.items():
        np.testing.assert_array_equal(jnp.asarray(found[name]), array)


@pytest.mark.parametrize("form", ["", "-legacy", "-fp16"])
def test_state_dicts_that_torch_saved(form):
    path = SHARED / f"tiny-text2im{form}.pt"
    if not path.exists():
        pytest.skip(f"{path} is not there; it is too large for the repository")
    found = torch_file.unwrap(torch_file.read(path))
    drawn = {name: parity.tensor(f"tiny-text2im/{name}", found[name].shape) for name in found}
    dtype = np.float16 if form == "-fp16" else np.float32
    assert len(found) == 183
    assert_equal(found, {name: array.astype(dtype) for name, array in drawn.items()})


def test_views_in_the_older_format(tmp_path):
    view = hostile.identity(view=[("1", 2, 4)])
    tensor = hostile.tensor(view, offset=1, size=(3,), stride=(1,))
    whole = hostile.tensor(hostile.identity(view=[None]))
    path = tmp_path / "view.pt"
    path.write_bytes(hostile.legacy(hostile.state_dict(part=tensor, whole=whole)))
    found = torch_file.read(path)
    np.testing.assert_array_equal(found["part"], [3, 4, 5])
    np.testing.assert_array_equal(found["whole"], [[0, 1, 2], [3, 4, 5]])
    assert np.shares_memory(found["part"], found["whole"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_of_every_protocol(tmp_path, protocol):
    values = {
        "epoch": 3,
        "lr": 1e-4,
        "names": ["a", "b" * 300, "ü"],
        "betas": (0.9, 0.999),
        "none": [None, True, False, -1, 70_000, 2**40, (), {}, (1,), (1, 2), (1, 2, 3, 4)],
        7: OrderedDict(a=1),
    }
    path = tmp_path / "values.pt"
    path.write_bytes(hostile.archive(pickle.dumps(values, protocol)))
    assert torch_file.read(path) == values


def test_an_expanded_tensor(tmp_path):
    path = tmp_path / "expanded.pt"
    tensor = hostile.tensor(offset=4, size=(1, 5, 2), stride=(2**62, 0, 1))
    path.write_bytes(hostile.archive(hostile.state_dict(a=tensor)))
    np.testing.assert_array_equal(torch_file.read(path)["a"], np.tile([4.0, 5.0], (1, 5, 1)))


@pytest.mark.parametrize("name", hostile.FILES)
def test_hostile_files_are_refused_in_a_sentence(tmp_path, name):
    content, says = hostile.FILES[name]
    path = tmp_path / "hostile.pt"
    path.write_bytes(content)
    if says is None:  # the name of the top folder is used for nothing
        np.testing.assert_array_equal(torch_file.read(path)["a"], [[0, 1, 2], [3, 4, 5]])
        return
    with pytest.raises(ValueError, match=says) as caught:
        torch_file.read(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path} cannot be read: ") and "\n" not in sentence
    assert len(sentence) < len(str(path)) + 300


def test_a_pickle_too_large_for_a_list_of_tensors_is_refused(monkeypatch):
    monkeypatch.setattr(torch_file.archive, "LARGEST_PICKLE", 911)
    with pytest.raises(ValueError, match="its data.pkl has 912 bytes, more than"):
        torch_file.read(FIXTURES / "odd.pt")


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_what_is_no_file_is_named(tmp_path, name):
    with pytest.raises(OSError, match=r"cannot be read: (No such file|Is a directory)") as caught:
        torch_file.read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("file", ["odd.pt", "odd-legacy.pt"])
def test_cut_off_anywhere_a_file_is_refused(tmp_path, file):
    content, path = (FIXTURES / file).read_bytes(), tmp_path / file
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            torch_file.read(path)


@pytest.mark.parametrize("file", ["odd.pt", "odd-legacy.pt"])
def test_with_bytes_changed_at_random_a_file_is_read_or_refused(tmp_path, file):
    rng = random.Random(0)
    content, path, refused = (FIXTURES / file).read_bytes(), tmp_path / file, 0
    for _ in range(1500):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(content))] = rng.choice((0, 1, 255, rng.randrange(256)))
        path.write_bytes(changed)
        try:
            found = torch_file.read(path)
            for array in found.values() if isinstance(found, dict) else ():
                np.array(array)  # what is read can be copied
        except ValueError as error:
            assert str(error).startswith(f"{path} cannot be read: ")
            refused += 1
    assert 300 < refused < 1500


EVENTS = """
import contextlib, pathlib, sys
from glide_jax.released import torch_file
from tests import hostile

path, events = pathlib.Path(sys.argv[1]), None
sys.addaudithook(lambda event, arguments: events is not None and events.add(event))
for content, _ in hostile.FILES.values():
    path.write_bytes(content)
    for events in (None, heard := set()):  # what the first reading imports is not the file's wish
        with contextlib.suppress(ValueError):
            torch_file.read(path)
    events = None
    print(*heard)
"""


def test_no_file_has_anything_run_or_imported(tmp_path):
    """By Python's own audit: files are opened and mapped, and nothing else happens."""
    run = subprocess.run(
        [sys.executable, "-c", EVENTS, tmp_path / "hostile.pt"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert len(run.stdout.splitlines()) == len(hostile.FILES)
    assert {*run.stdout.split()} == {"open", "mmap.__new__"}


MEMORY = """
import pathlib, sys
import numpy as np
from glide_jax.released import torch_file

def kibibytes(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1])

before = kibibytes("VmHWM"), kibibytes("RssAnon")
found = torch_file.read(sys.argv[1])
print(kibibytes("VmHWM") - before[0])
total = sum(array.sum() for array in found.values())
print(kibibytes("RssAnon") - before[1], int(total))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_large_file_takes_no_memory(tmp_path, suffix):
    path = tmp_path / f"large{suffix}"
    ones = np.ones((5, 10**6), np.float64)
    torch_file.write(path, {str(i): ones for i in range(5)})  # 200 MB
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    read, (copied, total) = run.stdout.split()[0], run.stdout.split()[1:]
    assert int(total) == 25 * 10**6
    assert int(read) < 10 * 1024 and int(copied) < 10 * 1024  # of 195,313 KiB


def recorded(pickled):
    """A pickle as Python's own reads it, every call as (name, arguments)."""

    class Recorder(pickle.Unpickler):
        def find_class(self, module, name):
            if name.endswith("Storage"):
                return name
            return OrderedDict if name == "OrderedDict" else lambda *given: (name, given)

        def persistent_load(self, identity):
            kind, dtype, _, device, numel = identity  # the key is the writer's choice
            return kind, dtype, device, numel

    return Recorder(io.BytesIO(pickled)).load()


def data_pickle(path):
    with zipfile.ZipFile(path) as made:
        (name,) = [name for name in made.namelist() if name.endswith("/data.pkl")]
        return made.read(name)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / f"written{suffix}"
    more = {"jax": jnp.arange(3), "int8": np.int8([-1]), "uint8": np.uint8([255])}
    more |= {"double": np.float64([[0.1]]), "short": np.int16([5]), "": np.int32([[], []])}
    torch_file.write(path, ODD | more)
    found = torch_file.read(path)
    expected = ODD | more | {"jax": np.arange(3, dtype=np.int32)}
    assert_equal({name: found[name] for name in expected}, expected)
    assert len(found) == len(expected) and not found["whole"].flags.writeable
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_pickle_says_what_torch_says(tmp_path):
    path = tmp_path / "written.pt"
    torch_file.write(path, torch_file.read(FIXTURES / "odd.pt"))
    ours, theirs = data_pickle(path), data_pickle(FIXTURES / "odd.pt")
    recordings = recorded(ours), recorded(theirs)
    assert [type(each) for each in recordings] == [OrderedDict, OrderedDict]
    # The others share a storage, or are a Parameter, which a state dict need not hold.
    for name in ("whole", "bf16", "half", "ints", "scalar", "flags", "empty"):
        assert recordings[0][name] == recordings[1][name], name
    assert recordings[0]["param"] == recordings[1]["param"][1][0]
    used = [{op.name for op, _, _ in pickletools.genops(each)} for each in (ours, theirs)]
    assert used[0] <= used[1]  # so torch.load(weights_only=True) knows them all


def test_strides_are_those_of_contiguous_tensors(tmp_path):
    """As torch gives them: (1, 1) for empty(3, 0), not (0, 1)."""
    path = tmp_path / "written.pt"
    shapes = {(3, 0): (1, 1), (0, 3): (3, 1), (2, 1, 4): (4, 4, 1), (): ()}
    torch_file.write(path, {str(shape): np.zeros(shape, np.float32) for shape in shapes})
    calls = recorded(data_pickle(path)).values()
    assert {size: stride for _, (_, _, size, stride, *_) in calls} == shapes


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 60])
def test_the_archive_is_laid_out_as_torch_does(tmp_path, monkeypatch, limit):
    """With a lower limit also as it is where entries, or the file, pass 2 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    path = tmp_path / "written.pt"
    torch_file.write(path, ODD)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        entries = {entry.filename: entry for entry in made.infolist()}
        assert made.read("archive/version") == b"3\n"
        assert made.read("archive/byteorder") == b"little"
    assert {*entries} == {
        *("archive/data.pkl", "archive/version", "archive/byteorder"),
        *(f"archive/data/{key}" for key in range(len(ODD))),
    }
    begins = {}
    for name, entry in entries.items():
        flags, *lengths = struct.unpack_from("<6xH18xHH", content, entry.header_offset)
        begins[name] = entry.header_offset + 30 + sum(lengths)
        assert begins[name] % 64 == 0 and flags == 0
        assert entry.compress_type == zipfile.ZIP_STORED
    begin = begins["archive/data/1"]
    assert content[begin : begin + 96] == np.ascontiguousarray(BASE.T).tobytes()
    assert_equal(torch_file.read(path), ODD)


def test_safetensors_are_what_the_library_reads(tmp_path):
    path = tmp_path / "written.safetensors"
    torch_file.write(path, ODD)
    with safetensors.safe_open(path, framework="numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert_equal({name: found[name] for name in ODD}, ODD)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"\xff" * 40, "no complete safetensors file"),
        (safetensors.numpy.save({"a": BASE})[:-1], "no complete safetensors file"),
        (safetensors.numpy.save({"a": np.complex64([1j])}), "its tensor 'a' is of the type 'C64'"),
    ],
    ids=["empty", "no header", "cut off", "complex"],
)
def test_broken_safetensors_are_refused(tmp_path, content, says):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        torch_file.read(path)


@pytest.mark.parametrize(
    ("name", "state_dict", "says"),
    [
        ("x.onnx", ODD, r"x.onnx has none of the suffixes .safetensors, .pt"),
        ("x.pt", {"a": np.array(["b"])}, "the entry 'a' is of type <U1"),
        ("x.pt", {"a": None}, "the entry 'a' is of type object"),
        ("x.pt", {3: BASE}, "the entry 3"),
        ("x.safetensors", {"a": np.complex64([1])}, "the entry 'a' is of type complex64"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, state_dict, says):
    with pytest.raises(ValueError, match=says):
        torch_file.write(tmp_path / name, state_dict)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_full_disk_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    torch_file.write(path, {"a": BASE})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written: .*File too large") as caught:
            torch_file.write(path, {"a": np.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(str(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_equal(torch_file.read(path), {"a": BASE})


ONE, TWO = {"a.weight": np.zeros(1)}, {"a.weight": np.ones(2)}


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        (ONE, ONE),
        ({"state_dict": ONE, "epoch": 3}, ONE),
        ({"model": ONE, "optimizer": {"lr": 0.1}}, ONE),
        ({"model": ONE, "ema": TWO}, TWO),
        ({"state_dict": ONE, "model": ONE, "ema_params": TWO}, TWO),
        ({"model": ONE, "ema": {"decay": 0.999}}, ONE),
        ({"state_dict": {"ema": TWO, "model": ONE}}, TWO),
        ({"module.a.weight": ONE["a.weight"]}, ONE),
        ({"model": {"_orig_mod.module.a.weight": ONE["a.weight"]}}, ONE),
        ({"module._orig_mod.a.weight": ONE["a.weight"]}, ONE),
    ],
)
def test_unwrap_finds_the_state_dict(checkpoint, expected):
    assert_equal(torch_file.unwrap(checkpoint), expected)


def test_unwrap_leaves_a_prefix_that_not_all_names_have():
    state_dict = {"module.a": np.zeros(1), "b": np.zeros(1)}
    assert torch_file.unwrap(state_dict) == state_dict


@pytest.mark.parametrize(
    ("checkpoint", "says"),
    [
        ({"epoch": 3, "net": ONE}, "it is a dictionary of 'epoch', 'net'$"),
        ({"state_dict": {"a": 1}, "model": None}, "a dictionary of 'state_dict', 'model'$"),
        ({}, "a dictionary of nothing"),
        ([BASE], "it is a list"),
        (BASE, "it is a ndarray"),
        (dict.fromkeys(range(25), 0), "18, 19 and 5 more"),
    ],
)
def test_unwrap_says_what_there_is_instead(checkpoint, says):
    with pytest.raises(ValueError, match=says):
        torch_file.unwrap(checkpoint)
