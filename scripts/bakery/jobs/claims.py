"""Claims: one process may finish several bakes of a sweep, each in its own folder.

A sweep has one job for each bake, so that one more learning rate is one more job. But bakes that share
data, base and rank are trained and sampled faster together. So the bakes that could share a process are
divided into shares (`deal`). A job claims the unfinished bakes of its own bake's share, works on
all of them at once and writes each result to that bake's folder. The other bakes' jobs then find
their work done. `ensure_finished` implements this for training and sampling; it works however jobs
start, die and overlap:

- a claim is a lock on a file in the bake's folder, so it ends with the process that holds it;
- a job whose own bake is claimed by another helps with another share first, then waits;
- a share is claimed as a whole, so which bakes are processed together does not depend on which job
  is first;
- `finished.json` marks that all files of a bake exist. It is not the manifest: the workflow deletes
  that when a bake's own job starts;
- outputs that the workflow deletes when a bake's own job starts are written under a second name
  (`kept`), and the job itself restores them;
- a bake that cannot be finished (its loss became NaN, its file is damaged) leaves `failure.json`,
  which its own job reports, so that other jobs do not try it again. If it is requested in a later
  run, it is tried again, alone.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bakery.io import seals
from bakery.io.errors import BakeryError
from bakery.io.files import copy

log = logging.getLogger(__name__)

FINISHED = "finished.json"
FAILURE = "failure.json"
LOCK = "claim.lock"
CLAIMING = ".claiming.lock"
"""A lock next to the folders, held while claiming, so that no two processes each get half of a
share."""

Bake = TypeVar("Bake")
Work = Callable[[list[Path]], None]
"""Finishes the folders given, and calls `finish` or `fail` for each."""
Done = Callable[[Path], dict[str, Any] | None]
"""The summary of a bake that has reached its target, or None."""


class Failed(BakeryError):
    """A bake ended without a result; other bakes are not affected."""


def finish(
    folder: Path, summary: dict[str, Any], files: Sequence[str] = (), declared: Sequence[str] = ()
) -> None:
    """Record that all `files` of the bake exist; `summary` is what its manifest will contain.

    `declared` are outputs that the workflow knows by name; they are at the path given by `kept`. The
    bytes of all of them are on record as well (`forget_damaged`).
    """
    record: dict[str, Any] = {"summary": summary, "files": list(files)}
    if declared:
        record["declared"] = list(declared)
    sealed = [*files, *(kept(folder / name).name for name in declared)]
    digests = {name: seals.digest(folder / name) for name in sealed}
    seals.write(folder / FINISHED, json.dumps(record) + "\n", digests)


def fail(folder: Path, sentence: str, *, reported: bool = False) -> None:
    """Record that the bake ended without a result, for a reason that trying again does not change.

    `reported` means that its own job has reported it; until then, the job does not try again.
    """
    record = {"error": sentence, "reported": reported}
    seals.write(folder / FAILURE, json.dumps(record) + "\n")


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished bake, or None; if one of its files was removed, it is made
    again."""
    record = _read(folder / FINISHED)
    if record is None:
        return None
    files = [folder / name for name in record["files"]]
    files += [kept(folder / name) for name in record.get("declared", ())]
    return record["summary"] if all(file.is_file() for file in files) else None


def forget_damaged(folder: Path, name: str = FINISHED) -> None:
    """If the record `name`, or a file that it names, is not as it was written: remove both, so that
    it is made again.

    A folder that another process works on is left alone.
    """
    if not (folder / name).is_file():
        return
    with try_lock(folder) as mine:
        found = list(seals.faults(folder / name)) if mine else []
        for fault in found:
            log.warning("%s: making it again", fault)
            fault.path.unlink(missing_ok=True)
        if found:
            seals.remove(folder / name)


def kept(output: Path) -> Path:
    """Where a declared output is kept until its own job moves it into place; manifests ignore
    it."""
    return output.with_name(f"{output.name}.state")


def put_back(output: Path) -> None:
    """Put a declared output in its place."""
    copy(kept(output), output)


def deal(group: Sequence[Bake], workers: int, most: int) -> list[list[Bake]]:
    """Even shares of at most `most` bakes, as many as give `workers` processes equal work.

    `group` are the bakes that could share a process, in an order that is the same in each of their
    jobs. They are dealt like cards, so that bakes added last are spread over the shares as well.
    """
    rounds = math.ceil(len(group) / (workers * most))
    shares = min(len(group), workers * rounds)
    return [list(group[first::shares]) for first in range(shares)]


def ensure_finished(
    own: Path,
    shares: Sequence[Sequence[Path]],
    *,
    work: Work,
    done: Done = finished,
    ready: Callable[[Path], bool] = lambda folder: True,
) -> dict[str, Any]:
    """Finish `own`, here or in another process, and return its summary.

    `shares` are the bakes that could share a process, `own` among them, as `deal` gives them in
    each of their jobs. Others that are not `ready` yet are left to later jobs. Raises `Failed` with
    the recorded sentence if the bake failed.
    """
    group = [folder for share in shares for folder in share]
    if own not in group:
        raise ValueError(f"{own} is not in its own group: {', '.join(map(str, group))}")
    for name in (FINISHED, FAILURE):
        forget_damaged(own, name)
    again = (_read(own / FAILURE) or {}).get("reported", False)
    shares = [[own]] if again else sorted(shares, key=lambda share: own not in share)

    def is_open(folder: Path) -> bool:
        mine = folder == own  # ready, since its job runs
        failed = (folder / FAILURE).exists() and not (mine and again)
        return done(folder) is None and not failed and (mine or ready(folder))

    while (summary := done(own)) is None:
        failure = _read(own / FAILURE)
        if failure is not None and not again:
            # not removed, so that later helpers do not try it either
            fail(own, failure["error"], reported=True)
            raise Failed(failure["error"])
        with _claimed(own.parent, shares, is_open) as folders:
            if folders:
                if again:
                    seals.remove(own / FAILURE)
                    again = False
                work(folders)
        if not folders:
            _wait_for(own)
    for name in (_read(own / FINISHED) or {}).get("declared", ()):
        put_back(own / name)
    return summary


@contextmanager
def _claimed(
    place: Path, shares: Sequence[Sequence[Path]], is_open: Callable[[Path], bool]
) -> Iterator[list[Path]]:
    """Lock the unfinished bakes of the first unclaimed share; nothing if all have been claimed."""
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        with (place / CLAIMING).open("w") as turn:
            fcntl.lockf(turn, fcntl.LOCK_EX)
            folders = next(filter(None, (_locked(share, is_open, locks) for share in shares)), [])
        yield folders


def _locked(share: Sequence[Path], is_open: Callable[[Path], bool], locks: ExitStack) -> list[Path]:
    return [
        folder
        for folder in share
        # check again: it may have been finished before we got the lock
        if is_open(folder) and locks.enter_context(try_lock(folder)) and is_open(folder)
    ]


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
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
