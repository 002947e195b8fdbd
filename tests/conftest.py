"""Strict JAX on two simulated CPU devices, and what a session builds once."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parents[1]

# The workers share what they compile, with each other and with the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    (
        "--xla_force_host_platform_device_count=2",
        "--xla_backend_optimization_level=0",  # halves the time to compile
        os.environ.get("XLA_FLAGS", ""),  # comes last, and so decides
    )
)

import jax
import pytest

from tests import tiny

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-pair encoding for the tiny model."""
    return tiny.tokenizer()


@pytest.fixture(scope="session")
def params():
    """Parameters of the tiny model, none of them zero."""
    return tiny.random_params()
