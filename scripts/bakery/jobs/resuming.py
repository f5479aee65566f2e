"""Bakes that a person stopped go on: `snakemake --cores all --config resume=mirael-lr0.002`.

A stopped bake is finished as it is, and drawn, scored and compared with the epochs that it has
(`stop_requests`). To go on, it must be unfinished again, and so must all that was made from it: their
manifests are removed, and nothing else. The next run trains on from the bake's state, draws the
pictures that are missing, and makes scores and pages again. What says that the bake is stopped is
removed last, so that after a kill in between the bake is either stopped still or going on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.jobs import claims, stop_requests

ALL = "all"
STAGES = ("train", "sample", "score", "halve", "compare")
"""Stages whose results may be made from a bake."""
MARK, BEFORE = "from-", ".before"
"""`results/best/*/*/from-<page>.json` says that a page's LoRA is in place. It is renamed, so that it is
made again and the files that it lists are removed by what replaces it."""


def resume(results: Path, bakes: Mapping[str, str], asked: Sequence[str]) -> list[str]:
    """Make the bakes that are `asked` for unfinished; returns a sentence for each.

    `bakes` are those of the config: name of the folder in `results`/train -> readable name. Each may be
    asked for by either, or all by `ALL`. Raises `BakeryError` for a name that is none of them.
    """
    chosen = _chosen(bakes, asked)
    stopped = {
        name: found
        for name in chosen
        if (found := stop_requests.recorded(results / "train" / name)) is not None
    }
    made = _made_from(results, set(stopped))
    for folder in made:
        for mark in results.glob(f"best/*/*/{MARK}{folder.name}.json"):
            mark.rename(mark.with_suffix(f"{BEFORE}.json"))
        for name in (claims.FINISHED, manifest.NAME):
            (folder / name).unlink(missing_ok=True)
    for name in stopped:  # last: see the module
        stop_requests.forget(results / "train" / name)
    told = [
        f"{bakes[name]} goes on after epoch {found['epoch']} of {found['epochs']}"
        for name, found in stopped.items()
    ]
    return told or ["nothing to resume: no bake that was asked for is stopped by you"]


def _chosen(bakes: Mapping[str, str], asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name != ALL and name not in {*bakes, *bakes.values()}:
            close = difflib.get_close_matches(name, bakes.values(), n=1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known are {', '.join(bakes.values())}"
            )
            raise BakeryError(f"resume names {name}, which is no bake of this config; {hint}")
    return [name for name, short in bakes.items() if {ALL, name, short} & set(asked)]


def _made_from(results: Path, bakes: set[str]) -> list[Path]:
    """The folders of these bakes and all that was made from them, the last made first."""
    facts = dict(_manifests(results))
    found = [results / "train" / name for name in sorted(bakes)]
    found += [folder for folder, about in facts.items() if _piece_of(about, bakes)]
    known = {(folder.parent.name, folder.name) for folder in found}
    while new := [
        folder
        for folder, about in facts.items()
        if (folder.parent.name, folder.name) not in known and known & set(_uses(about))
    ]:
        found += new
        known |= {(folder.parent.name, folder.name) for folder in new}
    return found[::-1]


def _manifests(results: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for stage in STAGES:
        for path in sorted((results / stage).glob(f"*/{manifest.NAME}")):
            yield path.parent, manifest.read(path.parent)


def _piece_of(about: Mapping[str, Any], bakes: set[str]) -> bool:
    """Whether a manifest is that of a rung in which one of `bakes` was stopped, or of a later one."""
    summary = about.get("summary", {})
    return stop_requests.is_by_you(summary) and summary["stopped"].get("bake") in bakes


def _uses(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(stage, name) of every folder that a manifest says it was made from."""
    for name, stage in about.get("above", {}).items():
        yield stage, name
    rung = about.get("rung") or {}
    if rung.get("before"):
        yield about["stage"], rung["before"]
    if rung.get("verdict"):
        yield "halve", rung["verdict"]
