"""A copy of the project that a test may change, and the chores that follow a change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = (
    "Snakefile", "workflow", "scripts", "profiles", "envs", "config",
    "tests", "docs", "CONTRIBUTING.md", "requirements.txt", "pyproject.toml",
)  # fmt: skip
PLACES = (
    "Snakefile",
    "scripts/bakery",
    "tests/support/tiny_base.py",
    "tests/support/single_file.py",
)
"""Where lines are put."""
CHORES = ("describe_config.py", "house.py", "code_versions.py")
WRITTEN = ("config/README.md", "workflow/schemas", "docs/house.svg", "tests/code_versions.json")
"""What the chores write."""


@dataclass(frozen=True)
class Line:
    """A piece of code that is put in front of one that is there once in `PLACES`."""

    before: str
    new: str


def copied(tree: Path) -> Path:
    """Copy the project to the empty folder `tree`."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    (tree / "resources").symlink_to(ROOT / "resources")
    return tree


def files(tree: Path) -> dict[str, bytes]:
    """Path -> content of all files of the project in `tree` that a person writes."""
    found = (p for name in COPIED for p in (tree / name, *(tree / name).rglob("*")) if p.is_file())
    content = {path.relative_to(tree).as_posix(): path.read_bytes() for path in found}
    return {
        name: text
        for name, text in content.items()
        if "__pycache__" not in name and not name.startswith(WRITTEN)
    }


def put(tree: Path, line: Line) -> None:
    found = (p for name in PLACES for p in (tree / name, *(tree / name).rglob("*.py")))
    places = [p for p in found if p.is_file() and line.before in p.read_text("utf-8")]
    (place,) = places
    text = place.read_text("utf-8")
    assert text.count(line.before) == 1, place
    place.write_text(text.replace(line.before, line.new + line.before), "utf-8")


def python(tree: Path, *arguments: str) -> str:
    """What a command says that is run with the interpreter of this test, in `tree`."""
    ran = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=tree,
        timeout=1200, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "scripts")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def chores(tree: Path) -> dict:
    """`make docs` and `make same-results`; gives the record of code versions."""
    for name in CHORES:
        python(tree, f"scripts/upkeep/{name}")
    return json.loads((tree / "tests/code_versions.json").read_text("utf-8"))
