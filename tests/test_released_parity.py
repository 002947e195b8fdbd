"""The command that measures parity: its limits bite, and its outputs are figures in their turn."""

import json
import shutil

import numpy as np
import pytest

from glide_jax.released import parity
from glide_jax.released.parity.measure import Limit, distance
from tests.parity import FOLDER
from tests.stand_ins import FIXTURES

# What the tests have of diffusion.npz, and what its keys begin with there.
PREFIXES = {
    "schedule-linear": "linear-",
    "schedule-squaredcos_cap_v2": "squaredcos_cap_v2-",
    "run-linear-fast27": "linear-fast27/",
    "losses": "loss-",
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published figures that the tests have, as one folder."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("respacing.json", "manifest_tiny.json", "unet_tiny.npz", "clip_tiny.npz"):
        shutil.copy(FIXTURES / name, folder)
    figures = {}
    for name, prefix in PREFIXES.items():
        with np.load(FIXTURES / f"{name}.npz") as file:
            figures |= {prefix + key: value for key, value in file.items()}
    np.savez(folder / "diffusion.npz", **figures)
    return folder


def rows_and_outputs(folder, salt="", vocab=None):
    rows, outputs = [], {}
    for row, found in parity.measured(folder, salt, vocab=vocab):
        rows.append(row)
        outputs |= found
    return rows, outputs


@pytest.fixture(scope="module")
def salted(published, tmp_path_factory):
    """A folder of figures that another salt gives, by our own hand."""
    folder = shutil.copytree(published, tmp_path_factory.mktemp("salted") / "figures")
    out = folder.parent / "ours.npz"
    arguments = parity.Arguments(published, salt="sea ", dump=out)
    with pytest.raises(SystemExit) as stop:
        parity.run(arguments)
    assert stop.value.code == 1
    with np.load(out) as file:
        ours = dict(file)
    for name in ("unet_tiny.npz", "clip_tiny.npz", "diffusion.npz"):
        with np.load(published / name) as file:
            figures = {key: ours.get(key, value) for key, value in file.items()}
        np.savez(folder / name, **figures)
    return folder


@pytest.mark.long
def test_the_published_figures_are_met_and_dumped_in_their_layout(published, tmp_path, capsys):
    parity.run(parity.Arguments(published, dump=tmp_path / "ours.npz"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| figures | parameters |")
    assert sum("| tiny-" in line for line in lines) == 5
    assert not any("OVER" in line for line in lines)
    assert lines[-1] == f"not compared, for {published} has it not: tokens.json"
    with np.load(published / "unet_tiny.npz") as file, np.load(tmp_path / "ours.npz") as outputs:
        for key in file.files:
            if key.rpartition("/")[2] in ("out", "xf_proj", "xf_out"):
                assert outputs[key].shape == file[key].shape
        assert outputs["tiny-text2im/out"].dtype == np.float32


@pytest.mark.long
def test_another_salt_gives_other_figures_which_are_met_with_that_salt_only(salted):
    rows, _ = rows_and_outputs(salted, salt="sea ")
    assert max(row.share for row in rows) <= 1
    assert {"tiny-text2im", "respacing"} < {row.name for row in rows}
    drawn = [row for row in rows_and_outputs(salted)[0] if "schedule" not in row.name]
    assert all(row.share > 1 for row in drawn if row.name != "respacing")


@pytest.mark.long
def test_a_figure_over_its_limit_is_named_and_exits_1(published, tmp_path, capsys):
    folder = shutil.copytree(published, tmp_path / "figures")
    (folder / "diffusion.npz").unlink()
    with np.load(folder / "unet_tiny.npz") as file:
        figures = dict(file)
    figures["tiny-inpaint/out"][1, 2, 3, 4] += 3e-5
    np.savez(folder / "unet_tiny.npz", **figures)
    with pytest.raises(SystemExit) as stop:
        parity.run(parity.Arguments(folder))
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert printed.count("OVER") == 1
    assert "OVER, in tiny-inpaint/out" in printed
    assert printed.endswith("over the limit: tiny-inpaint\n")


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "share"),
    [
        ([1.0, 2.0], [1.0, 2.5], Limit(1.0), 0.5),
        ([1.0, 2.0], [1.0, 4.0], Limit(0.0, 0.25), 2.0),
        ([1, 2], [1, 2], Limit(), 0.0),
        ([1, 2], [1, 3], Limit(), np.inf),
        ([1.0, np.nan], [1.0, 2.0], Limit(1.0), np.inf),
        ([1.0], [1.0, 2.0], Limit(1.0), np.inf),
    ],
)
def test_share_of_the_limit(ours, theirs, limit, share):
    assert distance(np.array(ours), np.array(theirs), limit)[1] == pytest.approx(share)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: shutil.rmtree(folder), "that is no folder"),
        (lambda folder: (folder / "manifest_tiny.json").unlink(), "manifest_tiny.json is missing"),
        (lambda folder: (folder / "unet_tiny.npz").write_bytes(b"PK\3\4"), "not whole"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "holds no published figures"),
    ],
)
def test_bad_folders_are_refused_in_a_sentence(published, tmp_path, change, complaint):
    folder = shutil.copytree(published, tmp_path / "figures")
    (folder / "diffusion.npz").unlink()
    (folder / "respacing.json").unlink()
    change(folder)
    with pytest.raises(ValueError, match=complaint):
        parity.run(parity.Arguments(folder))


@pytest.mark.long
def test_a_dump_that_cannot_be_written_is_refused_before_the_work(published, tmp_path):
    for out in (tmp_path / "ours.txt", tmp_path / "file" / "ours.npz"):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="--dump is"):
            parity.run(parity.Arguments(published, dump=out))


@pytest.mark.skipif(
    not (FOLDER / "vocab").exists(), reason=f"the published vocabularies are not in {FOLDER}"
)
def test_the_tokens_are_the_published_ones_and_a_wrong_one_is_seen(tmp_path):
    rows = json.loads((FIXTURES / "tokens.json").read_text())
    for changed in (0, 1):
        rows[0]["clip_padded"][3] += changed
        (tmp_path / "tokens.json").write_text(json.dumps(rows))
        found, _ = rows_and_outputs(tmp_path, vocab=FOLDER / "vocab")
        shares = {row.name: row.share for row in found}
        assert shares == {"tokens gpt2": 0, "tokens clip": np.inf if changed else 0}
