"""The record of a stage's result: `manifest.json`, written last, with the hash of every file it
covers.

A folder without a manifest is unfinished. The manifest holds nothing volatile (no clock, no absolute
path), so that equal work has equal manifests wherever it was done. `manifest.seal` beside it has the
manifest's own hash, and those of files that differ between equal runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bakery.io import seals
from bakery.io.errors import BakeryError
from bakery.io.files import settle
from bakery.io.seals import Fault, digest

NAME = "manifest.json"
PROGRESS = "progress.jsonl"
VALIDATION = "validation.csv"
"""Of the train stage, where pictures are held out: the loss on them."""
VALIDATED = ("epoch", "step", "t", "loss")
"""Its columns: `t` is the place between picture (0) and noise (1); epoch 0 is the base."""
VOLATILE = (".log", ".part", ".lock", ".state", seals.ENDING)
"""Endings of files that a manifest does not cover: they differ between equal runs."""
HASHED_WHOLE = 64 * 2**20
"""Bytes up to which a file that a key names is told apart by its content: full-size models take
minutes to hash."""
PAGES = "*.html"
"""For people: no stage reads them, and who deletes one gets it drawn again."""


def write(folder: Path, about: dict[str, Any], summary: dict[str, Any]) -> Path:
    """Write `folder/manifest.json`: `about` (stage, key, settings ...), the summary, the files.

    The folder is on the disk before: after a power cut, one with a manifest is whole.
    """
    settle(folder)
    there = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    files = {name: digest(folder / name) for name in there if covers(name)}
    kept = {f"{name}.state" for name in files}
    if about.get("stage") == "train":  # a sample's may be begun again by another rung of its bake
        kept.add(PROGRESS)
    sealed = {name: digest(folder / name) for name in there if name in kept}
    text = json.dumps({**about, "summary": summary, "files": files}, indent=1, ensure_ascii=False)
    seals.write(folder / NAME, text + "\n", sealed)
    return folder / NAME


def covers(name: str) -> bool:
    """Whether a manifest lists the file `name` of its folder, as far as its name tells."""
    last = name.rpartition("/")[2]
    return last not in (NAME, PROGRESS) and not last.endswith(VOLATILE)


def content(path: Path) -> str | int:
    """What tells a file apart in a key: its sha256, or of one above `HASHED_WHOLE` its size."""
    size = path.stat().st_size
    return digest(path) if size <= HASHED_WHOLE else size


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage; raises `BakeryError` if it is not as it was written."""
    path = folder / NAME
    if not path.is_file():
        raise BakeryError(f"{path} is missing: that stage has not finished")
    for fault in seals.faults(path, alone=True):
        raise _refusal(fault, folder)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BakeryError(
            f"{path} is not JSON ({error}): delete the folder to make it again"
        ) from None


def checked(folder: Path, *patterns: str) -> Path:
    """`folder`, whose files are as its manifest records; pages for people are left out.

    With `patterns` (`*.csv`, `images/*.png`) only files that match one of them. Raises `BakeryError`
    for a file that was changed or is missing, in a sentence that says how to make it again.
    """
    for fault in faults(folder, *patterns):
        if not fnmatchcase(fault.path.name, PAGES):
            raise _refusal(fault, folder)
    return folder


def faults(folder: Path, *patterns: str) -> Iterator[Fault]:
    """The files of the finished `folder` that are not as its manifest records.

    Raises `BakeryError` if that is no manifest any more.
    """
    for name, known in sorted(read(folder).get("files", {}).items()):
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns):
            yield from seals.compare(folder / name, known, NAME)


def again(folder: Path) -> str:
    """What makes a folder of results again."""
    return f"rm -r {folder}"


def _refusal(fault: Fault, folder: Path) -> BakeryError:
    return BakeryError(f"{fault}; to make it again, `{again(folder)}` and run the same command")
