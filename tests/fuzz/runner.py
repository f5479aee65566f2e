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

ROOT = Path(__file__).parents[2]
SECONDS = 10.0
"""How long one case may take."""
MEGABYTES = 1536
"""How much address space a case may take; a picture's promise is 1 GB of memory in use."""


@dataclass
class Tally:
    """How the cases of one kind ended, and what failed: (seed, what)."""

    kind: str
    endings: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, seed: int, ending: str, said: str) -> None:
        self.endings[ending] += 1
        if ending not in ("taken", "refused", "recorded"):
            self.failed.append((seed, said))


def run(kind: str, first: int, count: int, *, seconds: float = SECONDS) -> Tally:
    """Try `count` cases of `kind`, from the seed `first` on."""
    tally, at, last = Tally(kind), first, first + count
    while at < last:
        at = _worker(kind, at, last, tally, seconds)
    return tally


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
    trying, began = None, 0.0
    try:
        for answer in _answers(process, seconds):
            if "begins" in answer:
                trying, began = answer["begins"], time.monotonic()
                continue
            tally.slowest = max(tally.slowest, time.monotonic() - began)
            tally.add(answer["seed"], answer["ending"], answer["said"])
            trying = None
    except TimeoutError:
        assert trying is not None, f"the attack {kind} did not start"
        tally.add(trying, "hangs", f"took more than {seconds:g} s")
        return trying + 1
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

    The start, with its imports and models, has three minutes: the machine may be busy.
    """
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        process.wait()
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    patience = max(180.0, seconds)
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            return
        patience = seconds
        yield json.loads(line)
