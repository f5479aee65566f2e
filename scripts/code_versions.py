"""Says which stages' code changed since their results were last vouched for.

A key carries each stage's code version (`plan.CODE_VERSIONS`), raised by hand, because a reformatted
file must not cost a night of baking. This chore hashes the syntax trees of a stage's module and of the
nouns it imports, without comments and docstrings, and its settings' defaults. `tests/code_versions.json`
holds the hashes that belong to each version. When they differ, either raise the version (results
differ) or run `make same-results` (they do not).
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from pathlib import Path

from bakery import config, plan

LIBRARY = Path(__file__).parent / "bakery"
RECORD = Path(__file__).parents[1] / "tests" / "code_versions.json"
NEUTRAL = {
    "config",
    "doors",
    "errors",
    "filter_settings",
    "manifest",
    "plan",
    "sample_settings",
    "sections",
    "train_settings",
}
"""Modules that decide what is made and where, never what is in it."""


def imported(tree: ast.AST) -> set[str]:
    """Names of the library's modules that a syntax tree imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "bakery":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bakery."):
            names.add(node.module.split(".")[1])
    return {name for name in names if (LIBRARY / f"{name}.py").exists()}


def closure(stage: str) -> set[str]:
    """The stage's module and all that it imports, directly or not."""
    found, waiting = set(), {stage}
    while waiting:
        name = waiting.pop()
        found.add(name)
        tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        waiting |= imported(tree) - found - NEUTRAL
    return found


def code_hash(stage: str) -> str:
    """Hash of everything in the code that may change the stage's results."""
    parts = [json.dumps(config.Config.model_fields[stage].default.model_dump(mode="json"))]
    for name in sorted(closure(stage)):
        tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [s for s in body if not _is_text(s)]
        parts.append(ast.dump(tree))
    templates = sorted((LIBRARY / "templates").glob(f"{stage}*"))
    parts += [template.read_text(encoding="utf-8") for template in templates]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, int | str]]:
    return {
        stage: {"version": plan.CODE_VERSIONS[stage], "code": code_hash(stage)}
        for stage in config.STAGES
    }


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RECORD.name} vouches for the code as it is\n")
