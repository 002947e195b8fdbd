"""PyTorch checkpoints to model folders: what shapes tell, what is known, and what is refused."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from glide_jax import Pipeline, checkpoint, cli, config, model_folder
from glide_jax.released import __main__ as command
from glide_jax.released import known, torch_file
from glide_jax.released.convert import convert
from glide_jax.released.infer import infer, infer_clip
from glide_jax.released.names import clip_from_pytorch, from_pytorch, to_pytorch
from tests import released
from tests.stand_ins import FIXTURES

ROOT = Path(__file__).parents[1]
TEXT2IM = "tiny-text2im"
CLIP = released.clip_model()
BASE = config.Diffusion()
UPSAMPLER = config.Diffusion(
    config.UNet(image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2, low_res_size=64),
    schedule="linear",
)


def inpainting(model):
    return replace(model, unet=replace(model.unet, inpaint=True))


def zeros(model):
    """A model's parameters, without the memory."""
    shapes = model_folder.param_shapes(model)
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)


def shapes_of(model):
    """{PyTorch name: shape} of a model."""
    return {name: array.shape for name, array in to_pytorch(zeros(model)).items()}


@pytest.mark.parametrize(
    ("manifest", "channels", "model", "parameters"),
    [
        ("base", 3, BASE, 385_030_726),
        ("base", 7, inpainting(BASE), 385_037_638),
        ("upsample", 6, UPSAMPLER, 398_361_286),
        ("upsample", 10, inpainting(UPSAMPLER), 398_368_198),
    ],
)
def test_the_published_are_known_by_their_shapes(manifest, channels, model, parameters):
    shapes = json.loads((FIXTURES / f"manifest_{manifest}.json").read_text())
    shapes["input_blocks.0.0.weight"] = [192, channels, 3, 3]
    assert sum(map(math.prod, shapes.values())) == parameters
    backwards = dict(reversed(shapes.items()))
    assert infer(shapes, known.recall(backwards)) == model
    # Anything else is none of them.
    assert known.recall(shapes | {"more": [1]}) == known.NOTHING
    assert known.recall(shapes | {"out.2.bias": [7]}) == known.NOTHING


def varied():
    """Models of all input layouts, depths and places of attention."""
    rng = np.random.default_rng(0)
    for seed in range(6):
        depth = rng.integers(1, 5)
        sides = [64 >> level for level in range(depth)]
        unet = config.UNet(
            image_size=64,
            model_channels=32 * int(rng.integers(1, 3)),
            channel_mult=tuple(map(int, rng.integers(1, 4, depth))),
            num_res_blocks=int(rng.integers(1, 4)),
            attention_resolutions=tuple(side for side in sides if rng.random() < 0.5),
            head_channels=int(rng.choice([8, 16, 32])),
            inpaint=bool(seed & 1),
            low_res_size=16 if seed & 2 else None,
        )
        text = config.TextEncoder(
            context=int(rng.integers(1, 30)),
            vocab_size=int(rng.integers(2, 300)),
            width=8 * int(rng.integers(1, 4)),
            layers=int(rng.integers(1, 12)),
            heads=int(rng.choice([1, 2, 4, 8])),
        )
        yield config.Diffusion(unet, text, ["linear", "squaredcos_cap_v2"][seed % 2])


@pytest.mark.parametrize("model", [*varied()], ids=range(6))
def test_shapes_tell_the_rest(model):
    unet = model.unet
    untold = known.Untold(
        unet.image_size, unet.low_res_size, unet.head_channels, model.text.heads, model.schedule
    )
    assert infer(shapes_of(model), untold) == model


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
@pytest.mark.parametrize("name", released.TOLD_OF)
def test_a_checkpoint_becomes_a_model_folder(name, tmp_path):
    path = released.checkpoint(tmp_path / "model.pt", name)
    model = convert([path], tmp_path / "model", released.TOLD_OF[name])
    assert model == released.model_of(name)
    described, _, params = checkpoint.load_model(tmp_path / "model")
    assert described == model
    expected = from_pytorch(released.state_dict(name), model_folder.param_shapes(model))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_the_published_clip_is_known():
    shapes = json.loads((FIXTURES / "manifest_clip.json").read_text())
    image, text = shapes["clip-image-enc"], shapes["clip-text-enc"]
    assert infer_clip(image, text, known.recall(image).over(known.recall(text))) == config.Clip()
    assert known.recall(image | {"more": [1]}) == known.NOTHING


@pytest.fixture
def towers(tmp_path):
    names = "tiny-clip-image", "tiny-clip-text"
    return [released.checkpoint(tmp_path / f"{name}.pt", name) for name in names]


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
@pytest.mark.parametrize("order", [1, -1])
def test_two_towers_become_a_clip(order, towers, tmp_path):
    assert convert(towers[::order], tmp_path / "clip", released.TOLD_CLIP) == CLIP
    model, _, params = checkpoint.load_model(tmp_path / "clip", kind="clip")
    assert model == CLIP and params["logit_scale"] == pytest.approx(math.log(100))
    dicts = map(released.state_dict, ("tiny-clip-image", "tiny-clip-text"))
    expected = clip_from_pytorch(*dicts, model_folder.param_shapes(CLIP))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_what_is_no_clip_is_named(towers, tmp_path):
    image, text = towers
    base = released.checkpoint(tmp_path / "base.pt")
    wrong = torch_file.read(image) | {"blocks.input.w_pos": np.zeros((18, 32), np.float32)}
    torch_file.write(tmp_path / "wrong.pt", wrong)
    told, of = released.TOLD_CLIP, replace
    for paths, untold, message in (
        ([image], told, "it is a tower of CLIP: give both, clip_image_enc.pt and clip_text_enc.pt"),
        ([base, text], told, "there is no image tower of GLIDE's: it has no blocks.input.w_t"),
        ([image, image], told, "there is no text tower of GLIDE's: it has no blocks.input.w_voc"),
        ([image, tmp_path / "wrong.pt"], told, "there is no text tower"),
        ([tmp_path / "wrong.pt", text], told, "has 17 patches, which make no square"),
        ([image, text], known.NOTHING, "give --head-channels, --text-heads, --schedule"),
        ([image, text], of(told, head_channels=12), "head_channels is 12; allowed: divisors of 32"),
        ([image, text], of(told, head_channels=0), "head_channels is 0; it must be 1 or more"),
        ([image, text], of(told, image_size=8), "image_size is 8, but its shapes tell otherwise"),
    ):
        with pytest.raises(ValueError, match=f"cannot be converted: .*{re.escape(message)}"):
            convert(paths, tmp_path / "clip", untold)
    with pytest.raises(ValueError, match="there are 3 files to convert; give one, or CLIP's two"):
        command.main(["convert", *map(str, [base] * 3), "--out", str(tmp_path / "clip")])
    assert not (tmp_path / "clip").exists()


def test_a_vocabulary_of_another_size_is_warned_of(tmp_path):
    path = released.checkpoint(tmp_path / "model.pt")
    with pytest.warns(UserWarning, match="the model has 64 rows of tokens, .* no tokenizer"):
        convert([path], tmp_path / "model", released.TOLD)
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["config.json", "params.safetensors"]


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float16", "float16"), ("float32", "float32"), ("bfloat16", "float32"), ("float64",) * 2],
)
def test_precisions(dtype, stored, tmp_path):
    stored = "float32" if stored == "float64" else stored
    dtype = jax.numpy.dtype(dtype)
    weights = released.state_dict(TEXT2IM, dtype)
    torch_file.write(tmp_path / "model.pt", weights)
    model = convert([tmp_path / "model.pt"], tmp_path / "model", released.TOLD)
    params = model_folder.read_params(tmp_path / "model" / "params.safetensors", model)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {stored}
    loaded = to_pytorch(checkpoint.load_model(tmp_path / "model")[2])
    for name, array in weights.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], array.astype(np.float32))


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
def test_what_training_scripts_save_around_weights_is_taken_off(tmp_path):
    wrapped = {f"module._orig_mod.{name}": a for name, a in released.state_dict(TEXT2IM).items()}
    torch_file.write(tmp_path / "model.safetensors", wrapped)
    model = convert([tmp_path / "model.safetensors"], tmp_path / "model", released.TOLD)
    assert model == released.model_of(TEXT2IM)


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
def test_a_converted_model_samples_as_the_tree_that_it_is(tmp_path):
    path = released.checkpoint(tmp_path / "model.pt")
    model = convert([path], tmp_path / "model", released.TOLD)
    loaded = Pipeline.load(tmp_path / "model")
    params = from_pytorch(released.state_dict(TEXT2IM), model_folder.param_shapes(model))
    direct = Pipeline(model, params, loaded.tokenizer)
    images = [p.text_to_image([""], steps=2, seed=5) for p in (loaded, direct)]
    assert images[0].shape == (1, 16, 16, 3) and images[0].std() > 1
    np.testing.assert_array_equal(*images)


MEASURED = """
import resource, sys, warnings
from pathlib import Path
from glide_jax import model_folder
from glide_jax.released import known
from glide_jax.released.convert import convert
from tests.test_released_convert import MEDIUM
warnings.simplefilter("ignore")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model_folder.param_shapes(MEDIUM)
before = peak()
path, out = map(Path, sys.argv[1:])
assert convert([path], out, known.Untold(64, None, 32, 8, "linear")) == MEDIUM
print((peak() - before) / path.stat().st_size)
"""
MEDIUM = config.Diffusion(
    config.UNet(model_channels=96, attention_resolutions=(16, 8), head_channels=32),
    config.TextEncoder(vocab_size=5000, layers=2),
    "linear",
)


@pytest.mark.long
def test_weights_are_in_memory_once_at_most(tmp_path):
    path = tmp_path / "model.pt"
    torch_file.write(path, to_pytorch(zeros(MEDIUM)))
    assert path.stat().st_size > 200e6
    script = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "model")]
    ended = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    # All pages of the map stay, beside one weight.
    assert float(ended.stdout) < 1.2


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["released", *map(str, arguments)])
    cli.entry_point(command.main, "released")


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
def test_the_command_says_where_the_model_is(tmp_path, monkeypatch, capsys):
    path, out = released.checkpoint(tmp_path / "model.pt"), tmp_path / "model"
    call(monkeypatch, "convert", path, "--out", out, *released.flags(released.TOLD))
    printed, said = capsys.readouterr()
    parameters = sum(map(math.prod, released.MANIFESTS[TEXT2IM].values()))
    assert printed == f"{out}\n" and said.splitlines()[-1] == f"{parameters:,} parameters"
    assert checkpoint.load_model(out)[0] == released.model_of(TEXT2IM)


WITHOUT = ["--head_channels", "16", "--text_heads", "4"]
TOLD = released.flags(released.TOLD)
BAD = [
    (TEXT2IM, [], "it is none of the published models, and shapes do not tell image_size, "
     "head_channels, text_heads, schedule: give --image-size, --head-channels, --text-heads, "
     "--schedule"),
    (TEXT2IM, WITHOUT, "shapes do not tell image_size, schedule: give --image-size, --schedule"),
    ("tiny-superres", TOLD, "shapes do not tell low_res_size: give --low-res-size"),
    (TEXT2IM, [*TOLD, "--low-res-size", "4"], "low_res_size is 4, but its shapes tell otherwise"),
    (TEXT2IM, [*TOLD, "--text-heads", "5"], "TextEncoder.width is 32; allowed: multiples of heads"),
    (TEXT2IM, [*TOLD, "--head-channels", "24"], "UNet.head_channels is 24; allowed: divisors of"),
    (TEXT2IM, [*TOLD, "--image-size", "17"], "UNet.image_size is 17; allowed: multiples of 2"),
    (TEXT2IM, [*TOLD, "--schedule", "cosine"], "invalid choice 'cosine'"),
    ({"out.2.weight": (3, 32, 3, 3)}, TOLD, "its output has 3 channels, not 6: noise and variance"),
    ({"input_blocks.0.0.weight": (32, 4, 3, 3)}, TOLD,
     "its input has 4 channels; allowed: 3, 6, 7, 10"),
    ({"positional_embedding": (12,)}, TOLD, "its positional_embedding has the shape [12], not 2"),
    ({"time_embed.0.weight": (128, 0)}, TOLD, "time_embed.0.weight has the shape [128, 0]"),
    ({"time_embed.0.weight": (128, 24)}, TOLD,
     "its widths are (32, 64); they must be multiples of 24"),
    ({"time_embed.0.weight": None}, TOLD,
     "there is no text-guided diffusion model of GLIDE's: it has no time_embed.0.weight"),
    ({"input_blocks.2.0.op.weight": (32, 32, 3, 3)}, TOLD, "it resamples by convolutions"),
    ({"output_blocks.0.1.qkv.weight": None}, TOLD, "its output blocks differ within a level"),
    ({"more.weight": (3, 4), "final_ln.bias": None}, TOLD,
     "the weights do not fit the model: not used: ['more.weight']; "
     "not filled: ['text_encoder/final_norm/bias']"),
    ({"out.0.bias": (33,)}, TOLD, "unet/out_norm/bias (33,), not (32,)"),
    ({"out.0.bias": np.zeros(32, np.int64)}, TOLD, "its out.0.bias is of type int64, which is not"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "options", "message"), BAD, ids=lambda value: str(value)[:40])
def test_what_is_missing_or_wrong_is_named(what, options, message, tmp_path, monkeypatch, capsys):
    name, changed = (what, {}) if isinstance(what, str) else (TEXT2IM, what)
    changed = {k: np.zeros(v, np.float32) if type(v) is tuple else v for k, v in changed.items()}
    path = released.checkpoint(tmp_path / "model.pt", name, **changed)
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, "convert", path, "--out", tmp_path / "model", *options)
    printed, said = capsys.readouterr()
    assert stop.value.code == 2 and printed == "" and said.count("\n") == 1
    assert message in said and not (tmp_path / "model").exists()
    assert said.startswith(f"released: {path} cannot be converted: ") or "cosine" in message


def test_places_that_are_taken_or_missing_are_named(tmp_path, monkeypatch, capsys):
    path, taken = released.checkpoint(tmp_path / "model.pt"), tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    for arguments, message in (
        ((tmp_path / "none.pt", "--out", tmp_path / "x"), "none.pt cannot be read: No such file"),
        ((path, "--out", taken), f"--out is '{taken}', which is not empty; give a folder"),
        ((path, "--out", path), f"--out is '{path}', which is a file; give a folder that is new"),
        ((path,), "--out"),
    ):
        with pytest.raises(SystemExit) as stop:
            call(monkeypatch, "convert", *arguments, *TOLD)
        said = capsys.readouterr().err
        assert stop.value.code == 2 and message in said and said.count("\n") == 1
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


@pytest.mark.filterwarnings("ignore:the model has 64 rows of tokens")
def test_a_conversion_that_was_stopped_is_no_model_and_begins_again(tmp_path, monkeypatch):
    path, out = released.checkpoint(tmp_path / "model.pt"), tmp_path / "model"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model_folder, "save_description", stop)
        convert([path], out, released.TOLD)
    with pytest.raises(ValueError, match="there is no model"):
        checkpoint.load_model(out)
    command.main(["convert", str(path), "--out", str(out), *TOLD])
    checkpoint.load_model(out)


def stop(*arguments):
    raise KeyboardInterrupt
