"""What is carried to a machine without a network: all that the run imports, and no more than fits."""

from __future__ import annotations

import ast
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import code_versions
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from gpu import wheels  # noqa: E402

OURS = ("on_a_gpu", "models", "side_by_side", "trainers", "ceiling", "hardware", "stepwise",
        "grid_sampling")  # fmt: skip
"""Of the benchmarks: what the run is made of."""
ON_DEMAND = {"tensorboard", "torchvision"}
"""What is imported only where a setting asks for it, or it is there."""


def imports(tree: ast.AST) -> set[str]:
    """Top-level names that are imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def files_of_a_run() -> list[Path]:
    """The benchmarks that a run is made of, and what they need of the library."""
    library = code_versions.modules()
    waiting = [ROOT / "benchmarks" / f"{name}.py" for name in OURS]
    waiting += [*(ROOT / "benchmarks/gpu").glob("*.py"), ROOT / "tests/support/tiny_base.py"]
    found: list[Path] = []
    while waiting:
        found.append(waiting.pop())
        tree = ast.parse(found[-1].read_text("utf-8"))
        needed = {library[name] for name in code_versions.imported(tree, library)}
        waiting += needed - {*found, *waiting}
    return found


def test_all_that_a_run_imports_is_carried_or_comes_with_torch() -> None:
    names = set().union(*(imports(ast.parse(path.read_text("utf-8"))) for path in files_of_a_run()))
    owners = metadata.packages_distributions()
    needed = {wheels.normal(owners[name][0]) for name in names if name in owners} - ON_DEMAND
    assert {"diffusers", "pydantic", "pandas"} <= needed
    assert needed <= wheels.needs(wheels.ROOTS).versions.keys() | wheels.with_torch()


def test_what_is_there_stays_unless_something_carried_needs_another() -> None:
    wanted = wheels.Needs(
        versions={"models": "5.2", "hub": "2.4", "tokens": "0.9", "pictures": "13.0", "new": "1.0"},
        wanted_by={
            "hub": {"models": ">=1.31,<3", "tokens": ">=0.16"},
            "tokens": {"models": ">=0.9,<1"},
            "pictures": {"new": ">=12"},
        },
    )
    there = {"models": "5.1", "hub": "1.33", "tokens": "0.9.1", "pictures": "12.1"}
    assert wheels.missing(wanted, there) == {"new": "1.0"}
    assert wheels.missing(wanted, there | {"pictures": "11.0"}) == {
        "new": "1.0",
        "pictures": "13.0",
    }
    del there["models"]
    assert wheels.missing(wanted, there) == {"new": "1.0", "models": "5.2"}
    # a carried hub is another than the tokens there were made for, so they come along
    old = wheels.missing(wanted, there | {"hub": "1.0"})
    assert old == {"new": "1.0", "models": "5.2", "hub": "2.4", "tokens": "0.9"}
    assert wheels.missing(wanted, {}) == wanted.versions


def test_a_listing_of_pip_is_read(tmp_path: Path) -> None:
    listing = tmp_path / "packages.txt"
    listing.write_text(
        "huggingface_hub==1.33.0\n-e /some/where\ntorch @ file:///torch.whl\nPyYAML==6\n"
    )
    assert wheels.installed_there(listing) == {"huggingface-hub": "1.33.0", "pyyaml": "6"}


def made_wheel(folder: Path, name: str, text: str) -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-there\n"
    kind = "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"{name}.py": text, f"{name}-1.0.dist-info/METADATA": about,
             f"{name}-1.0.dist-info/WHEEL": kind}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in files.items():
            archive.writestr(inner, content)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "".join(f"{inner},,\n" for inner in files))
    return path


@pytest.mark.slow
def test_wheels_are_unpacked_without_a_network(tmp_path: Path) -> None:
    made_wheel(tmp_path, "carried_here", "WHERE = 'there'")
    wheels.install(tmp_path, tmp_path / "packages")
    assert (tmp_path / "packages/carried_here.py").read_text() == "WHERE = 'there'"


def test_more_than_fits_is_refused(tmp_path: Path, monkeypatch) -> None:
    def download(command: list[str], **_: object) -> None:
        assert command[-2:] == ["a==1.0", "b==1.0"]
        made_wheel(tmp_path, "a", "x" * 1000)
        made_wheel(tmp_path, "b", "x")

    monkeypatch.setattr(wheels.subprocess, "run", download)
    carried = {"a": "1.0", "b": "1.0"}
    sizes = wheels.pack(tmp_path, carried)
    assert [name for name, _ in sizes] == ["a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"]
    with pytest.raises(wheels.TooMuch, match="say with --have"):
        wheels.pack(tmp_path, carried, largest=1500)


def test_what_is_not_here_cannot_be_carried() -> None:
    with pytest.raises(wheels.NotHere, match=r"nothing-like-it .*requirements-dev\.txt"):
        wheels.needs(["Nothing_like.it"])
