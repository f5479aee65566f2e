"""What a job took: when it worked and how much memory it held, a line for each attempt, beside its log.

Not in the manifest, which holds nothing that differs between equal runs. A killed job writes no line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bakery.io import devices, manifest
from bakery.jobs import phases

ENDING = ".took.jsonl"
"""Instead of `.log`: the file is beside the job's log."""


@dataclass(frozen=True)
class Attempt:
    """One time that a job ran."""

    began: float
    """Seconds since 1970, as `ended`."""
    ended: float
    memory: int
    """The most bytes that its process held."""
    gpu_memory: int | None = None
    """The most bytes that torch held on a GPU; None without one."""
    done: bool = True
    """False if it was stopped or failed."""
    phases: Mapping[str, int] = field(default_factory=dict)
    """Phase -> the most bytes that it held: on a GPU if the job used one, else of the process."""


def beside(log_file: Path) -> Path:
    """The record of the job with this log."""
    return log_file.with_suffix(ENDING)


def begin(log_file: Path) -> None:
    """Forget how long the same took when it was made before: now it is made anew."""
    if (before := read(log_file)) and before[-1].done:
        beside(log_file).unlink(missing_ok=True)


def note(log_file: Path, *, done: bool) -> None:
    """Add this process, from its start until now."""
    one = Attempt(
        began=round(psutil.Process().create_time(), 2),
        ended=round(time.time(), 2),
        memory=devices.resident_peak(),
        gpu_memory=devices.peak_if_on_gpu(),
        done=done,
        phases=phases.most(),
    )
    with suppress(OSError), beside(log_file).open("a", encoding="utf-8") as file:  # a full disk
        file.write(json.dumps(asdict(one)) + "\n")


def read(log_file: Path) -> list[Attempt]:
    """The attempts in order; what cannot be read is left out, as are lines cut off by a full disk."""
    try:
        lines = beside(log_file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError, TypeError):
            found.append(Attempt(**json.loads(line)))
    return found


def last_step(folder: Path) -> dict[str, Any] | None:
    """The last line of a training's `progress.jsonl`, if it has a speed."""
    try:
        line = json.loads((folder / manifest.PROGRESS).read_text(encoding="utf-8").splitlines()[-1])
        return line if float(line["steps_per_second"]) > 0 else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def worked(attempts: Iterable[Attempt]) -> float:
    """Seconds in which at least one of them was at work."""
    total, until = 0.0, 0.0
    for one in sorted(attempts, key=lambda one: one.began):
        total += max(0.0, one.ended - max(one.began, until))
        until = max(until, one.ended)
    return total
