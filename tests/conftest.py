"""Strict JAX on two simulated CPU devices, and what a session builds once."""

import os
import pathlib

from tests import xla

ROOT = pathlib.Path(__file__).parents[1]

# The workers share what they compile, with each other and with the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{xla.flags(devices=2)} {os.environ.get('XLA_FLAGS', '')}"

import jax
import pytest

from tests import tiny

# The files that take longest come first, so that no worker is left alone with one at the end.
LONGEST = (
    *("interruptions", "devices", "web_page", "notebooks", "cli", "loop", "processes", "training"),
    *("contrastive", "finetune", "growing", "clip_guidance", "released_parity", "pipeline"),
    *("text2im", "loggers", "grids", "recipes", "evaluate", "upsample"),
)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_collection_modifyitems(items):
    """Orders the files."""
    rank = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-pair encoding for the tiny model."""
    return tiny.tokenizer()


@pytest.fixture(scope="session")
def params():
    """Parameters of the tiny model, none of them zero."""
    return tiny.random_params()
