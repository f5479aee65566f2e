"""Whether processes were busy, waited for a CPU, or waited for something else.

A test that gives a program so many seconds means seconds in which it could run. On a busy machine others
may run instead, and that is no fault of the program's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STARVED = 10.0
"""How many times as long a program may take at most, however busy the machine is."""


def family(process: int | psutil.Process) -> list[psutil.Process]:
    """A process and all below it; none where it has ended."""
    with suppress(psutil.NoSuchProcess):
        one = psutil.Process(process) if isinstance(process, int) else process
        return [one, *one.children(recursive=True)]
    return []


def used(processes: Iterable[psutil.Process]) -> float:
    """Seconds of the CPUs that they and their ended children have had."""
    seconds = 0.0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            seconds += sum(one.cpu_times()[:4])
    return seconds


def queued(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Thread -> seconds in which it was ready to run and others did (Linux: `schedstat`)."""
    found = {}
    for one in processes:
        for thread in Path(f"/proc/{one.pid}/task").glob("*/schedstat"):
            with suppress(OSError, IndexError):  # it has just ended
                found[int(thread.parent.name)] = int(thread.read_text().split()[1]) / 1e9
    return found


def doing(processes: Iterable[psutil.Process]) -> list[str]:
    """A line for each process: what it is, whether it runs, and where in the kernel it waits."""
    lines = []
    for one in processes:
        with suppress(psutil.NoSuchProcess, OSError):
            where = Path(f"/proc/{one.pid}/wchan").read_text() or "-"
            took = sum(one.cpu_times()[:2])
            words = " ".join(one.cmdline())[:120]
            lines.append(f"{one.pid} {one.status()} {where} {took:.1f} s: {words}")
    return lines


@dataclass(frozen=True)
class Use:
    """What a process and those below it have had of the CPUs, in seconds."""

    cpu: float
    queued: float
    """Ready to run, but others did."""

    @classmethod
    def of(cls, pid: int) -> Use:
        processes = family(pid)
        return cls(used(processes), sum(queued(processes).values()))

    def since(self, before: Use) -> Use:
        return Use(self.cpu - before.cpu, self.queued - before.queued)


def wait_until(
    done: Callable[[], bool],
    seconds: float,
    processes: Callable[[], Iterable[psutil.Process]],
    step: float = 0.2,
) -> bool:
    """Whether `done` comes true within `seconds`, not counting those in which a thread of `processes`
    stood in line for a CPU. After `STARVED` times as long it is over in any case."""
    began = last = time.monotonic()
    counted, before = 0.0, queued(processes())
    while not done():
        if counted > seconds or last - began > STARVED * seconds:
            return False
        time.sleep(step)
        now, after = time.monotonic(), queued(processes())
        held_up = max((waited - before.get(one, 0.0) for one, waited in after.items()), default=0.0)
        counted += max(0.0, now - last - held_up)
        last, before = now, after
    return True
