"""The house: one name a stage everywhere, thin doors, wings on floors, imports one way."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from pathlib import Path

import house
import pytest
import yaml
from code_versions import LIBRARY, imported, modules
from house import WINGS, floor, wing

from bakery.settings.config import STAGES as SECTIONS

ROOT = Path(__file__).parents[1]
STAGES = (*SECTIONS, "halve", "best", "plan", "gather", "clean", "verify")
"""Every rule that makes something: the sections of a config, and what works on their results."""
WITHOUT_SETTINGS = ("best", "plan", "clean", "verify")
FILES = modules()
MODULES = sorted(FILES)
LONGEST_FILE, LONGEST_FUNCTION, FULLEST_FOLDER = 400, 60, 20
MOST_PARAMETERS = 6
MORE_PARAMETERS = {
    "lora.network.__init__": "numbers of one network, as kohya's scripts name them",
    "pages.prune_page.draw": "all that the page shows, each used once",
    "sampling.pipeline.load": "how a base is loaded, and the settings it draws with",
    "stages.layout.run": "the inputs of its rule, each used once",
    "stages.prune.run": "the inputs of its rule, each used once",
    "stages.score.run": "the inputs of its rule, each used once",
    "stages.tag.run": "the inputs of its rule, each used once",
    "training.metadata.describe": "all that a file's metadata tell of",
    "training.schedules.learning_rate": "a formula of numbers",
}
"""Functions that need no object although they take more, and why."""


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@functools.cache
def needed(module: str) -> set[str]:
    return imported(tree(module), FILES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    for place in (
        f"workflow/rules/{stage}.smk",
        f"scripts/{stage}.py",
        f"scripts/bakery/stages/{stage}.py",
        f"envs/{stage}.yaml",
        f"tests/stages/test_{stage}.py",
    ):
        assert (ROOT / place).exists(), place
    settings = ROOT / f"scripts/bakery/settings/{stage}.py"
    assert settings.exists() != (stage in WITHOUT_SETTINGS)


def test_there_are_no_rules_and_no_stages_besides() -> None:
    rules = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} - {
        "config",
        "run",
        "common",
    }
    assert rules == set(STAGES)
    assert {module for module in MODULES if wing(module) == "stages"} == {
        f"stages.{stage}" for stage in STAGES
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_rule_file_holds_its_own_rule(stage: str) -> None:
    text = (ROOT / f"workflow/rules/{stage}.smk").read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("rule ")] == [f"rule {stage}:"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_door_leads_to_its_own_stage(stage: str) -> None:
    door = ast.parse((ROOT / f"scripts/{stage}.py").read_text(encoding="utf-8"))
    stages = {name for name in imported(door, FILES) if wing(name) == "stages"}
    late = {
        node.value
        for node in ast.walk(door)
        if isinstance(node, ast.Constant) and str(node.value).startswith("bakery.stages.")
    }
    assert stages | {name.removeprefix("bakery.") for name in late} == {f"stages.{stage}"}


def test_every_module_is_in_a_wing_and_every_wing_on_a_floor() -> None:
    assert {wing(module) for module in MODULES} == set(WINGS)
    assert all(module.count(".") <= 2 for module in MODULES), "a part of a wing has no parts"
    for package in LIBRARY.rglob("__init__.py"):  # light stages must not import torch
        assert not ast.parse(package.read_text("utf-8")).body[1:], package


@pytest.mark.parametrize("module", MODULES)
def test_imports_lead_down(module: str) -> None:
    for other in needed(module):
        assert wing(other) == wing(module) or floor(wing(other)) > floor(wing(module)), other
    if wing(module) == "stages":
        assert not any(wing(other) == "stages" for other in needed(module))


def test_no_circle_inside_a_wing() -> None:
    waiting = {module: needed(module) for module in MODULES}
    while free := {module for module, others in waiting.items() if not others & set(waiting)}:
        waiting = {module: others for module, others in waiting.items() if module not in free}
    assert not waiting


@pytest.mark.parametrize("module", [m for m in MODULES if m != "jobs.job"])
def test_nothing_below_a_door_reads_its_surroundings(module: str) -> None:
    nodes = list(ast.walk(tree(module)))
    attributes = {ast.unparse(n) for n in nodes if isinstance(n, ast.Attribute)}
    assert "snakemake" not in {n.id for n in nodes if isinstance(n, ast.Name)}
    assert not attributes & {"os.environ", "os.getcwd", "Path.cwd", "os.getenv", "sys.argv"}


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module: str) -> None:
    assert len(FILES[module].read_text("utf-8").splitlines()) <= LONGEST_FILE
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_where_many_parameters_come_together_there_is_an_object() -> None:
    """`self` is not counted, keyword-only ones are. A dataclass's fields are no parameters."""
    more = {}
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(one.arg not in ("self", "cls") for one in given)
                if count > MOST_PARAMETERS:
                    more[f"{module}.{node.name}"] = count
    assert not more.keys() - MORE_PARAMETERS.keys(), more


def test_no_wing_is_crowded_and_no_part_of_one() -> None:
    counts = Counter(module.rpartition(".")[0] for module in MODULES)
    assert max(counts.values()) <= FULLEST_FOLDER, counts.most_common(3)


@pytest.mark.parametrize("stage", STAGES)
def test_doors_are_thin(stage: str) -> None:
    door = ast.parse((ROOT / f"scripts/{stage}.py").read_text(encoding="utf-8"))
    defined = [n for n in ast.walk(door) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not defined
    assert door.body[-1].end_lineno <= 40


def test_the_root_snakefile_is_a_page_of_contents() -> None:
    assert len((ROOT / "Snakefile").read_text("utf-8").splitlines()) < 65


@pytest.mark.parametrize("stage", STAGES)
def test_environments_pin_what_the_requirements_pin(stage: str) -> None:
    pinned = set((ROOT / "requirements.txt").read_text("utf-8").split()) | {"torch==2.13.0"}
    environment = yaml.safe_load((ROOT / f"envs/{stage}.yaml").read_text("utf-8"))
    (packages,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert set(packages) <= pinned


def test_tests_lie_as_the_library_does() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders >= set(WINGS)
    assert folders <= {*WINGS, "benchmarks", "faults", "fuzz", "workflow", "world"}


@pytest.mark.parametrize(
    "folder", ["scripts", "scripts/*", "benchmarks", "world", "tests", "tests/*"]
)
def test_no_other_folder_is_crowded(folder: str) -> None:
    for place in ROOT.glob(folder):
        assert len([*place.glob("*.py")]) <= FULLEST_FOLDER, place


def test_the_picture_shows_the_house_as_it_is() -> None:
    assert house.PICTURE.read_text(encoding="utf-8") == house.draw(), "make docs"
    assert "docs/house.svg" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_design_names_every_wing() -> None:
    design = (ROOT / "docs/design.md").read_text("utf-8")
    assert not [name for name in WINGS if f"`{name}`" not in design]
