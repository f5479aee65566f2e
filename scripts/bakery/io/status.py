"""What this process is doing just now, for whoever watches: a small file that is replaced as it goes.

A job names its file with `write_to`; from then on `tell` and `each` keep it up to date, at most every
`PACE` seconds. Without a file they do nothing, so that the library can be used by itself. Like a
logger, it is one for the whole process: what works deep inside a stage needs nothing handed down.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bakery.io.files import TICK, whole

ENDING = ".status.json"
"""Instead of `.log`: the file is beside the job's log."""
PACE = 0.5
"""Seconds between two writes."""

Item = TypeVar("Item")


@dataclass
class _Status:
    path: Path | None = None
    doing: str = ""
    begun: float = 0.0
    written: float = 0.0
    first: int = 0


_now = _Status()


def beside(log_file: Path) -> Path:
    """The status file of the job with this log."""
    return log_file.with_suffix(ENDING)


def write_to(path: Path | None) -> None:
    """Write to `path` from here on; None removes the file and stops."""
    global _now
    if path is None and _now.path is not None:
        _now.path.unlink(missing_ok=True)
    _now = _Status(path)


def tell(doing: str, done: int = 0, of: int = 0, **facts: Any) -> None:
    """`done` of `of` are done of what is called `doing` ("training", "pictures tagged").

    `facts` go into the file as they are: JSON values such as loss or epoch. Speed and remaining time
    come from what was done since the first call with this `doing`.
    """
    if _now.path is None:
        return
    at = time.time()
    if doing != _now.doing:
        _now.doing, _now.begun, _now.first, _now.written = doing, at, done, 0.0
    if at - _now.written < PACE and done != of:
        return
    _now.written = at
    line: dict[str, Any] = {"doing": doing, "done": done, "of": of, "at": round(at, 1), **facts}
    passed = at - _now.begun
    if done > _now.first and passed > 0:
        rate = (done - _now.first) / passed
        line |= {"per_second": round(rate, 3), "eta_seconds": round((of - done) / rate, 1)}
    # a full disk must not end a bake for the sake of a display
    with suppress(OSError), whole(_now.path, rivals=True, lasting=False) as part:
        part.write_text(json.dumps(line), encoding="utf-8")


def each(items: Iterable[Item], doing: str, of: int | None = None) -> Iterator[Item]:
    """`items` one by one, telling after each; `of` where they have no length."""
    total = of if of is not None else len(items) if isinstance(items, Collection) else 0
    for number, item in enumerate(items):
        tell(doing, number, total)
        yield item
    tell(doing, total, total)


def read(path: Path, *, since: float = 0.0) -> dict[str, Any]:
    """What is in a status file; {} without one, while it is written, or if it is older than `since`
    (seconds since 1970)."""
    try:
        if path.stat().st_mtime + TICK < since:
            return {}
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
