"""What docstrings and recipes call by name is there: modules and what is in them, files, symbols."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_versions import modules
from documents import ROOT, anchors, section

from bakery.settings import config

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RECIPES = sorted(anchor for anchor in anchors(CONTRIBUTING) if anchor.startswith("add-a"))
MODULES = modules()
EXAMPLES = {"<stage>": "prune", "<name>": "sdxl"}
"""What the recipes leave open, filled in."""
EXTENSIONS = {
    "csv",
    "html",
    "jpg",
    "json",
    "jsonl",
    "onnx",
    "png",
    "py",
    "seal",
    "state",
    "txt",
    "yaml",
}
"""`grid.png` is a file, no name in the module `grid`."""


def recipe(anchor: str) -> str:
    text = " ".join(section(CONTRIBUTING, anchor).split())
    for open_, example in EXAMPLES.items():
        text = text.replace(open_, example)
    return text


def missing_files(text: str) -> list[str]:
    return [p for p in re.findall(r"`([\w.-]+/[\w./-]+)`", text) if not (ROOT / p).exists()]


def missing_symbols(text: str) -> list[str]:
    """Of what is said as "`NAME` in `path.py`", what that file does not define."""
    said = re.findall(r"`(\w+)`(?: and `(\w+)`)? in `([\w./-]+\.py)`", text)
    return [
        f"{name} in {path}"
        for *names, path in said
        for name in filter(None, names)
        if name not in defined(ROOT / path)
    ]


@functools.cache
def defined(path: Path) -> set[str]:
    """What a module has at its top, and what its classes have."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef):
            for statement in node.body:
                found |= set(_names(statement))
    return found


def _names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)
        case ast.Assign() | ast.AnnAssign():
            yield from (n.id for n in ast.walk(statement) if isinstance(n, ast.Name))


def docstrings(path: Path) -> Iterator[str]:
    """All texts that are statements: docstrings of modules, classes, functions and names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def strange_names(text: str, source: str = "") -> list[str]:
    """Of the words `module.name` in `text`, those that lead nowhere.

    They may lead to what a module has, to a setting, or to what `source` itself calls by the first word.
    """
    strange = []
    for owner, name in re.findall(r"`([A-Za-z]\w+)\.(\w+)[`(.]", text):
        if name in EXTENSIONS or name in settings_of(owner):
            continue
        places = [path for path in MODULES.values() if owner in (path.stem, path.parent.name)]
        places += [path for path in MODULES.values() if owner in classes(path)]
        known = (
            any(name in {*defined(path), path.stem} for path in places)
            or (owner[0].isupper() and name in identifiers(source))  # inherited
            if places
            else owner in identifiers(source) or owner[0].isupper()  # a class of others
        )
        if not known:
            strange.append(f"{owner}.{name}")
    return strange


@functools.cache
def settings_of(owner: str) -> set[str]:
    """The settings of a section, or of those in a section, such as `reg` of layout."""
    found: set[str] = set()
    for field in config.Config.model_fields.values():
        section_ = config.section_in(field.annotation)
        inner = {name: config.section_in(f.annotation) for name, f in section_.model_fields.items()}
        for name, model in {**inner, section_.__name__.lower(): section_}.items():
            if name == owner and model is not None:
                found |= {f.alias or key for key, f in model.model_fields.items()}
    return found


@functools.cache
def classes(path: Path) -> set[str]:
    return {n.name for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.ClassDef)}


@functools.cache
def identifiers(source: str) -> set[str]:
    """What the code of a module calls anything."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        found |= {
            str(getattr(node, place, "")) for place in ("id", "arg", "attr", "name", "asname")
        }
    return found


@pytest.mark.parametrize("anchor", RECIPES)
def test_recipes_name_what_is_there(anchor: str) -> None:
    text = recipe(anchor)
    assert missing_files(text) == []
    assert missing_symbols(text) == []


def test_there_is_a_recipe_for_each_kind_and_a_test_behind_it() -> None:
    kinds = ("stage", "model-family", "metric", "filter-check", "optimizer-or-a-sampler")
    assert set(RECIPES) == {f"add-a{'n' if kind[0] == 'o' else ''}-{kind}" for kind in kinds}
    for anchor in RECIPES:
        assert re.search(r"`tests/test_adding\w*\.py`", recipe(anchor)) or "optimizer" in anchor


@pytest.mark.parametrize("module", sorted(MODULES))
def test_docstrings_name_what_is_there(module: str) -> None:
    path = MODULES[module]
    source = path.read_text("utf-8")
    assert [name for text in docstrings(path) for name in strange_names(text, source)] == []


def test_what_is_not_there_is_seen() -> None:
    assert missing_files("`scripts/bakery/nowhere.py` and `docs/design.md`") == [
        "scripts/bakery/nowhere.py"
    ]
    assert missing_symbols("`CHECKS` and `NONE` in `scripts/bakery/dataset/checks.py`") == [
        "NONE in scripts/bakery/dataset/checks.py"
    ]
    told = "`registry.FAMILIES`, `graph.halving`, `prune.enabled`, `grid.png`, `os.path`"
    assert strange_names(told, "import os") == []
    assert strange_names("`races.contenders`", "verdicts = 1") == ["races.contenders"]
    assert strange_names("`registry.nothing` and `prune.nothing`") == [
        "registry.nothing", "prune.nothing",
    ]  # fmt: skip
