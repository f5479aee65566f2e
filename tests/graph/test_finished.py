"""Bakes of other configs, datasets and days on one page: found by their manifests, keyed by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_bakes import made_bake
from made_checkpoints import world

from bakery.graph import build, finished, nodes
from bakery.graph import summary as graph_summary
from bakery.io import manifest, seals
from bakery.io.errors import BakeryError
from bakery.report import results
from bakery.settings import config as cfg
from bakery.settings.compare import Compare
from bakery.stages import compare

SCORES = [(0.2, 0.8), (0.5, 0.7)]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A folder with the models that the default config names, and one finished bake."""
    world(tmp_path)
    made_bake(tmp_path, "other", SCORES, settings={"train.network_dim": 4})
    return tmp_path


def names(workdir: Path) -> dict[str, str]:
    """Stage -> folder of the finished bake, as a user writes it."""
    found = (path.parent for path in sorted((workdir / "results").glob("*/*/manifest.json")))
    return {path.parent.name: path.relative_to(workdir).as_posix() for path in found}


def page_of(workdir: Path, *with_: str, **raw: Any) -> nodes.Node:
    (page,) = build.build(cfg.load({"compare": {"with": list(with_)}, **raw}), [workdir]).of(
        "compare"
    )
    return page


@pytest.mark.parametrize("stage", ["train", "sample", "score"])
def test_a_bake_is_found_from_any_of_its_folders(workdir: Path, stage: str) -> None:
    page = page_of(workdir, names(workdir)[stage])
    own, other = graph_summary.bakes_of(page)
    assert (own["own"], other["own"]) == (True, False)
    assert other["folders"] == names(workdir)
    assert other["label"] == "mirael"
    assert other["settings"]["train.network_dim"] == 4
    assert set(other["settings"]) == set(own["settings"]), "what is not on record is the default"


def test_a_bake_named_twice_is_there_once(workdir: Path) -> None:
    page = page_of(workdir, names(workdir)["train"], names(workdir)["score"])
    assert len(graph_summary.bakes_of(page)) == 2


def test_a_page_stands_for_all_its_bakes(workdir: Path) -> None:
    first = Path(names(workdir)["score"]).name
    scores = [first, made_bake(workdir, "more", SCORES).folders["score"].name]
    folder = workdir / "results/compare/rates-1"
    folder.mkdir(parents=True)
    about = {"stage": "compare", "settings": {}, "above": dict.fromkeys(scores, "score")}
    manifest.write(folder, about, {})
    page = page_of(workdir, "results/compare/rates-1")
    assert len(graph_summary.bakes_of(page)) == 3


def test_the_manifests_are_part_of_the_page_s_key(workdir: Path) -> None:
    name = names(workdir)["score"]
    before = page_of(workdir, name)
    assert before.key == page_of(workdir, name).key
    assert before.key != page_of(workdir).key
    path = workdir / names(workdir)["train"] / "manifest.json"
    about = json.loads(path.read_text())
    seals.write(path, json.dumps(about | {"summary": {"rebaked": True}}))
    assert before.key != page_of(workdir, name).key
    assert {s: n.key for s, n in chain(before).items()} == {
        s: n.key for s, n in chain(page_of(workdir, name)).items()
    }, "only the page is remade"


def chain(page: nodes.Node) -> dict[str, nodes.Node]:
    (leaf,) = page.parents
    return {stage: leaf.above(stage) for stage in build.CHAIN}


def test_the_own_bake_among_the_named_is_no_other(workdir: Path) -> None:
    page = page_of(workdir)
    (leaf,) = page.parents
    for stage, node in chain(page).items():
        folder = workdir / node.folder
        folder.mkdir(parents=True, exist_ok=True)
        manifest.write(folder, node.about(), {})
        assert stage == node.stage
    assert len(graph_summary.bakes_of(page_of(workdir, leaf.folder))) == 1


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (None, "results/score/gone", ["results/score/gone", "does not exist"]),
        ("score", "results/score/{score}", ["manifest.json", "not finished"]),
        ("train", "results/score/{score}", ["train folder", "unfinished"]),
        ("score", "results/train/{train}", ["which has not been scored"]),
        (None, "results/prune/{prune}", ["stage prune", "results/train"]),
        ("twice", "results/train/{train}", ["scored 2 times", "results/score/again"]),
    ],
)
def test_what_cannot_stand_on_the_page_is_one_sentence(
    workdir: Path, spoil: str | None, name: str, words: list[str]
) -> None:
    folders = {stage: Path(path).name for stage, path in names(workdir).items()}
    if spoil == "twice":
        again = workdir / "results/score/again"
        again.mkdir()
        about = manifest.read(workdir / names(workdir)["score"])
        manifest.write(again, about, {})
    elif spoil:
        (workdir / names(workdir)[spoil] / "manifest.json").unlink()
    with pytest.raises(BakeryError) as caught:
        page_of(workdir, name.format(**folders))
    assert all(word in str(caught.value) for word in ("compare.with", *words)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_results_of_another_folder_keep_their_place(
    workdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bake = made_bake(tmp_path_factory.mktemp("elsewhere"), "far", SCORES)
    other = page_of(workdir, str(bake.folders["score"])).others[0]
    assert other.folders["train"] == bake.folders["train"]
    assert not other.is_local
    (inside,) = finished.named([names(workdir)["score"]], workdir)
    assert inside.is_local


def test_what_was_cleared_away_above_is_left_out(workdir: Path) -> None:
    for stage in ("scrape", "filter"):
        (workdir / names(workdir)[stage] / "manifest.json").unlink()
    other = graph_summary.bakes_of(page_of(workdir, names(workdir)["score"]))[1]
    assert "filter" not in other["folders"]
    assert "layout" in other["folders"]


def test_bakes_of_two_days_stand_on_one_page(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workdir)
    made_bake(Path(), "today", [(0.2, 0.8), (0.9, 0.9)], dataset="e")
    found = sorted(Path("results/score").iterdir())
    page = page_of(workdir, *map(str, found))
    planned = [results.Bake.of(bake) for bake in graph_summary.bakes_of(page)[1:]]
    out = Path("results/compare/days")
    summary = compare.run(Compare(), bakes=planned, out=out, sweep="days")
    html = (out / "index.html").read_text("utf-8")
    assert summary["bakes"] == 2
    best = next(b for b in planned if b.folders["layout"].name == "mirael-e")
    assert summary["best_train"] == best.folders["train"].name
    assert "trained on different pictures" in html
    assert "mirael, network_dim 4" in html
    assert str(workdir) not in html
