"""The house: one name a stage everywhere, thin doors, imports one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from code_versions import LIBRARY, imported

from bakery.config import STAGES

ROOT = Path(__file__).parents[1]
ERRANDS = ("plan",)
"""Rules that are no stages: nothing stands on what they leave, and they have no settings."""
MODULES = sorted(path.stem for path in LIBRARY.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    for place in (
        f"workflow/rules/{stage}.smk",
        f"scripts/{stage}.py",
        f"scripts/bakery/{stage}.py",
        f"envs/{stage}.yaml",
        f"tests/test_{stage}.py",
    ):
        assert (ROOT / place).exists(), place


@pytest.mark.parametrize("errand", ERRANDS)
def test_an_errand_has_one_name_in_workflow_scripts_and_environments(errand: str) -> None:
    for place in (f"workflow/rules/{errand}.smk", f"scripts/{errand}.py", f"envs/{errand}.yaml"):
        assert (ROOT / place).exists(), place
    text = (ROOT / f"workflow/rules/{errand}.smk").read_text("utf-8")
    assert "output:" not in text, "a rule that leaves what others may want is a stage"


def test_there_are_no_rules_but_stages_and_errands() -> None:
    rules = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} - {"common"}
    assert rules == {*STAGES, *ERRANDS}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    tree = ast.parse((LIBRARY / f"{module}.py").read_text(encoding="utf-8"))
    stages = imported(tree) & set(STAGES)
    assert not stages, f"{module} imports the stage {stages}: only a door may"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "doors"])
def test_nothing_below_a_door_reads_its_surroundings(module: str) -> None:
    tree = ast.parse((LIBRARY / f"{module}.py").read_text(encoding="utf-8"))
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    attributes = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert "snakemake" not in names
    assert not attributes & {"os.environ", "os.getcwd", "Path.cwd", "os.getenv", "sys.argv"}


@pytest.mark.parametrize("stage", [*STAGES, *ERRANDS])
def test_doors_are_thin(stage: str) -> None:
    tree = ast.parse((ROOT / f"scripts/{stage}.py").read_text(encoding="utf-8"))
    defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not defined
    assert tree.body[-1].end_lineno <= 40


def test_the_root_snakefile_is_a_page_of_contents() -> None:
    assert len((ROOT / "Snakefile").read_text("utf-8").splitlines()) < 60


@pytest.mark.parametrize("stage", [*STAGES, *ERRANDS])
def test_environments_pin_what_the_requirements_pin(stage: str) -> None:
    pinned = set((ROOT / "requirements.txt").read_text("utf-8").split()) | {"torch==2.13.0"}
    environment = yaml.safe_load((ROOT / f"envs/{stage}.yaml").read_text("utf-8"))
    (packages,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert set(packages) <= pinned
