"""Who bakes what: one process may finish several bakes of a sweep, each in its own folder.

A sweep is one job for each bake, so that one more learning rate is one more job. But bakes that share
data, base and rank train faster together. So a job that starts claims, besides its own bake, unfinished
siblings; it trains them all at once and leaves each one's result in its own folder. The siblings' own
jobs then find theirs finished. `settle` is that rule; it holds however jobs start, die and overlap:

- a claim is a lock on a file in the bake's folder, so it ends with the process that holds it;
- a job whose own bake is claimed by another helps with the rest first, then waits;
- `finished.json` says that all files of a bake are there. It is not the manifest: the workflow deletes
  that when a bake's own job starts;
- a sibling that cannot be baked (its loss became NaN) leaves `failure.json`, which its own job reports
  once, instead of training it again in each.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bakery import manifest
from bakery.errors import BakeryError

FINISHED = "finished.json"
FAILURE = "failure.json"
LOCK = "claim.lock"

Train = Callable[[list[Path]], None]
"""Bakes the folders given, and calls `finish` or `fail` for each."""


def finish(folder: Path, summary: dict[str, Any], files: Sequence[str] = ()) -> None:
    """All `files` of the bake are there; `summary` is what its manifest will say."""
    record = {"summary": summary, "files": list(files)}
    manifest.write_text(folder / FINISHED, json.dumps(record) + "\n")


def fail(folder: Path, sentence: str) -> None:
    """The bake ended without a result, for a reason that trying again does not change."""
    manifest.write_text(folder / FAILURE, json.dumps({"error": sentence}) + "\n")


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished bake, or None; who removes one of its files wants it again."""
    record = _read(folder / FINISHED)
    if record is None or not all((folder / name).is_file() for name in record["files"]):
        return None
    return record["summary"]


def settle(
    own: Path, siblings: Sequence[Path], *, workers: int, most: int, train: Train
) -> dict[str, Any]:
    """Have `own` baked, here or elsewhere, and return its summary.

    `siblings` are the bakes that could share a process with it. With `workers` processes at work on
    the sweep, each claims its even share of what is undone, up to `most` at once. Raises
    `BakeryError` with the recorded sentence if the bake failed.
    """
    while (summary := finished(own)) is None:
        failure = _read(own / FAILURE)
        if failure is not None:
            (own / FAILURE).unlink(missing_ok=True)
            raise BakeryError(failure["error"])
        with _claimed(own, siblings, workers, most) as folders:
            if folders:
                train(folders)
        if not folders:
            _wait_for(own)
    return summary


@contextmanager
def _claimed(own: Path, siblings: Sequence[Path], workers: int, most: int) -> Iterator[list[Path]]:
    """Lock what this process is to bake: its own first, if nobody has it."""
    open_bakes = [folder for folder in (own, *siblings) if _is_open(folder)]
    most = min(most, math.ceil(len(open_bakes) / max(1, workers)))
    with ExitStack() as locks:
        folders: list[Path] = []
        for folder in open_bakes:
            if len(folders) == most:
                break
            ours = locks.enter_context(_try_lock(folder))
            if ours and _is_open(folder):  # it may have been finished before the lock was ours
                folders.append(folder)
        yield folders


def _is_open(folder: Path) -> bool:
    return finished(folder) is None and not (folder / FAILURE).exists()


@contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Whether the claim on `folder` is ours. lockf: forked loader workers do not inherit it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _wait_for(folder: Path) -> None:
    with (folder / LOCK).open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        path.unlink(missing_ok=True)  # written atomically: only a damaged disk leaves this
        return None
