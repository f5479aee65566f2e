"""One run at a time in a folder, and none locked out by a run that is dead.

Snakemake's lock is a file that says nothing of its owner: after a kill or a power cut it stays until
somebody unlocks by hand. Here the owner holds a lock of the operating system, which ends with its
process, however that ends. So Snakemake's files are left over if nobody holds ours, and are removed.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from bakery.io import files, status
from bakery.io.errors import BakeryError

NAME = "bakery.lock"
"""In Snakemake's folder `.snakemake`."""

_OLD = 3600.0
"""Seconds after which a script of Snakemake's, which is read at a job's start, is a dead run's."""

_held: list[IO[str]] = []  # open for the life of the process: closing a file ends its lock


def forget_the_dead(folder: Path) -> int:
    """Remove Snakemake's locks in `folder` (`.snakemake`) if no run is alive; returns how many."""
    left = sorted((folder / "locks").glob("*.lock"))
    if not left:
        return 0
    # also if it was never made, or lost: a run killed before `begin` has left locks of Snakemake's only
    with (folder / NAME).open("a+") as file:
        if not _try(file):
            return 0
        for lock in left:
            lock.unlink(missing_ok=True)
    return len(left)


def begin(folder: Path) -> None:
    """Hold the lock until this process ends. Raises `BakeryError` if another run holds it."""
    folder.mkdir(exist_ok=True)
    file = (folder / NAME).open("a+", encoding="utf-8")
    if not _try(file):
        file.close()
        raise BakeryError(refusal(folder))
    file.truncate(0)
    file.write(f"process {os.getpid()}, since {time.strftime('%H:%M on %Y-%m-%d')}\n")
    file.flush()
    _held.append(file)


def check(folder: Path) -> None:
    """Raises `BakeryError` if a run is alive in `folder` (`.snakemake`)."""
    if (folder / NAME).is_file():
        with (folder / NAME).open("r+") as file:
            if not _try(file):
                raise BakeryError(refusal(folder))


def tidy(folder: Path, results: Path, logs: Path) -> None:
    """Remove what killed runs have left: half-written files, and how far their jobs were. Whoever
    calls it holds the lock (`begin`)."""
    files.remove_parts(results)
    for left in logs.glob(f"*/*{status.ENDING}"):
        left.unlink(missing_ok=True)
    for script in (folder / "scripts").glob("tmp*"):
        with suppress(OSError):
            if time.time() - script.stat().st_mtime > _OLD:  # a dry bake may have begun just now
                script.unlink()


def refusal(folder: Path) -> str:
    """Why a run cannot begin while another holds the lock."""
    try:
        owner = (folder / NAME).read_text(encoding="utf-8").strip()
    except OSError:
        owner = ""
    return (
        f"another run is at work in this folder ({owner or 'it has just begun'}): wait for it, stop it, "
        "or bake in another folder with --directory"
    )


def _try(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
