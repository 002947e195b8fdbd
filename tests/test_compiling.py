"""What the compiler is told: options that it knows, where they are of use; and what it leaves."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax import Pipeline, checkpoint, compiling, parallel, sampling


def mesh(platform="cpu", devices=1):
    """What `for_sampling` asks of a mesh."""
    return SimpleNamespace(
        size=devices, devices=np.array([SimpleNamespace(platform=platform)] * devices)
    )


def test_products_of_sampling_on_one_cpu_are_not_ynnpack_s():
    square = jax.ShapeDtypeStruct((256, 256), "float32")

    def text(options):
        return jax.jit(lambda a: a @ a).lower(square).compile(options).as_text()

    assert "__ynn_fusion" not in text(compiling.for_sampling(mesh()))
    assert compiling.for_sampling(mesh("gpu")) is compiling.for_sampling(mesh("tpu")) is None
    assert compiling.for_sampling(mesh(devices=2)) is None


@pytest.mark.long
def test_a_long_loop_on_two_devices_draws_what_it_draws_on_one():
    model, tokenizer, params = checkpoint.load_model("shapes32")

    def drawn(devices):
        pipeline = Pipeline(model, params, tokenizer, devices=devices)
        return pipeline.text_to_image(["a blue star"], num=16, steps=9).astype(int)

    assert sampling.pieces(9) == [(0, 9)]
    devices = jax.local_devices()
    assert np.abs(drawn(devices[:2]) - drawn(devices[:1])).max() <= 2


def test_an_option_that_the_compiler_does_not_know_is_not_given(monkeypatch):
    monkeypatch.setattr(compiling, "_NO_YNNPACK", ("xla_of_another_version", ""))
    assert compiling.for_sampling(mesh()) is None


def test_a_function_is_compiled_once_with_the_options_of_its_mesh(monkeypatch):
    made, jit = [], jax.jit

    def recorded(function, **how):
        made.append(how)
        return jit(function, **how)

    mesh = parallel.local_mesh(jax.local_devices()[:1])
    options = compiling.for_sampling(mesh)
    monkeypatch.setattr(compiling.jax, "jit", recorded)

    names = {"static_argnames": ("mesh", "power"), "donate_argnames": ("x",)}

    @compiling.jit(**names)
    def raised(x, *, mesh, power):
        """To a power."""
        return x**power

    for power in (2, 3):
        np.testing.assert_array_equal(raised(jnp.arange(3.0), mesh=mesh, power=power)[2], 2**power)
    assert made == [{"compiler_options": options} | names]
    assert raised.__doc__ == "To a power."
    with pytest.raises(TypeError, match="mesh"):
        raised(jnp.arange(3.0), power=2)


@pytest.mark.parametrize("program", [sampling._encode, sampling._start, sampling._run])
def test_sampling_is_compiled_so(program):
    def other(x, *, mesh):
        return x

    assert program.__code__ is compiling.jit()(other).__code__


def test_what_compiling_leaves_is_given_back_before_the_program_runs(monkeypatch):
    order = []
    library = SimpleNamespace(malloc_trim=lambda keep: order.append("given back"))
    monkeypatch.setattr(compiling.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(compiling.sys, "platform", "linux")
    monkeypatch.setattr(compiling, "LONG", 0.0)
    seed = np.random.default_rng().random()  # of which no cache has the program
    program = jax.jit(lambda x: jax.pure_callback(lambda x: order.append("run") or x, x, x + seed))
    jax.block_until_ready(program(np.float32(1)))
    assert order[0] == "given back" and order[-1] == "run"
    compiling._give_back("/jax/core/compile/jaxpr_trace_duration", 9.0)
    compiling._give_back("/jax/core/compile/backend_compile_duration", 0.0)
    assert order[-1] == "run"
    monkeypatch.setattr(compiling.ctypes, "CDLL", lambda name: SimpleNamespace())  # no glibc
    compiling._give_back("/jax/core/compile/backend_compile_duration", 9.0)
