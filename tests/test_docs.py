"""The documents: files, functions and links that they name are there, commands are understood."""

import ast
import contextlib
import importlib
import io
import itertools
import pathlib
import re
import shlex
from functools import cache

import pytest

from glide_jax import cli

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*(?:\.[a-z][\w-]*)*")
# Of programs that are not ours.
FOREIGN = {"--logdir"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Parsed(Exception):
    """In the place of what a program does once it has understood its arguments."""


def prose(page):
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text())


def targets(page):
    """Where a page's links and pictures lead, as it has them."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def spans(page):
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page):
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def find(name, page):
    """A file or folder by the name that a page has for it, or None."""
    bases = ROOT, ROOT / "glide_jax", ROOT / "tests", page.parent
    return next((base / name for base in bases if (base / name).exists()), None)


@cache
def defined(path):
    """The names of the functions and classes of a Python file, and of methods as Class.method."""
    return frozenset(_defined(path))


def _defined(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            inside = node.body if isinstance(node, ast.ClassDef) else []
            yield from (f"{node.name}.{n.name}" for n in inside if isinstance(n, ast.FunctionDef))


def named_functions(page):
    """(function, file) as prose says it, and as the tables with such columns do."""
    yield from re.findall(r"`([\w.]+)`\s\(`([\w/]+\.py)`\)", prose(page))
    columns = None
    for line in prose(page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "file" in cells and "function" in cells:
            columns = cells.index("file"), cells.index("function")
        elif not line.startswith("|"):
            columns = None
        elif columns and not line.startswith("|-"):
            files, functions = (re.findall(r"`([^`]+)`", cells[column]) for column in columns)
            yield from itertools.product(functions, files)


def commands(page):
    """The commands of a page that run Python, as lists of words without `python`."""
    for _, block in FENCED.findall(page.read_text()):
        if not re.search(r"^(\w+=\S+ )*python |&& python ", block, re.MULTILINE):
            continue
        words = shlex.shlex(block.replace("\\\n", ""), posix=True, punctuation_chars="&|\n")
        words.whitespace, words.whitespace_split, words.commenters = " \t", True, ""
        for is_break, group in itertools.groupby(words, lambda word: set(word) <= set("&|\n")):
            command = [word for word in group if not re.match(r"\w+=\S*$", word)]
            if not is_break and command[:1] == ["python"]:
                yield command[1:]


def program(command):
    """The `main` of a command of ours and its words; None where it does not parse them by `cli`."""
    name, words = command[0].removesuffix(".py"), list(command[1:])
    if name == "-m":
        name, *words = words
        name += ".__main__" if (ROOT / name.replace(".", "/")).is_dir() else ""
    path = ROOT / f"{name.replace('.', '/')}.py"
    assert path.is_file(), f"{' '.join(command)}: there is no such program"
    is_checked = not name.startswith(("tests.", "docs."))
    return (importlib.import_module(name).main, words) if is_checked else None


@pytest.fixture(scope="module")
def understood():
    """Checks words by a program's own parser; collects the flags that its --help lists."""
    helps, parse = {}, cli.parse

    def stand_in(kind, args, prog, description, default=None):
        parse(kind, args, prog, description, default)
        # Each kind of model that train.py trains has flags of its own.
        recipe = getattr(default, "recipe", None)
        asked = kind, recipe and type(recipe.model)
        if asked not in helps:
            with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
                parse(kind, ["--help"], prog, description, default)
            helps[asked] = set(FLAG.findall(told.getvalue()))
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(cli, "parse", stand_in)
        for command in dict.fromkeys(tuple(c) for page in PAGES for c in commands(page)):
            if command[0] == "-c":
                compile(command[1], "-c", "exec")
            elif command[:2] != ("-m", "pytest") and (ours := program(command)):
                main, words = ours
                with pytest.raises(Parsed):
                    main(words)
    return set().union(*helps.values())


def test_every_command_is_understood_by_its_program(understood):
    assert {"--sampler", "--optim.learning-rate", "--model.timesteps", "--fixtures"} <= understood


@each_page
def test_every_option_that_is_named_exists(page, understood):
    groups = {flag.rsplit(".", 1)[0] for flag in understood}
    named = {flag for span in spans(page) for flag in FLAG.findall(span)} - FOREIGN
    named = {flag for flag in named if not flag.startswith("--xla_")}
    assert named <= understood | groups


@each_page
def test_every_file_that_is_named_exists(page):
    named = {span for span in spans(page) if re.fullmatch(r"[\w./-]+\.py", span)}
    inside = r"(?<![\w./-])(?:glide_jax|tests|configs|docs|notebooks)/[\w./-]*\w"
    named |= set(re.findall(inside, page.read_text()))
    assert not {name for name in named if not find(name, page)}


@each_page
def test_every_function_that_is_named_is_in_its_file(page):
    wrong = []
    for function, name in named_functions(page):
        path = find(name, page)
        if path is None or function not in defined(path):
            wrong.append((function, name))
    assert not wrong


@each_page
def test_every_link_leads_somewhere(page):
    for target in targets(page):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_and_every_picture_has_its_command():
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in targets(page)
    }
    pictures = {*DOCS.glob("*.png"), *DOCS.glob("*.svg")}
    assert not {*DOCS.glob("*.md"), *pictures} - linked
    assert {picture.name for picture in pictures} <= {*targets(DOCS / "figures.md")}


def test_every_recipe_is_in_the_table_of_sizes():
    table = (DOCS / "training.md").read_text().partition("## How to train at each size")[2]
    table = table.partition("\n## ")[0]
    trained = (path for path in ROOT.glob("configs/[!_]*.py") if path.stem != "eval_coco")
    recipes = [path.name for path in trained]
    assert not [name for name in recipes if f"\n| `configs/{name}` " not in table]


def test_the_readme_has_less_than_200_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
