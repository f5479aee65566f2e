"""Runs attacks in processes that may hang or die, and counts how they ended."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.cpu_time import Use

ROOT = Path(__file__).parents[2]
SECONDS = 10.0
"""How long one case may take."""
TRIES = 3
"""How often a case that took longer is tried in all."""
WAITS = 0.2
"""The share of its time that a case must have wanted a CPU, to be called late and not hanging."""
START = 7200.0
MEGABYTES = 1536
"""How much address space a case may take; a picture's promise is 1 GB of memory in use."""


@dataclass
class Tally:
    """How the cases of one kind ended, and what failed: (seed, what)."""

    kind: str
    endings: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0
    again: list[int] = field(default_factory=list)
    """Seeds of the cases that took too long once and were tried again by themselves."""

    def add(self, seed: int, ending: str, said: str) -> None:
        self.endings[ending] += 1
        if ending not in ("taken", "refused", "recorded"):
            self.failed.append((seed, said))


class Late(Exception):
    """A case was not done in its time."""

    def __init__(self, seed: int, seconds: float, use: Use) -> None:
        super().__init__(seed)
        self.seed = seed
        self.hangs = hangs(use, seconds)
        self.said = f"more than {seconds:g} s: {use.cpu:.1f} s on a CPU, {use.queued:.1f} s in line"


def hangs(use: Use, seconds: float) -> bool:
    """Whether the case itself is why `seconds` were not enough: it used them all, or waited for
    something else than a CPU. Else the machine may be busy."""
    return use.cpu > seconds or use.cpu + use.queued < WAITS * seconds


def run(kind: str, first: int, count: int, *, seconds: float = SECONDS) -> Tally:
    """Try `count` cases of `kind`, from the seed `first` on: a module of this folder, or any that can be
    imported, by its name with dots.

    A case that takes longer than `seconds` because the machine is busy is none that hangs. So it is
    tried again by itself, up to `TRIES` times in all, unless it `hangs`.
    """
    tally, at, last = Tally(kind), first, first + count
    while at < last:
        try:
            at = _worker(kind, at, last, tally, seconds)
        except Late as late:
            _settle(late, tally, seconds)
            at = late.seed + 1
    return tally


def _settle(late: Late, tally: Tally, seconds: float) -> None:
    """Try a case that was late by itself, until it is in time or known to hang."""
    seed = late.seed
    for _ in range(TRIES - 1):
        if late.hangs:
            break
        if seed not in tally.again:
            tally.again.append(seed)
        try:
            _worker(tally.kind, seed, seed + 1, tally, seconds)
            return
        except Late as another:
            late = another
    tally.add(seed, "hangs", late.said)


def _worker(kind: str, first: int, last: int, tally: Tally, seconds: float) -> int:
    """One process, until it has tried all or a case ends it; returns the next seed to try."""
    command = [sys.executable, "-m", "tests.fuzz.worker", kind, str(first), str(last)]
    process = subprocess.Popen(
        [*command, str(MEGABYTES)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    complaint: list[str] = []
    errors = threading.Thread(target=lambda: complaint.extend(process.stderr or ()), daemon=True)
    errors.start()
    trying, began, before = None, 0.0, Use(0, 0)
    try:
        for answer in _answers(process, seconds):
            if "begins" in answer:
                trying, began, before = answer["begins"], time.monotonic(), Use.of(process.pid)
                continue
            tally.slowest = max(tally.slowest, time.monotonic() - began)
            tally.add(answer["seed"], answer["ending"], answer["said"])
            trying = None
    except TimeoutError:
        assert trying is not None, f"the attack {kind} did not start"
        raise Late(trying, seconds, Use.of(process.pid).since(before)) from None
    finally:
        process.kill()
        process.wait()
        errors.join()
    if trying is not None:
        tally.add(trying, "dies", "".join(complaint[-20:]))
        return trying + 1
    if process.returncode != 0:
        raise RuntimeError(f"the attack {kind} did not start: {''.join(complaint[-20:])}")
    return last


def _answers(process: subprocess.Popen[str], seconds: float) -> Iterator[dict]:
    """The lines of a worker; `TimeoutError` where one takes longer than a case may.

    The start, with its imports and models, is no case and has two hours: the machine may be busy.
    """
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        process.wait()
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    patience = START
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            return
        patience = seconds
        yield json.loads(line)
