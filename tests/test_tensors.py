"""Safetensors as the library reads them: names, bits, and where they lie."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from glide_jax.tensors import CODES, write_safetensors


def test_arrays_of_all_layouts_come_back(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "whole": base,
        "transposed": base.transpose(2, 0, 1),
        "part": base[1:, ::2, ::-1],
        "broadcast": np.broadcast_to(np.float16(3), (2, 5)),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.int8),
        "ümlaut/名": np.array([True, False, True]),
    }
    write_safetensors(tmp_path / "file", arrays)
    found = safetensors.numpy.load_file(tmp_path / "file")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("length", range(1, 9))
def test_each_array_lies_at_a_multiple_of_its_width(length, tmp_path):
    types = [ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name) for name in CODES]
    arrays = {f"{i}" * length: np.ones(3, dtype) for i, dtype in enumerate(types)}
    write_safetensors(tmp_path / "file", arrays)
    content = (tmp_path / "file").read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    assert {entry["dtype"] for entry in header.values()} == {*CODES.values()}
    for name, entry in header.items():
        assert (begin + entry["data_offsets"][0]) % arrays[name].dtype.itemsize == 0
