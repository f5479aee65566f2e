"""What can be freed: nothing that a given config stands on, and nothing without its word."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import made_checkpoints
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakery.graph import build, halving, keeping, summary
from bakery.graph.nodes import Graph
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.report.inspection import Inspection
from bakery.settings import config as cfg
from bakery.stages import clean

EPOCHS = (1, 2, 3)
RECOMMENDED = 2
FREED = ("unneeded", "loras", "epochs", "caches")

AXES = {
    "train.network_dim": st.sampled_from([[4], [4, 8], [8, 16]]),
    "train.unet_lr": st.sampled_from([[1e-3], [1e-3, 1e-2]]),
    "prune.min_frequency": st.sampled_from([[0.5], [0.5, 0.7]]),
    "sample.steps": st.sampled_from([[5], [5, 9]]),
}


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A small config: one or two sweeps, now and then with halving, of one of two datasets."""
    sweeps = {}
    for name in draw(st.sampled_from([("x",), ("x", "y")])):
        axes = draw(st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=2, unique=True))
        grid = {axis: draw(AXES[axis]) for axis in axes}
        sweeps[name] = {"grid": grid}
        bakes = len(grid.get("train.network_dim", [1])) * len(grid.get("train.unet_lr", [1]))
        if "sample.steps" not in grid and bakes > 1 and draw(st.booleans()):
            sweeps[name]["halving"] = {"after": [1]}
    return {
        "scrape": {"name": draw(st.sampled_from(["ann", "bea"]))},
        "train": {"num_epochs": 3},
        "sweeps": sweeps,
    }


def made(root: Path, raw: dict[str, Any]) -> Graph:
    return build.build(cfg.load(raw), [root])


def finish(root: Path, graph: Graph) -> None:
    """Every folder of the graph as if its stage had run."""
    scores = {leaf.name: RECOMMENDED for page in graph.of("compare") for leaf in page.parents}
    for folder in read_by_rules(graph):
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        if place.parent.name == "train":
            rows = [{"epoch": e, "file": f"m-{e}.safetensors"} for e in EPOCHS]
            tables.write(place / "epochs.csv", rows, ("epoch", "file"))
            for row in rows:
                (place / row["file"]).write_bytes(b"x" * 100)
                (place / row["file"]).with_suffix(".json").write_text("{}")
        about = {"stage": place.parent.name, "settings": {}, "above": {}}
        manifest.write(place, about, {"own_epochs": scores})


def read_by_rules(graph: Graph) -> set[str]:
    """All folders that the rules of a graph name: as outputs, as inputs, as params."""
    folders: set[str] = set()
    for stage in graph.nodes:
        for node in graph.of(stage):
            folders |= {node.folder, node.baked.folder}
            folders |= {str(Path(manifest).parent) for manifest in halving.inputs(node)}
            folders |= {f for f in halving.facts(node).values() if isinstance(f, str)}
            folders |= {parent.folder for parent in node.parents}
    for page in graph.of("compare"):
        folders |= {f for bake in summary.bakes_of(page) for f in bake["folders"].values()}
    return folders


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        made_checkpoints.world(Path(folder))
        yield Path(folder)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(configs(), min_size=1, max_size=3), st.lists(configs(), max_size=2),
       st.sets(st.sampled_from(FREED)))  # fmt: skip
def test_nothing_that_a_given_config_stands_on_is_freed(
    world: Path, kept: list[dict], others: list[dict], words: set[str]
) -> None:
    shutil.rmtree(world / "results", ignore_errors=True)
    for raw in (*kept, *others):
        finish(world, made(world, raw))
    graphs = [made(world, raw) for raw in kept]
    live = set().union(*map(read_by_rules, graphs))
    all_there = {str(p.parent.relative_to(world)) for p in world.glob("results/*/*/manifest.json")}
    best = world / "results/best/ann/x/ann-e02.safetensors"
    best.parent.mkdir(parents=True)
    best.write_bytes(b"the best")
    loras = set(world.rglob("*.safetensors"))
    run(world, graphs, words)
    there = {str(p.parent.relative_to(world)) for p in world.glob("results/*/*/manifest.json")}
    assert live <= there, "no live folder"
    gone = {folder for folder in all_there - live
            if ("loras" if "/train/" in folder else "unneeded") in words}  # fmt: skip
    assert there == all_there - gone, "all that is unneeded, of the kinds that were named"
    for folder in there & {f for f in live if "/train/" in f}:
        files = {path.name for path in (world / folder).glob("*.safetensors")}
        assert f"m-{RECOMMENDED}.safetensors" in files
        assert len(files) == 3 or "epochs" in words
    assert best.exists()
    gone_loras = loras - set(world.rglob("*.safetensors"))
    assert not gone_loras or words & {"loras", "epochs"}, "no LoRA goes without its word"
    assert {str(path.relative_to(world)) for path in gone_loras} <= noted(world)
    assert Inspection(world / "results").run().bad == [], "and all that stays is whole"


def noted(root: Path) -> set[str]:
    """The LoRAs in freed.csv, those of whole folders among them."""
    record = root / "results/clean/freed.csv"
    rows = list(csv.DictReader(record.read_text().splitlines())) if record.exists() else []
    names = {f"{row['place']}/{name}" for row in rows for name in row["removed"].split("; ")}
    whole = {f"{row['place']}/m-{e}.safetensors" for row in rows if row["word"] == "loras"
             for e in EPOCHS}  # fmt: skip
    return names | whole


def run(root: Path, graphs: Sequence[Graph], words: Any = (), files: Sequence[Path] = ()) -> str:
    needed = keeping.Needed()
    for graph in graphs:
        needed |= keeping.needed(graph)
    given_ = clean.Given(needed, files)
    return clean.run(given_, roots=[root], out=root / "results/clean", free=sorted(words))


SWEEP = {"sweeps": {"a": {"grid": {"train.network_dim": [4, 8]}}}, "train": {"num_epochs": 3}}
OTHER = SWEEP | {"scrape": {"name": "bea"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two characters' results, and caches."""
    made_checkpoints.world(tmp_path)
    for raw in (SWEEP, OTHER):
        finish(tmp_path, made(tmp_path, raw))
    for name in ("cache", "downloads"):
        (tmp_path / "results" / name).mkdir()
        (tmp_path / "results" / name / "file").write_bytes(b"x" * 5000)
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    results = (path for path in (root / "results").rglob("*") if path.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in results if p.parent.name != "clean"}


def test_it_lists_by_size_and_removes_nothing(root: Path) -> None:
    before = files(root)
    said = run(root, [made(root, SWEEP)])
    assert files(root) == before
    lines = [line.split() for line in said.splitlines() if line.startswith(" ")]
    for word, place, why in (
        ("loras", "results/train/bea-dim4-", "no given config needs it"),
        ("unneeded", "results/scrape/bea-", "no given config needs it"),
        ("epochs", "results/train/mirael-dim8-", "all but epoch 2"),
        ("caches", "results/downloads:", "a scrape fetches it again"),
    ):
        (line,) = [
            " ".join(line) for line in lines if line[2] == word and line[3].startswith(place)
        ]
        assert why in line
    assert lines[0][3:4] != lines[-1][3:4]
    assert "5.0 kB caches results/cache:" in " ".join(said.split())
    assert "Nothing was removed" in said
    assert "--config free=" in said


def test_only_what_is_named_goes_and_all_of_it_is_noted(root: Path) -> None:
    before = files(root)
    said = run(root, [made(root, SWEEP)], ["epochs"])
    gone = set(before) - set(files(root))
    assert {Path(name).name for name in gone} == {
        "m-1.safetensors", "m-3.safetensors", "m-1.json", "m-3.json",
    }  # fmt: skip
    assert {Path(name).parent.name.rpartition("-")[0] for name in gone} == {
        "mirael-dim4", "mirael-dim8",
    }  # fmt: skip
    assert "Freed 0.4 kB (epochs)" in said
    run(root, [made(root, SWEEP)], ["loras", "caches"])
    assert not list((root / "results/train").glob("bea-*"))
    assert list((root / "results/sample").glob("bea-*")), "its samples have another word"
    with (root / "results/clean/freed.csv").open(encoding="utf-8") as file:
        noted = list(csv.DictReader(file))
    assert [line["word"] for line in noted].count("epochs") == 2
    assert [line["word"] for line in noted].count("loras") == 2
    assert sum(int(line["bytes"]) for line in noted if line["word"] == "epochs") == 2 * 204
    assert "m-1.safetensors; m-1.json; m-3.safetensors" in noted[0]["removed"]


def test_a_word_that_is_none_frees_nothing(root: Path) -> None:
    before = files(root)
    with pytest.raises(BakeryError, match=r"free names everything, .* unneeded, loras"):
        run(root, [made(root, SWEEP)], ["caches", "everything"])
    assert files(root) == before


@pytest.mark.parametrize("missing", ["compare", "sample"])
def test_epochs_stay_while_something_may_read_them(root: Path, missing: str) -> None:
    for record in (root / "results" / missing).glob("*/manifest.json"):
        record.unlink()
    assert " epochs " not in run(root, [made(root, SWEEP)]).partition("\n\n")[0]


def test_a_bake_that_another_verdict_may_continue_keeps_its_epochs(root: Path) -> None:
    halved = {**SWEEP, "sweeps": {"h": {**SWEEP["sweeps"]["a"], "halving": {"after": [1]}}}}
    finish(root, made(root, halved))
    said = run(root, [made(root, SWEEP), made(root, halved)])
    assert " epochs " not in said.partition("\n\n")[0]


def test_the_config_files_that_are_given_keep_theirs(root: Path) -> None:
    other, preset = root / "bea.yaml", root / "preset.yaml"
    other.write_text(yaml.safe_dump(OTHER))
    preset.write_text("train: {base: models/that/another/file/names}")
    needed = keeping.needed(made(root, SWEEP))
    found = clean.Given(needed, [other, preset], optional=[preset])
    said = clean.run(found, roots=[root], out=root / "out")
    assert "bea-dim4-" not in said.replace("epochs    results/train/bea-dim4", "")
    assert f"  {other}\n" in said
    assert f"{preset} is no whole config alone" in said
    with pytest.raises(BakeryError, match=r"preset\.yaml cannot be baked, so what it needs"):
        clean.run(clean.Given(needed, [preset]), roots=[root], out=root / "out")


def test_another_character_in_config_keeps_its_results_without_being_named(root: Path) -> None:
    (root / "config").mkdir()
    mine, other = root / "config/ann.yaml", root / "config/bea.yaml"
    mine.write_text(yaml.safe_dump(SWEEP))
    other.write_text(yaml.safe_dump(OTHER))
    template = root / "config/sd15.yaml"
    template.write_text("scrape: {name: mycharacter}\ntrain: {base: models/none.safetensors}\n")
    finish(root, made(root, OTHER))
    needed = keeping.needed(made(root, SWEEP))
    alone = clean.Given(needed, [])
    assert "results/sample/bea-" in clean.run(alone, roots=[root], out=root / "out")
    beside = clean.Given(needed, [], beside=[mine, other, template])
    clean.run(beside, roots=[root], out=root / "out", free=FREED)
    for folder in read_by_rules(made(root, OTHER)):
        assert (root / folder / "manifest.json").is_file(), folder
    said = clean.run(beside, roots=[root], out=root / "out")
    assert f"  {other}\n" in said
    assert "sd15.yaml" not in said
    broken = yaml.safe_dump({**OTHER, "train": {"base": "models/gone.safetensors"}})
    other.write_text(broken)
    with pytest.raises(
        BakeryError, match=r"bea\.yaml cannot be baked, so what it needs is not known"
    ):
        clean.run(beside, roots=[root], out=root / "out")
    other.write_text("scrape: [")
    with pytest.raises(
        BakeryError, match=r"bea\.yaml cannot be baked.*known: line 1 opens a bracket"
    ):
        clean.run(beside, roots=[root], out=root / "out")


def test_what_is_not_ours_is_not_offered(root: Path) -> None:
    mine = root / "results/train/my-notes"
    mine.mkdir()
    (mine / "old.safetensors").write_bytes(b"x")
    outside = root / "elsewhere"
    outside.mkdir()
    os.symlink(outside, root / "results/train/linked-0123456789ab")
    run(root, [made(root, SWEEP)], FREED)
    assert (mine / "old.safetensors").exists()
    assert outside.exists()


def test_a_file_that_has_another_name_frees_no_space(root: Path) -> None:
    (lora,) = (root / "results/train").glob("bea-dim4-*/m-2.safetensors")
    before = clean.freed_by(clean.offers(keeping.needed(made(root, SWEEP)), root))
    (root / "webui").mkdir()
    os.link(lora, root / "webui/bea.safetensors")
    after = clean.freed_by(clean.offers(keeping.needed(made(root, SWEEP)), root))
    assert before - after == 100


def test_bakes_that_stand_beside_on_a_page_stay(root: Path) -> None:
    (first, _) = sorted((root / "results/train").glob("bea-*"))
    graph = made(root, OTHER)
    for node in graph.of("score"):
        for stage in build.CHAIN:
            one = node.above(stage)
            above = {p.name: p.stage for p in one.parents}
            manifest.write(root / one.folder, {"stage": stage, "settings": {}, "above": above}, {})
    beside = SWEEP | {"compare": {"with": [f"results/train/{first.name}"]}}
    run(root, [made(root, beside)], ["unneeded", "loras"])
    for stage in build.CHAIN:
        assert list((root / "results" / stage).glob("bea*")), stage
    assert [path.name for path in (root / "results/train").glob("bea-*")] == [first.name]
