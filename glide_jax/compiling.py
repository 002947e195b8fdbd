"""What the compiler is told, and what it leaves: a CPU's defaults take time and memory."""

import ctypes
import sys
from functools import cache, wraps

import jax

# Matrix products by YNNPACK, which is slower here than what it stands in for (docs/performance.md).
# Without it the loops of several devices at work at once go wrong from their seventh step on.
_NO_YNNPACK = ("xla_cpu_experimental_ynn_fusion_type", "")
# XLA holds apart by barriers what is computed anew and what it was computed from first. On a CPU
# this pass removes them, and then the two are joined again.
_KEEP_BARRIERS = ("xla_disable_hlo_passes", "cse_barrier_expander")
LONG = 1.0  # seconds of compiling; what is compiled faster leaves little


def for_sampling(mesh):
    """The compiler's options for sampling on a mesh's devices, or None."""
    is_one_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
    return dict([_NO_YNNPACK]) if is_one_cpu and _is_known(*_NO_YNNPACK) else None


def for_gradients(platform, remat):
    """The same for a gradient that does what `Recipe.remat` says."""
    return dict([_KEEP_BARRIERS]) if platform == "cpu" and remat != "none" else None


def jit(static_argnames=(), donate_argnames=()):
    """`jax.jit`, as a decorator, of a function of sampling that is told its mesh as `mesh`."""
    names = {"static_argnames": static_argnames, "donate_argnames": donate_argnames}

    def decorate(function):
        @cache
        def jitted(mesh):
            return jax.jit(function, compiler_options=for_sampling(mesh), **names)

        @wraps(function)
        def call(*given, mesh, **more):
            return jitted(mesh)(*given, mesh=mesh, **more)

        return call

    return decorate


def _give_back(event, seconds, **_):
    """Has glibc give back, before a program runs, what the compiler has freed of memory.

    After a step of the published base model that is half a gigabyte, which it would keep.
    """
    is_compiled = event == "/jax/core/compile/backend_compile_duration"
    if is_compiled and seconds > LONG and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


jax.monitoring.register_event_duration_secs_listener(_give_back)


@cache
def _is_known(option, value):
    """Whether this version of the compiler has an option, which others may not."""
    try:
        jax.jit(lambda x: x, compiler_options={option: value}).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
