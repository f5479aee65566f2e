"""What greets a visitor is true: links lead somewhere, the citation agrees, CI runs what people run."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from documents import DOCUMENTS, ROOT, anchors, links, rows, section, targets

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OWN_LICENCE = PROJECT["license"].partition(" AND ")[0]
"""That of the library; the program that runs gallery-dl is under another."""
GITHUB = ROOT / ".github"
GLOSSARY = ROOT / "docs/glossary.md"


# --- licence and citation -------------------------------------------------------------------


def test_the_citation_has_what_its_format_requires_and_agrees_with_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert all(author.get("name") for author in citation["authors"])
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == OWN_LICENCE


def test_the_licence_is_the_one_that_is_named() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.startswith(f"{OWN_LICENCE} License\n")
    assert "The LoRA Bakery developers" in text
    assert "CC BY 4.0" in (ROOT / "README.md").read_text("utf-8"), "the pictures have their own"


# --- links ----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    text = document.read_text("utf-8")
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    named = re.findall(
        r"`((?:tests|docs|scripts|workflow|world|benchmarks|envs)/[\w./]+\.\w+)`", text
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_broken_link_is_seen() -> None:
    text = "[a](none.md) `[b](code.md)` ![c](d.png#e)\n\n    [f](block.md)\n"
    assert links(text) == ["none.md", "d.png#e"]
    assert anchors("## Where *things* are: `here`\n") == {"where-things-are-here"}


# --- glossary -------------------------------------------------------------------------------


@functools.cache
def spoken() -> str:
    """All that code and documents say, the glossary left out."""
    files = [*(p for p in DOCUMENTS if p != GLOSSARY), *(ROOT / "scripts").rglob("*.py")]
    return "\n".join(path.read_text("utf-8") for path in files).lower()


TERMS = {row[0]: row for row in rows(GLOSSARY.read_text("utf-8"))}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_met_where_the_glossary_says(term: str) -> None:
    _, meaning, where = TERMS[term]
    word = re.sub(r" \(.*\)", "", term).lower()
    place = links(where)
    text = spoken()
    if place:
        path, _, anchor = place[0].partition("#")
        text = section((GLOSSARY.parent / path).resolve().read_text("utf-8"), anchor).lower()
    said = re.sub(r"\s+", " ", re.sub(r"[`*]", "", text))
    assert re.search(rf"\b{re.escape(word)}", said), where
    assert len(re.findall(r"[.!?](?: |$)", meaning)) <= 2, "one or two sentences"


def test_what_the_glossary_refers_to_has_an_entry() -> None:
    entries = {re.sub(r" \(.*\)", "", term) for term in TERMS}
    referred = {
        word.lower()
        for _, meaning, _ in TERMS.values()
        for word in re.findall(r"\*(.+?)\*", meaning)
    }
    assert {word for word in referred if not entries & {word, word.removesuffix("s")}} == set()
    assert list(TERMS) == list(dict.fromkeys(TERMS))


# --- continuous integration and templates ---------------------------------------------------


WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_run_what_people_run_with_pinned_actions(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", s["uses"]) for s in steps if "uses" in s)
    commands = [line for s in steps if "run" in s for line in s["run"].splitlines()]
    for command in commands:
        make, target, *variables = command.split()
        assert make == "make", command
        assert target in targets(), command
        assert all("=" in variable for variable in variables), command
    assert commands


def test_every_push_is_linted_and_tested_with_each_python() -> None:
    jobs = yaml.safe_load((GITHUB / "workflows/tests.yml").read_text("utf-8"))["jobs"]
    pythons = jobs["quick"]["strategy"]["matrix"]["python-version"]
    assert pythons[0] == PROJECT["requires-python"].removeprefix(">=")
    run = {
        step["run"].split()[1] for job in jobs.values() for step in job["steps"] if "run" in step
    }
    assert run == {"lint", "quick", "test", "smoke"}


FORMS = sorted(p for p in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")


@pytest.mark.parametrize("form", FORMS, ids=lambda p: p.name)
def test_issue_forms_have_what_github_requires(form: Path) -> None:
    raw = yaml.safe_load(form.read_text("utf-8"))
    assert raw["name"]
    assert raw["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {part["type"] for part in raw["body"]} <= kinds
    asked = [part for part in raw["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in asked)
    assert len({part["id"] for part in asked}) == len(asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


# --- the workflow catalog -------------------------------------------------------------------


def test_the_catalog_finds_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    assert usage["report"] is True
    assert usage["software-stack-deployment"]["conda"] is True
    assert (ROOT / "workflow/Snakefile").exists()
    assert (ROOT / "config/README.md").exists()
    assert {"snakemake", "workflow"} <= set(
        re.findall("\\w+", (ROOT / "README.md").read_text().lower())
    )
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    assert schema["properties"]["train"]["properties"]["unet_lr"]["description"]


def dry_run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "2", *arguments],
        capture_output=True, text=True, check=False, timeout=600, cwd=cwd,
    )  # fmt: skip


@pytest.mark.slow
def test_the_test_case_can_be_planned_as_the_catalog_starts_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".test/config", tmp_path / "config")
    run = dry_run("--snakefile", ROOT / "workflow/Snakefile", "--directory", tmp_path, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    table = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE))
    stages = {"scrape", "filter", "tag", "prune", "layout", "train", "sample", "score", "compare"}
    assert stages <= set(table)
    assert table["train"] == "2"


@pytest.mark.slow
def test_rules_without_their_library_say_what_to_do(tmp_path: Path) -> None:
    for part in ("workflow", "config", "envs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    run = dry_run(cwd=tmp_path)
    assert run.returncode != 0
    assert "clone the repository" in run.stdout + run.stderr
