"""Facts about a graph for the page and the dry bake, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakery.graph import build, halving, nodes
from bakery.settings import config as cfg


def bakes_of(page: nodes.Node) -> list[dict[str, Any]]:
    """Label, name, settings and folders of each bake on `page`: its own ones, then the others.

    A folder is named by its stage. The others' labels are the readable part of their folders.
    """
    bakes = []
    names = iter(page.names)
    for leaf, label in zip(page.parents, page.labels, strict=True):
        nodes = {stage: leaf.above(stage) for stage in build.CHAIN}
        settings = {
            f"{stage}.{name}": value
            for stage, node in nodes.items()
            for name, value in node.settings.model_dump(mode="json").items()
        }
        folders = {stage: node.folder for stage, node in nodes.items()}
        bakes.append({"label": label, "name": next(names), "settings": settings,
                      "folders": folders, "own": True})  # fmt: skip
    defaults = {  # an older manifest lacks newer settings
        f"{stage}.{name}": value
        for stage in build.CHAIN
        for name, value in cfg.Config.model_fields[stage].default.model_dump(mode="json").items()
    }
    for other in page.others:
        folders = {stage: str(folder) for stage, folder in other.folders.items()}
        bakes.append({"label": other.readable, "name": next(names), "folders": folders,
                      "settings": defaults | other.settings, "own": False})  # fmt: skip
    return bakes


def planned_bakes(made: nodes.Graph, roots: Sequence[Path]) -> list[dict[str, Any]]:
    """Every bake of every page, for the dry bake: its words, settings, folders, models and rungs."""
    return [
        {
            "page": page.readable,
            "label": label,
            "settings": {
                stage: leaf.above(stage).settings.model_dump(mode="json") for stage in build.CHAIN
            },
            "folders": {stage: leaf.above(stage).folder for stage in build.CHAIN},
            "base": build.file_of(leaf, "train.base", roots),
            "tagger": build.file_of(leaf, "tag.model", roots),
            "rungs": halving.rungs_of(leaf),
        }
        for page in made.of("compare")
        for leaf, label in zip(page.parents, page.labels, strict=True)
    ]
