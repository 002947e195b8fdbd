"""Flags for XLA with which programs are quick to compile, whatever they cost to run."""

from importlib.metadata import version

# The older way to write kernels compiles in two thirds of the time; a program in one piece takes
# less of it than in pieces, which are for cores with nothing else to do. An XLA that does not know
# a flag ends the process, so newer ones are not asked.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def flags(devices):
    """So many simulated devices, and half of the time to compile or less."""
    parts = [
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_backend_optimization_level=0",
        QUICK if version("jaxlib").startswith("0.10.") else "",
    ]
    return " ".join(parts)
