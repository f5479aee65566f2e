"""Facts about a graph for the page and the dry bake, as plain values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakery.graph import build, halving, nodes
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.gather import Gather


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


def gathered_pages(made: nodes.Graph, wanted: Gather) -> list[dict[str, Any]]:
    """The pages whose bakes are to be gathered: sweep, dataset, folder, manifest and bakes.

    Raises `BakeryError` for a sweep or a bake that there is not.
    """
    pages = made.of("compare")
    _check("gather.sweeps", wanted.sweeps, [page.readable for page in pages])
    pages = [page for page in pages if not wanted.sweeps or page.readable in wanted.sweeps]
    _check("gather.bakes", wanted.bakes, [name for page in pages for name in page.names])
    return [
        {
            "sweep": page.readable,
            "dataset": page.dataset,
            "folder": page.folder,
            "manifest": page.manifest,
            "bakes": bakes_of(page),
        }
        for page in pages
        if not wanted.bakes or set(wanted.bakes) & set(page.names)
    ]


def drawn_meanwhile(made: nodes.Graph, bake: nodes.Node) -> dict[str, dict[str, Any]]:
    """What may be drawn of `bake`, and of those trained along with it, as their epochs are saved.

    Folder of a bake -> folder of each of its samples -> settings of the sample section.
    """
    found: dict[str, dict[str, Any]] = {}
    for trained in made.group(bake):
        for node in made.samples_of(trained):
            settings = node.baked.settings.model_dump(mode="json")
            if settings["while_training"] is not False:
                found.setdefault(trained.baked.folder, {})[node.baked.folder] = settings
    return found


def _check(where: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise BakeryError(f"config: {where} names {name}, which is not there; {hint}")


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
            "group": [node.folder for node in made.group(leaf.above("train"))],
        }
        for page in made.of("compare")
        for leaf, label in zip(page.parents, page.labels, strict=True)
    ]
