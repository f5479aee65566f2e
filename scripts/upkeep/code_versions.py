"""Says which stages' code changed since their results were last vouched for.

A key carries each stage's code version (`nodes.CODE_VERSIONS`), raised by hand, because a reformatted
file must not cost a night of baking. This chore hashes the syntax trees of a stage's module and of
all that it imports, without comments and docstrings, the data files that these read, and its settings'
defaults.
What draws pages for people (the wing `pages`, with its templates) counts only for the compare stage,
whose result is its page. No later stage reads the pages of the others: another look must not cost a
night of baking, and a finished folder keeps the page that it has until that is made anew.
`tests/code_versions.json` holds the hashes that belong to each version, and the modules they cover.
When they differ, either raise the version (results differ) or run `make same-results` (they do not).
The modules behind a family of base models count for that family alone (`Family.code_version`), so that
mending one remakes no other's bakes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path

from bakery.families import registry
from bakery.graph import nodes
from bakery.settings import config

LIBRARY = Path(__file__).parents[1] / "bakery"
RECORD = Path(__file__).parents[2] / "tests" / "code_versions.json"
NEUTRAL = {
    "families.registry",
    "graph.build",
    "graph.nodes",
    "io.errors",
    "io.manifest",
    "jobs.job",
    "settings.config",
    "settings.halve",
    "settings.sections",
    *(f"settings.{stage}" for stage in config.STAGES),
}
"""Modules that decide what is made and where, never what is in it."""
FAMILIES_IN = "families."
"""The wing whose modules count for the families that stand on them, not for the stages."""
STAGES_IN = "stages."
"""Where the stages' modules are, as a prefix of dotted names."""
PAGES_IN = "pages."
"""The wing that draws what people look at."""
PAGE = "compare"
"""The stage whose result is a page."""
TEMPLATES_IN = "pages/templates"
"""The folder of the pages' templates."""


def modules() -> dict[str, Path]:
    """Every module of the library: dotted name below `bakery` -> file. Packages are no modules."""
    files = (path for path in LIBRARY.rglob("*.py") if path.stem != "__init__")
    return {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in files}


def imported(tree: ast.AST, known: Collection[str] | None = None) -> set[str]:
    """Dotted names of the library's modules that a syntax tree imports, in any spelling.

    `known` are the names of all modules, where the caller has them already.
    Raises LookupError for an import from the library that leads to no module: what cannot be
    followed must not drop out of a hash without a word.
    """
    known, found = modules() if known is None else known, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise LookupError(f"line {node.lineno} imports relatively: write `from bakery...`")
            package, *inner = (node.module or "").split(".")
            wanted = [".".join([*inner, alias.name]) for alias in node.names]
            if package == "bakery":
                found |= {_module(name, ".".join(inner), known, node.lineno) for name in wanted}
        elif isinstance(node, ast.Import):
            named = [alias.name.partition(".") for alias in node.names]
            found |= {
                _module(inner, "", known, node.lineno)
                for package, _, inner in named
                if package == "bakery"
            }
    return found


def closure(stage: str) -> set[str]:
    """Dotted names of the stage's module and of all that it imports, directly or not.

    What belongs to the families of base models is left out: it has versions of its own. So is what
    draws pages, but for the stage whose result is one.
    """
    found = _closure(f"{STAGES_IN}{stage}", without="" if stage == PAGE else PAGES_IN)
    return found - _of_families() if any(name.startswith(FAMILIES_IN) for name in found) else found


def closure_of_family(name: str) -> set[str]:
    """Dotted names of the modules of the wing `families` that a family stands on."""
    (family,) = (family for family in registry.FAMILIES if family.name == name)
    module = type(family).__module__.removeprefix(f"{LIBRARY.name}.")
    return {found for found in _closure(module) if found.startswith(FAMILIES_IN)}


def _of_families() -> set[str]:
    """All modules that some family stands on."""
    return set().union(*(closure_of_family(family.name) for family in registry.FAMILIES))


def _closure(module: str, without: str = "") -> set[str]:
    """What `module` stands on; modules whose names begin with `without` are not followed."""
    known, found, waiting = frozenset(modules()), set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        needed = _imports(_text(name), known) - found - NEUTRAL
        waiting |= {other for other in needed if not (without and other.startswith(without))}
    return found


def templates(names: set[str]) -> list[Path]:
    """The files behind the pages that these modules render by name, and what all pages share."""
    folder = LIBRARY / TEMPLATES_IN
    rendered = {
        str(node.args[0].value)
        for name in names
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "render"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    shared = [*folder.glob("house.*")] if rendered else []
    return sorted({*shared, *(path for page in rendered for path in folder.glob(f"{page}.*"))})


def data_files(names: set[str]) -> list[Path]:
    """The tables in `resources/` that these modules name, such as the vocabulary's."""
    found = _named(names, r"resources/[\w./-]+\.[a-z]+")
    return [path for path in found if path.suffix != ".py" and path.is_file()]


def programs(names: set[str]) -> list[Path]:
    """The files of programs outside of the library that these modules start, and name."""
    return _named(names, r"scripts/[\w/]+\.py")


def _named(names: set[str], pattern: str) -> list[Path]:
    """The paths, from the project's root, that stand in these modules as texts of this pattern."""
    found = {
        LIBRARY.parents[1] / node.value
        for name in names
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(pattern, node.value)
    }
    return sorted(found)


def code_hash(stage: str) -> str:
    """Hash of everything in the code that may change the stage's results."""
    parts = [json.dumps(config.Config.model_fields[stage].default.model_dump(mode="json"))]
    names = closure(stage)
    parts += [_code(_text(name)) for name in sorted(names)]
    parts += [_code(path.read_text(encoding="utf-8")) for path in programs(names)]
    parts += [path.read_text(encoding="utf-8") for path in [*data_files(names), *templates(names)]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def current(stage: str) -> dict[str, int | str | list[str]]:
    """What the record holds of a stage, as the code is now."""
    names = closure(stage)
    now: dict[str, int | str | list[str]] = {
        "version": nodes.CODE_VERSIONS[stage],
        "code": code_hash(stage),
        "modules": sorted(names),
    }
    if data := [path.relative_to(LIBRARY.parents[1]).as_posix() for path in data_files(names)]:
        now["data"] = data
    if run := [path.relative_to(LIBRARY.parents[1]).as_posix() for path in programs(names)]:
        now["programs"] = run
    return now


def current_family(name: str) -> dict[str, int | str | list[str]]:
    """What the record holds of a family of base models, as the code is now."""
    (family,) = (family for family in registry.FAMILIES if family.name == name)
    names = sorted(closure_of_family(name))
    code = "\n".join(_code(_text(module)) for module in names)
    return {
        "version": family.code_version,
        "code": hashlib.sha256(code.encode()).hexdigest()[:16],
        "modules": names,
    }


def record() -> dict[str, object]:
    """The whole record as the code is now."""
    families = {family.name: current_family(family.name) for family in registry.FAMILIES}
    return {**{stage: current(stage) for stage in config.STAGES}, "families": families}


def _module(name: str, package: str, known: Collection[str], line: int) -> str:
    """The module that an import of `name` leads to: itself, or the one that defines it."""
    for candidate in (name, package):
        if candidate in known:
            return candidate
    raise LookupError(f"line {line} imports bakery.{name}, which is no module of the library")


def _text(name: str) -> str:
    return (LIBRARY / name.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")


def _tree(name: str) -> ast.Module:
    return _parsed(_text(name))


@functools.cache
def _imports(text: str, known: frozenset[str]) -> frozenset[str]:
    return frozenset(imported(_parsed(text), known))


@functools.cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@functools.cache
def _code(text: str) -> str:
    """The syntax tree of a module as text, without comments and docstrings."""
    tree = ast.parse(text)  # its own: it is changed here
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [s for s in body if not _is_text(s)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RECORD.name} vouches for the code as it is\n")
