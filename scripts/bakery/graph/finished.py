"""Finished bakes on disk, found by their manifests.

A manifest names the folders its stage was made from, so that of a score leads to the samples, the
LoRA files and so on up to the posts, whichever config, dataset or day it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.graph import keyed_folders
from bakery.io import manifest
from bakery.io.errors import BakeryError

NEEDED = ("train", "sample", "score")
"""What a page shows. The earlier stages show where it comes from; their folders may have been
deleted."""
_ENTRY = "config: compare.with names"


@dataclass(frozen=True)
class FinishedBake:
    """A finished bake."""

    folders: dict[str, Path]
    """Stage -> its folder, relative to the working directory if inside it."""
    settings: dict[str, Any]
    """By dotted name (`train.unet_lr`)."""
    content: str
    """sha256 over the bake's manifests: another result is another content."""

    @property
    def score(self) -> Path:
        return self.folders["score"]

    @property
    def readable(self) -> str:
        """The folder's name without its key."""
        return keyed_folders.readable(self.score.name)

    @property
    def is_local(self) -> bool:
        """Whether it is in the working directory's results."""
        return self.score.parent == Path("results/score")


def named(names: Sequence[str], root: Path) -> list[FinishedBake]:
    """The bakes that `compare.with` names, each once, in that order.

    A name is a folder of the stages train, sample, score or compare (a page: all its bakes), as
    written from `root`. Raises `BakeryError` with one sentence for a folder that is missing,
    unfinished, of another stage, or not scored.
    """
    found: dict[Path, FinishedBake] = {}
    for name in names:
        for score in _scores(name, root):
            found.setdefault(score.resolve(), _bake(name, score, root))
    return list(found.values())


def chain(folder: Path) -> dict[str, Path]:
    """Stage -> folder, for `folder` and everything it was made from, as far as manifests exist."""
    folders: dict[str, Path] = {}
    stage = manifest.read(folder)["stage"]
    waiting = [(stage, folder)]
    seen: set[Path] = set()  # manifests that name themselves or each other lead nowhere
    while waiting:
        stage, place = waiting.pop()
        if place.resolve() in seen or not (place / manifest.NAME).is_file():
            continue
        seen.add(place.resolve())
        folders[stage] = place
        above = manifest.read(place)["above"]
        waiting += [
            (upper, keyed_folders.located(place.parents[1] / upper / name))
            for name, upper in above.items()
        ]
    return folders


def _scores(name: str, root: Path) -> list[Path]:
    """The score folders that the entry `name` means."""
    folder = root / name
    if not folder.is_dir():
        raise BakeryError(
            f"{_ENTRY} {name}, which does not exist: give a finished folder such as "
            "results/score/mirael-lr0.002-5d95cbef508e"
        )
    if not (folder / manifest.NAME).is_file():
        raise BakeryError(
            f"{_ENTRY} {name}, which has no {manifest.NAME} and so is not finished: "
            "run the config it came from to the end, or take it out"
        )
    about = manifest.read(folder)
    stage = about.get("stage")
    if stage == "score":
        return [folder]
    if stage == "compare":
        scores = folder.parents[1] / "score"
        return [keyed_folders.located(scores / above) for above in about["above"]]
    if stage not in NEEDED:
        raise BakeryError(
            f"{_ENTRY} {name}, a folder of the stage {stage}: give one below results/train, "
            "results/score or results/compare"
        )
    return [_score_of(name, folder, stage)]


def _score_of(name: str, folder: Path, stage: str) -> Path:
    """The only score made from the train or sample `folder`."""
    manifests = sorted((folder.parents[1] / "score").glob(f"*/{manifest.NAME}"))
    scores = [m.parent for m in manifests if chain(m.parent).get(stage, m).name == folder.name]
    if not scores:
        raise BakeryError(
            f"{_ENTRY} {name}, which has not been scored: run the config it came from to the end, "
            "or take it out"
        )
    if len(scores) > 1:
        choice = " or ".join(f"results/score/{score.name}" for score in scores)
        raise BakeryError(f"{_ENTRY} {name}, which was scored {len(scores)} times: name {choice}")
    return scores[0]


def _bake(name: str, score: Path, root: Path) -> FinishedBake:
    folders = chain(score) if (score / manifest.NAME).is_file() else {}
    lost = [stage for stage in NEEDED if stage not in folders]
    if lost:
        raise BakeryError(
            f"{_ENTRY} {name}, but the {lost[-1]} folder it was made from is unfinished or gone: "
            "run the config it came from again, or take it out"
        )
    settings = {
        f"{stage}.{key}": value
        for stage, folder in reversed(folders.items())
        for key, value in manifest.read(folder)["settings"].items()
    }
    digests = sorted((stage, manifest.digest(f / manifest.NAME)) for stage, f in folders.items())
    content = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    inside = {
        stage: folder.relative_to(root) if folder.is_relative_to(root) else folder
        for stage, folder in folders.items()
    }
    return FinishedBake(inside, settings, content)
