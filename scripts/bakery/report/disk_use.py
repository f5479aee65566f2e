"""How much space results take, by stage; a file with several names counts once.

Counting is repeated only for folders whose time of change is another, or so recent that a later change
could have the same, so asking often is cheap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bakery.settings.config import STAGES

_COARSE = 2 * 10**9
"""Nanoseconds: two changes within them may bear the same time, on the coarsest of file systems (FAT)."""


@dataclass(frozen=True)
class _Folder:
    """The files directly in a folder as they were at a time of change."""

    changed: int | None
    """None if there could be another change at the same time."""
    alone: int
    """Bytes of the files with one name."""
    linked: dict[tuple[int, int], int] = field(default_factory=dict)
    """Files with several names, by device and inode -> bytes."""
    below: tuple[str, ...] = ()


_known: dict[str, _Folder] = {}


def by_stage(results: Path) -> list[tuple[str, int]]:
    """(Folder of `results`, bytes) of all folders there, in the order of the stages, then by name.

    What several stages share, such as the pictures that the layout links, counts for the first of
    them.
    """
    if not results.is_dir():
        return []
    names = sorted(entry.name for entry in os.scandir(results) if entry.is_dir())
    order = [name for name in STAGES if name in names]
    order += [name for name in names if name not in STAGES]
    seen: set[tuple[int, int]] = set()
    return [(name, of_folder(results / name, seen)) for name in order]


def of_folder(folder: Path, seen: set[tuple[int, int]]) -> int:
    """Bytes of `folder` without the files in `seen` (device, inode), to which its own are added."""
    total = 0
    for one in _folders(str(folder)):
        total += one.alone
        for file, size in one.linked.items():
            if file not in seen:
                seen.add(file)
                total += size
    return total


def _folders(path: str) -> Iterator[_Folder]:
    """A folder and all below it; one that vanishes meanwhile is left out."""
    waiting = [path]
    while waiting:
        place = waiting.pop()
        try:
            changed = os.stat(place).st_mtime_ns
            if place not in _known or _known[place].changed != changed:
                _known[place] = _count(place, changed)
        except OSError:
            _known.pop(place, None)
            continue
        yield _known[place]
        waiting += (os.path.join(place, name) for name in _known[place].below)


def _count(place: str, changed: int) -> _Folder:
    is_over = time.time_ns() - changed >= _COARSE
    alone, linked, below = 0, {}, []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1:
                    linked[status.st_dev, status.st_ino] = status.st_size
                else:
                    alone += status.st_size
    return _Folder(changed if is_over else None, alone, linked, tuple(below))
