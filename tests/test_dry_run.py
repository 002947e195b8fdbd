"""What a dry run says: against the state that a training lays out, and against closed forms."""

import math
from dataclasses import replace

import jax
import pytest

import train
from glide_jax import model_folder
from glide_jax.config import Classifier, Tagger
from glide_jax.models.text2im import count_parameters
from glide_jax.training import dry_run
from glide_jax.training.dry_run import Needs, check_fits, direct_flops, estimate, parse_bytes
from glide_jax.training.programs import make_programs
from tests import tiny

# A CLIP, which compiles sooner than a UNet.
RECIPE = replace(tiny.RECIPE, model=tiny.CLIP, caption_dropout=0.2, batch_size=64)
GIB = 2**30


@pytest.fixture(scope="module")
def needs():
    """Of the recipe on two devices; beside it, how many arrays that made."""
    before = len(jax.live_arrays())
    return estimate(RECIPE, 2), len(jax.live_arrays()) - before


def test_no_array_is_made(needs):
    assert needs[1] == 0


def test_parameters_averages_and_optimizer_are_what_training_holds(needs):
    parts, number = needs[0].parts, needs[0].parameters
    assert number == count_parameters(make_programs(RECIPE).state.params)
    assert parts["parameters"] == parts["moving averages"] == parts["gradients"] == 4 * number
    # Two moments, and a few counters.
    assert 0 <= parts["optimizer"] - 8 * number < 64


def test_spread_they_are_what_the_layout_s_shards_hold(monkeypatch):
    recipe = replace(RECIPE, parallel="fsdp")
    monkeypatch.setattr(dry_run, "_activations", lambda *_: (0, "nobody"))
    parts = estimate(recipe, 2).parts
    state = make_programs(recipe).state

    def held(tree):
        return sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )

    # Half of four bytes a parameter, and what is too small to be spread.
    assert parts["parameters"] == held(state.params) < 2.5 * count_parameters(state.params)
    assert parts["moving averages"] == held(state.ema_params)
    assert parts["optimizer"] == held(state.opt_state)
    assert parts["parameters gathered, at most"] == 4 * count_parameters(state.params)


@pytest.mark.long
def test_what_is_computed_anew_takes_time_and_saves_memory():
    deep = replace(tiny.CLIP, image=replace(tiny.CLIP.image, layers=12))
    kept, anew = (estimate(replace(RECIPE, model=deep, remat=own), 2) for own in ("none", "blocks"))
    assert 1.2 < anew.flops / kept.flops < 1.35
    assert anew.parts["activations"] < 0.3 * kept.parts["activations"]


def test_a_step_s_flops_are_at_least_those_of_its_matrix_products(needs):
    clip, rows = RECIPE.model, RECIPE.batch_size
    towers = (
        ((clip.image.image_size // clip.image.patch) ** 2 + 1, clip.image),
        (clip.text.context, clip.text),
    )
    # Each layer: four projections and an MLP of 4, by every token, twice again in the gradient.
    least = sum(tokens * t.layers * 3 * 2 * 12 * t.width**2 for tokens, t in towers)
    assert least < needs[0].flops / rows < 2 * least


@pytest.mark.parametrize(
    ("text", "expected"),
    [("16GiB", 16 * GIB), ("80 GB", 80 * 10**9), ("0.5MiB", 2**19), ("1TB", 10**12)],
)
def test_sizes_are_read(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["16", "GiB", "16 gigs", "-1GiB", "0GiB", "1e3GB", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="--device-memory is .* such as 16GiB"):
        parse_bytes(text)


def small(state, activations, **recipe):
    """Needs of a recipe that was not measured, in GiB."""
    parts = {"parameters": state * GIB, "activations": activations * GIB}
    recipe = replace(tiny.RECIPE, batch_size=96, **recipe)
    return Needs(recipe, devices=8, rows=12, parameters=1, flops=1.0, parts=parts, source="")


@pytest.mark.parametrize(
    ("needs", "remedy"),
    [
        (small(20, 1), "give --parallel fsdp"),
        (small(20, 1, parallel="fsdp"), "take more devices"),
        (small(2, 40), "give --remat blocks"),
        (small(2, 40, remat="blocks"), "give --optim.accumulate 3"),
        (small(2, 60, remat="blocks"), "give --optim.accumulate 6"),
        (small(2, 900, remat="blocks"), "give --parallel fsdp, or take a smaller model"),
    ],
)
def test_what_does_not_fit_is_told_what_to_change(needs, remedy):
    with pytest.raises(ValueError, match=f"is 16.0 GiB, and tiny takes .* devices: {remedy}$"):
        check_fits(needs, 16 * GIB)


@pytest.mark.parametrize("model", [Classifier(channels=(4, 8)), Tagger(tiny.MODEL.text)])
def test_models_that_take_more_or_less_than_captions_have_needs(model):
    """The dense layers alone do two operations a row and weight, and twice that to learn."""
    found = estimate(replace(RECIPE, model=model), 2)
    assert found.parts["parameters"] == 4 * count_parameters(model_folder.param_shapes(model))
    dense = 16 * 16 * 8 * 128 if isinstance(model, Classifier) else 32 * 25 * model.text.context
    assert found.flops > 64 * 4 * dense and found.parts["activations"] > 0


def test_what_fits_is_let_pass():
    check_fits(small(10, 6), 16 * GIB)


@pytest.mark.long
def test_the_command_prints_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "_activations", lambda *_: (0, "nobody"))
    recipe = str(train.CONFIGS / "tiny.py")
    train.main([recipe, "--dry-run", "--devices", "4", "--device-memory", "16GiB"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny on 4 devices: 2 pictures of each at a time, float32")
    assert "117,286 parameters" in lines and "     0.00  activations  (nobody)" in lines
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="give --parallel fsdp"):
        train.main([recipe, "--dry-run", "--devices", "4", "--device-memory", "1MiB"])


def test_operations_are_counted_by_the_cpu_s_backend(monkeypatch):
    # The last device stands for the CPU of a machine whose first is a GPU.
    counter = jax.local_devices()[-1]
    monkeypatch.setattr(jax, "local_devices", lambda backend: [counter])
    seen, count = [], jax.stages.Lowered.cost_analysis

    def counted(lowered):
        seen.append(jax.config.jax_default_device)
        return count(lowered)

    def product(a):
        seen.append(jax.config.jax_default_device)
        return a @ a

    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", counted)
    flops = direct_flops(product, jax.ShapeDtypeStruct((8, 8), "float32"))
    assert flops == 2 * 8**3 and seen == [counter, counter]


def test_without_a_cpu_they_are_not_counted(monkeypatch):
    def none_such(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", none_such)
    with pytest.raises(ValueError, match="JAX_PLATFORMS is 'cpu', .*: give cpu,cpu"):
        direct_flops(jax.numpy.exp, 0.0)
