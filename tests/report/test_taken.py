"""What the bakes of a page took, beside what plan expected."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bakery.interop.sidecar import TOGETHER
from bakery.jobs import job_times
from bakery.jobs.job_times import Attempt
from bakery.report import expected, taken
from bakery.report.expected import Expected

PAGE = Path("results/compare/unet_lr-ccc")
GIB = 2**30


def node(root: Path, stage: str, name: str, above: dict[str, str], *attempts: Attempt) -> Path:
    """A finished folder, and what its job noted."""
    folder = root / "results" / stage / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"above": above}))
    log = root / "logs" / stage / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(one)) + "\n" for one in attempts]
    if lines:
        job_times.beside(log).write_text("".join(lines))
    return folder


def trained(
    root: Path, name: str, *attempts: Attempt, steps: int = 100, speed: float = 2.0, of: str = "2"
) -> Path:
    folder = node(root, "train", name, {"data-a": "layout"}, *attempts)
    line = {"steps": steps, "steps_per_second": speed, "memory_gib": 0.5}
    (folder / "progress.jsonl").write_text(json.dumps(line) + "\n")
    save_file({"a": np.zeros(250, np.float32)}, folder / "x.safetensors", metadata={TOGETHER: of})
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two bakes on a page: a layout, then both trained at the same time, one of them in two goes."""
    node(tmp_path, "layout", "data-a", {}, Attempt(0, 4, 10))
    trained(tmp_path, "x-1", Attempt(10, 30, 100, done=False), Attempt(50, 70, GIB))
    trained(tmp_path, "y-2", Attempt(11, 61, 100, 3 * GIB))
    above = {"x-1": "train", "y-2": "train"}
    node(tmp_path, "compare", PAGE.name, above, Attempt(100, 101, 5))
    return tmp_path


def plan(root: Path, **changes: object) -> None:
    """Plan expected this of both bakes, before they were made."""
    usual = {"label": "x", "steps": 100, "seconds": 50.0, "memory": 0.5 * GIB, "loras": 1100.0,
             "together": "2"}  # fmt: skip
    place = root / "results/plan"
    place.mkdir()
    bakes = {f"results/train/{name}": usual | changes for name in ("x-1", "y-2")}
    (place / expected.NAME).write_text(json.dumps(bakes))


def test_what_ran_at_once_counts_once_and_the_most_memory_is_told(root: Path) -> None:
    found = taken.of(root, PAGE)
    assert found is not None
    assert (found.seconds, found.memory, found.unknown) == (4 + 60 + 1, 3 * GIB, 0)
    stages = {one.stage: one for one in found.stages}
    assert list(stages) == ["layout", "train", "compare"]
    assert (stages["train"].jobs, stages["train"].seconds) == (2, 60)
    size = sum(file.stat().st_size for file in (root / "results").rglob("*") if file.is_file())
    assert found.disk == size
    assert found.compared == found.reasons == []
    assert found.line().startswith("took 1:05, 3.0 GiB of memory, ")


def test_results_without_records_are_told_as_such(root: Path) -> None:
    job_times.beside(root / "logs/layout/data-a.log").unlink()
    found = taken.of(root, PAGE)
    assert found is not None
    assert found.line().startswith("took at least 1:01 (1 job left no record)")
    for file in (root / "logs").rglob("*.jsonl"):
        file.unlink()
    assert taken.of(root, PAGE) is None


def test_nothing_is_told_of_a_page_that_is_not_finished(root: Path) -> None:
    (root / PAGE / "manifest.json").unlink()
    assert taken.keep(root, PAGE) is None
    assert not (root / taken.FOLDER).exists()


def test_a_plan_that_was_right_is_a_few_words(root: Path) -> None:
    plan(root)
    found = taken.of(root, PAGE)
    assert found is not None
    assert found.line().endswith("; training 50 s a bake (plan: 50 s)")
    assert found.reasons == []
    assert "memory 0.5 GiB (plan: 0.5 GiB), LoRAs 1.1 kB (plan: 1.1 kB)" in found.beside_plan()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"steps": 30, "seconds": 15.0},
         "plan expected 15 s of training for a bake, it was 50 s: it counted 30 steps, and 100 were "
         "trained"),
        ({"together": "1", "seconds": 20.0},
         "plan expected 20 s of training for a bake, it was 50 s: the earlier bakes were trained in "
         "groups of 1, these in groups of 2"),
        ({"seconds": 200.0},
         "plan expected 3 min of training for a bake, it was 50 s: as many steps, but each was "
         "faster; why is not on record"),
        ({"loras": 9e3}, "plan expected 9.0 kB of LoRAs for a bake, it was 1.1 kB; why is not on "
         "record"),
    ],
)  # fmt: skip
def test_a_plan_that_was_wrong_by_more_than_two_is_told_with_the_reason(
    root: Path, changes: dict[str, object], why: str
) -> None:
    plan(root, **changes)
    found = taken.of(root, PAGE)
    assert found is not None
    assert list(found.reasons) == [why]


def test_it_is_kept_as_sentences_and_as_a_picture(root: Path) -> None:
    plan(root, seconds=200.0, label="<script>")
    taken.keep(root, PAGE)
    said = json.loads((root / taken.FOLDER / f"{PAGE.name}.json").read_text())["said"]
    assert said[0].startswith("Took 1:05, ")
    assert len(said) == 2
    drawn = ET.parse(root / taken.FOLDER / f"{PAGE.name}.svg").getroot()
    texts = ["".join(one.itertext()) for one in drawn if one.tag.endswith("text")]
    assert texts[:4] == ["", "time", "memory", "disk"]
    assert {"train", "1:00", "3.0 GiB", "all", "1:05"} <= {*texts}
    assert any("plan expected 3 min of training" in text for text in texts)


def test_what_was_expected_is_kept_when_the_bake_is_done(tmp_path: Path) -> None:
    bake = str(tmp_path / "train/a")
    before = Expected("a", 10, 5.0, None, None, "1")
    expected.write(tmp_path, {bake: before})
    Path(bake).mkdir(parents=True)
    Path(bake, "manifest.json").write_text("{}")
    now = Expected("a", 10, 0.0, None, None, "1")
    expected.write(tmp_path, {bake: now, "never/seen": now})
    assert expected.read(tmp_path) == {bake: before, "never/seen": now}
    (tmp_path / expected.NAME).write_text('{"x": {"label": "of another version"}}')
    assert expected.read(tmp_path) == {}
