"""A job reads its part of the config, and finds there what the whole says of its bakes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from bakery.graph import build, parts
from bakery.graph.nodes import Node
from bakery.io.errors import BakeryError
from bakery.jobs import claims
from bakery.settings import config as cfg

ROOTS = [Path(__file__).parents[2]]
RATES = (1e-4, 1e-3, 1e-2)


def sweep(name: str, setting: str = "train.unet_lr", values=RATES) -> dict[str, Any]:
    posts = f"embedded://posts?tags={name}"
    grid = {"scrape.name": [name], "scrape.urls": [[posts]], "prune.trigger": [f"{name}x"]}
    return {"grid": {**grid, setting: list(values)}}


def raw() -> dict[str, Any]:
    """Three characters, one of them in two sweeps whose bakes could share a process."""
    sweeps = {"suzu": sweep("suzu"), "rin": sweep("rin"), "miku": sweep("miku"),
              "rin_seeds": sweep("rin", "train.seed", (1, 2)),
              "rated": {**sweep("yui"), "halving": {"after": [1]}}}  # fmt: skip
    train = {"num_epochs": 2, "network_dim": 4}
    return {"train": train, "sweeps": sweeps, "gather": {"sweeps": ["suzu"]}}


def whole(config: dict[str, Any]) -> build.Graph:
    return build.build(cfg.load(config), ROOTS)


def written(graph: build.Graph, config: dict[str, Any], place: Path, workers: int = 1) -> Path:
    folder = parts.folder_of(config, workers, place)
    parts.write(graph, config, workers, folder)
    return folder


def test_a_part_says_of_its_bakes_what_the_whole_says(tmp_path: Path) -> None:
    graph = whole(raw())
    folder = written(graph, raw(), tmp_path, workers=3)
    assert len([*folder.glob("[0-9]*.json")]) == 4
    build_once = functools.cache(lambda part: whole(json.loads(part)))
    for stage in ("tag", "train", "sample", "score"):
        for node in graph.of(stage):
            part = parts.read(folder, [node.name])
            assert part.workers == 3
            own = build_once(json.dumps(part.config))
            assert own.node(stage, node.name).about() == node.about()
            if stage in ("train", "sample"):
                names = [one.name for one in graph.group(node)]
                assert [one.name for one in own.group(own.node(stage, node.name))] == names


def test_what_bakes_share_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With halving each bake stands on all others of its sweep."""
    graph = whole(raw())
    looked_at: list[str] = []
    stands_on = Node.stands_on
    monkeypatch.setattr(
        Node, "stands_on", lambda node: looked_at.append(node.key) or stands_on(node)
    )
    folder = written(graph, raw(), tmp_path)
    index = json.loads((folder / parts.INDEX).read_text())
    assert sorted(looked_at) == sorted(index)
    rungs = [node for node in graph.of("train") if node.rung]
    assert {key for n in rungs for key in (n.key, n.rung.bake.key)} <= set(index)


def test_a_part_is_its_own_sweeps(tmp_path: Path) -> None:
    graph = whole(raw())
    folder = written(graph, raw(), tmp_path)
    for node in graph.of("train"):
        name = node.dataset
        sweeps = set(parts.read(folder, [node.name]).config["sweeps"])
        assert sweeps == {"rin": {"rin", "rin_seeds"}, "yui": {"rated"}}.get(name, {name})


def test_sweeps_that_a_later_one_joins_are_one_part(tmp_path: Path) -> None:
    config = raw()
    config["sweeps"]["both"] = {
        "variants": [
            {"scrape.name": name, "scrape.urls": [f"embedded://posts?tags={name}"]}
            for name in ("suzu", "miku")
        ]
    }
    graph = whole(config)
    folder = written(graph, config, tmp_path)
    (node, *_) = graph.of("train")
    assert list(parts.read(folder, [node.name]).config["sweeps"]) == ["suzu", "miku", "both"]


def test_without_sweeps_there_is_one_part(tmp_path: Path) -> None:
    graph = whole({})
    (node,) = graph.of("train")
    assert parts.read(written(graph, {}, tmp_path), [node.name]).config["sweeps"] == {}


def test_runs_of_one_config_share_a_folder_and_others_do_not(tmp_path: Path) -> None:
    places = [(raw(), 2), (raw(), 2), (raw(), 3), (raw() | {"tag": {"model": "x"}}, 2)]
    found = [parts.folder_of(config, workers, tmp_path) for config, workers in places]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_what_is_in_no_part_is_told(tmp_path: Path) -> None:
    folder = written(whole(raw()), raw(), tmp_path)
    with pytest.raises(BakeryError, match="what suzu-0123456789ab is part of"):
        parts.read(folder, ["suzu-0123456789ab"])
    with pytest.raises(BakeryError, match="Start the run again"):
        parts.read(tmp_path / "gone", ["suzu-0123456789ab"])


def test_groups_that_bake_at_the_same_time_are_in_fewer_processes_each() -> None:
    graph = whole(raw())
    assert graph.groups_at_once() == 4, "of halving the first rung, of two sweeps one group"
    group = graph.group(graph.of("train")[0])
    assert len(claims.deal(group, -(-3 // graph.groups_at_once()), 16)) == 1
