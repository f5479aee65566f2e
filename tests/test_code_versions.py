"""A change of a stage's code asks for a decision: other results, or the same?"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import code_versions
import pytest

from bakery.families import registry
from bakery.settings.config import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_changed_code_has_a_raised_version_or_a_voucher(stage: str) -> None:
    vouched = json.loads(code_versions.RECORD.read_text(encoding="utf-8"))[stage]
    now = code_versions.current(stage)
    assert now == vouched, (
        f"the code of {stage} changed: raise CODE_VERSIONS[{stage!r}] in graph/nodes.py if its results "
        "differ; then, or if they do not, run `make same-results`"
    )


def test_the_hash_sees_code_and_not_comments(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "stages").mkdir()
    module = tmp_path / "stages" / "filter.py"
    module.write_text('"""Doc."""\nX = 1  # a comment\n')
    before = code_versions.code_hash("filter")
    module.write_text('"""Other doc."""\n\n\nX = 1\n')
    assert code_versions.code_hash("filter") == before
    module.write_text("X = 2\n")
    assert code_versions.code_hash("filter") != before


@pytest.mark.parametrize("stage", STAGES)
def test_the_record_names_the_modules_that_a_stage_stands_on(stage: str) -> None:
    vouched = json.loads(code_versions.RECORD.read_text(encoding="utf-8"))[stage]
    assert sorted(code_versions.closure(stage)) == vouched["modules"]
    assert len(vouched["modules"]) > 5, "a stage stands on more than this: what is not followed?"


@pytest.mark.parametrize(
    "line",
    [
        "from bakery import images",
        "from bakery import images as pictures",
        "from bakery.images import open_rgb, size_of",
        "import bakery.images",
        "def late():\n    from bakery.images import open_rgb",
    ],
)
def test_the_guard_follows_every_spelling_of_an_import(line, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "images.py").write_text("")
    assert code_versions.imported(ast.parse(line)) == {"images"}


@pytest.mark.parametrize(
    "line",
    [
        "from bakery.io import images",
        "from bakery.io import images as pictures, tables as t",
        "from bakery.io.images import open_rgb",
        "import bakery.io.images",
    ],
)
def test_the_guard_follows_imports_into_folders(line, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "io").mkdir()
    for name in ("images", "tables"):
        (tmp_path / "io" / f"{name}.py").write_text("")
    assert code_versions.imported(ast.parse(line)) >= {"io.images"}


@pytest.mark.parametrize(
    "line",
    ["from bakery import pictures", "from bakery.io.images import open_rgb", "from . import a"],
)
def test_an_import_that_leads_nowhere_is_an_error(line, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "images.py").write_text("")
    with pytest.raises(LookupError, match="line 1"):
        code_versions.imported(ast.parse(line))


def test_the_hash_sees_through_imports(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "filter.py").write_text("from bakery import images\n")
    (tmp_path / "images.py").write_text("X = 1\n")
    before = code_versions.code_hash("filter")
    (tmp_path / "images.py").write_text("X = 2\n")
    assert code_versions.code_hash("filter") != before


def test_the_hash_sees_the_tables_that_a_module_reads(tmp_path, monkeypatch) -> None:
    library = tmp_path / "scripts" / "bakery"
    monkeypatch.setattr(code_versions, "LIBRARY", library)
    (library / "stages").mkdir(parents=True)
    (library / "tags").mkdir()
    (library / "stages" / "filter.py").write_text("from bakery.tags import words\n")
    (library / "tags" / "words.py").write_text('PATH = HOME / "resources/words.csv"\n')
    table = tmp_path / "resources" / "words.csv"
    table.parent.mkdir()
    table.write_text("tag\nhalo\n")
    before = code_versions.code_hash("filter")
    assert code_versions.current("filter")["data"] == ["resources/words.csv"]
    table.write_text("tag\nhalo\nhorns\n")
    assert code_versions.code_hash("filter") != before


def test_the_hash_sees_the_program_that_a_module_starts(tmp_path, monkeypatch) -> None:
    library = tmp_path / "scripts" / "bakery"
    monkeypatch.setattr(code_versions, "LIBRARY", library)
    (library / "stages").mkdir(parents=True)
    (library / "stages" / "filter.py").write_text('PARTS = ("scripts/driver/main.py",)\n')
    program = tmp_path / "scripts" / "driver" / "main.py"
    program.parent.mkdir()
    program.write_text("X = 1\n")
    before = code_versions.code_hash("filter")
    assert code_versions.current("filter")["programs"] == ["scripts/driver/main.py"]
    program.write_text("X = 1  # as before\n")
    assert code_versions.code_hash("filter") == before
    program.write_text("X = 2\n")
    assert code_versions.code_hash("filter") != before


def test_the_program_that_runs_gallery_dl_counts_whole() -> None:
    found = {path.name for path in code_versions.programs(code_versions.closure("scrape"))}
    programs = Path(code_versions.__file__).parents[1] / "gallery_driver"
    assert found == {path.name for path in programs.glob("*.py")}


def test_a_corrected_word_asks_for_a_decision_about_the_stages_that_read_it() -> None:
    record = code_versions.record()
    reading = {
        stage for stage in STAGES if "resources/vocabulary.csv" in record[stage].get("data", ())
    }
    assert reading >= {"filter", "prune", "sample", "score"}
    assert not reading & {"scrape", "tag", "train"}


def test_the_look_of_a_page_is_a_matter_of_the_stage_whose_result_it_is(monkeypatch) -> None:
    """And of no other: what a contact sheet looks like must cause no training."""
    own = code_versions._text

    def changed(name: str) -> str:
        return own(name) + ("\nX = 1\n" if name.startswith("pages.") else "")

    before = {stage: code_versions.code_hash(stage) for stage in STAGES}
    monkeypatch.setattr(code_versions, "_text", changed)
    after = {stage: code_versions.code_hash(stage) for stage in STAGES}
    assert {stage for stage in STAGES if after[stage] != before[stage]} == {"compare"}
    shown = {path.name for path in code_versions.templates(code_versions.closure("compare"))}
    assert {"house.css", "compare.html.j2", "compare.css", "compare.js"} <= shown
    assert not any(code_versions.templates(code_versions.closure(s)) for s in STAGES[:-1])


FAMILIES = [family.name for family in registry.FAMILIES]


@pytest.mark.parametrize("name", FAMILIES)
def test_changed_code_of_a_family_has_a_raised_version_or_a_voucher(name: str) -> None:
    vouched = json.loads(code_versions.RECORD.read_text(encoding="utf-8"))["families"][name]
    assert code_versions.current_family(name) == vouched, (
        f"the code of {name} changed: raise its code_version in families/ if its results differ; "
        "then, or if they do not, run `make same-results`"
    )


def test_code_of_families_is_no_matter_of_stages() -> None:
    record = code_versions.record()
    of_families = {module for one in record["families"].values() for module in one["modules"]}
    assert {"families.sd", "families.sd_model", "families.sdxl", "families.clip"} <= of_families
    for stage in STAGES:
        assert not of_families & set(record[stage]["modules"]), stage


@pytest.mark.slow
def test_mending_one_family_asks_nothing_of_the_others(monkeypatch) -> None:
    names = {"sd1": "families.sd_model", "sdxl": "families.sdxl_model"}
    before = code_versions.record()
    own = code_versions._text
    for family, module in names.items():
        with monkeypatch.context() as patched:
            patched.setattr(
                code_versions,
                "_text",
                lambda name, changed=module: own(name) + ("\nX = 1\n" if name == changed else ""),
            )
            after = code_versions.record()
        assert {stage: after[stage] for stage in STAGES} == {s: before[s] for s in STAGES}
        differ = {n for n in FAMILIES if after["families"][n] != before["families"][n]}
        assert differ == {family}
