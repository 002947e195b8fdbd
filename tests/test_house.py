"""Imports point down only, and each library has one home."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LEVELS = (
    ("config", "files", "cli"),
    ("text", "tensors"),
    ("models", "diffusion", "data", "parallel", "compiling", "images", "fitting", "plots"),
    (
        *("layouts", "model_folder", "given", "settings", "retrieval"),
        *("guiding", "reranking", "saving"),
    ),
    ("checkpoint", "sampling", "edits"),
    ("retouching",),
    ("drawing",),
    ("editing", "noised_clip"),
    ("pipeline",),
    ("released",),
    ("training", "evaluation"),
    ("bench", "web"),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
HOMES = {
    "flax": "models",
    "tensorflow_datasets": "data",
    "grain": "data",
    "orbax": "checkpoint",
    "tokenizers": "text",
    "ftfy": "text",
    "huggingface_hub": "released",
    "gradio": "web",
}
FILES = sorted((ROOT / "glide_jax").rglob("*.py"))


def part_of(path):
    """The part of the house that a file belongs to; None for the package's own first file."""
    inside = path.relative_to(ROOT / "glide_jax")
    return None if inside.name == "__init__.py" and len(inside.parts) == 1 else inside.parts[0]


def imported(path):
    """Every module that a file names in an import, with `from a import b` as a and a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    part = part_of(path)
    if part is None:
        return
    part = part.removesuffix(".py")
    for module in imported(path):
        root, _, rest = module.partition(".")
        if root in HOMES:
            assert HOMES[root] == part, f"{module} belongs in {HOMES[root]}"
        other = rest.partition(".")[0]
        if root == "glide_jax" and other in LEVEL and other != part:
            assert LEVEL[other] < LEVEL[part], module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
