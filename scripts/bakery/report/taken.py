"""What the bakes of a page took, in time, memory and disk, beside what the dry bake expected.

Measured are the jobs' own records (`jobs/job_times.py`), the trainings' progress and the folders. It is
kept beside the results, never in them: equal work has equal results, however long it took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bakery.interop import sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.io.quantities import clock, duration, memory, size
from bakery.jobs import job_times
from bakery.jobs.job_times import Attempt
from bakery.pages import cost_picture
from bakery.report import disk_use, expected
from bakery.report.expected import Expected
from bakery.settings.config import STAGES

FOLDER = "results/took"
"""A record and a picture of each finished page."""
TIME, MEMORY, DISK = "training", "memory", "LoRAs"
"""What is compared, of each bake's training."""
WRONG = 2.0
"""The dry bake was wrong if it was off by more than this factor."""


@dataclass(frozen=True)
class StageTaken:
    """What one stage took, for all bakes of the page."""

    stage: str
    jobs: int
    seconds: float
    """By the clock: what ran at the same time counts once."""
    memory: int
    """The most that one of its processes held: on the GPU if it used one."""
    disk: int


@dataclass(frozen=True)
class Compared:
    """One number as it was expected and as it was measured, for a bake: medians over the bakes."""

    name: str
    expected: float
    measured: float

    @property
    def wrong(self) -> bool:
        ratio = self.measured / self.expected if self.expected else 0.0
        return bool(ratio) and not 1 / WRONG <= ratio <= WRONG


@dataclass(frozen=True)
class Taken:
    """What all bakes of a page took."""

    page: str
    seconds: float
    memory: int
    disk: int
    unknown: int = 0
    """Jobs that left no record, such as those of results from elsewhere: their time is not counted."""
    stages: Sequence[StageTaken] = ()
    compared: Sequence[Compared] = ()
    reasons: Sequence[str] = ()
    """Why the dry bake was wrong, a sentence for each number that it had wrong."""

    def line(self) -> str:
        """All in one line of a terminal."""
        most = f"{memory(self.memory)} of memory, {size(self.disk)} of disk"
        line = f"took {clock(self.seconds)}, {most}"
        if self.unknown:
            jobs = f"{self.unknown} job{'s' if self.unknown > 1 else ''} left no record"
            line = f"took at least {clock(self.seconds)} ({jobs}), {most}"
        if time := next((one for one in self.compared if one.name == TIME), None):
            line += f"; training {duration(time.measured)} a bake (plan: {duration(time.expected)})"
        return line

    def beside_plan(self) -> str:
        """What was expected of a bake, beside what it was; "" if nothing was."""
        say = {TIME: duration, MEMORY: memory, DISK: size}
        told = [
            f"{one.name} {say[one.name](one.measured)} (plan: {say[one.name](one.expected)})"
            for one in self.compared
        ]
        return f"A bake: {', '.join(told)}." if told else ""


def of(root: Path, page: Path) -> Taken | None:
    """What the bakes of the finished page in the folder `page` took; None if no job has noted it.

    `root` is the working directory, with `results` and `logs`.
    """
    if not (root / page / manifest.NAME).is_file():
        return None
    nodes = _nodes(root, page)
    times = {node: job_times.read(root / "logs" / node[0] / f"{node[1]}.log") for node in nodes}
    if not any(times.values()):
        return None
    counted: set[tuple[int, int]] = set()
    stages = []
    for stage in dict.fromkeys(stage for stage, _ in nodes):
        mine = [node for node in nodes if node[0] == stage]
        attempts = [one for node in mine for one in times[node]]
        disk = sum(disk_use.of_folder(root / "results" / s / name, counted) for s, name in mine)
        stages.append(
            StageTaken(stage, len(mine), job_times.worked(attempts), _most(attempts), disk)
        )
    every = [one for attempts in times.values() for one in attempts]
    trained = [root / "results" / stage / name for stage, name in nodes if stage == "train"]
    pairs = list(_pairs(root, trained))
    compared = [one for one in map(partial(_compared, pairs), (TIME, MEMORY, DISK)) if one]
    return Taken(
        page.name,
        job_times.worked(every),
        _most(every),
        sum(one.disk for one in stages),
        sum(not attempts for attempts in times.values()),
        stages,
        compared,
        [_reason(one, pairs) for one in compared if one.wrong],
    )


def keep(root: Path, page: Path) -> Taken | None:
    """The same, kept as `results/took/<page>.json` and `.svg`, which the comparison page shows."""
    if (taken := of(root, page)) is None:
        return None
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    said = [taken.line(), *taken.reasons]
    record = {"said": [f"{one[0].upper()}{one[1:]}." for one in said], **asdict(taken)}
    write_text(folder / f"{page.name}.json", json.dumps(record, indent=1) + "\n")
    rows = [(one.stage, one.seconds, one.memory, one.disk) for one in taken.stages]
    rows.append(("all", taken.seconds, taken.memory, taken.disk))
    notes = [taken.beside_plan(), *taken.reasons] if taken.compared else []
    write_text(folder / f"{page.name}.svg", cost_picture.draw(rows, notes))
    return taken


def _nodes(root: Path, page: Path) -> list[tuple[str, str]]:
    """(stage, name of the folder) of the page and of all that it was made from, in order of stages."""
    found, waiting = set(), [("compare", page.name)]
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        with suppress(BakeryError):  # freed, or damaged
            above = manifest.read(root / "results" / node[0] / node[1]).get("above", {})
            waiting += [(stage, name) for name, stage in above.items()]
    order = [*STAGES[:-1], "halve", "compare"]
    return sorted(found, key=lambda node: (order.index(node[0]), node[1]))


def _most(attempts: Sequence[Attempt]) -> int:
    held = (one.memory if one.gpu_memory is None else one.gpu_memory for one in attempts)
    return max(held, default=0)


@dataclass(frozen=True)
class _Pair:
    """A bake as it was expected and as it was measured."""

    expected: Expected
    steps: int
    seconds: float
    memory: float | None
    loras: float
    together: str

    def both(self, name: str) -> tuple[float | None, float | None]:
        e = self.expected
        return {
            TIME: (e.seconds, self.seconds),
            MEMORY: (e.memory, self.memory),
            DISK: (e.loras, self.loras),
        }[name]


def _pairs(root: Path, trained: Sequence[Path]) -> Iterator[_Pair]:
    known = expected.read(root / "results/plan")
    for folder in trained:
        one = known.get(folder.relative_to(root).as_posix())
        last = job_times.last_step(folder)
        files = sorted(folder.glob("*.safetensors"))
        if one is None or last is None or not files:
            continue
        gib = last.get("memory_gib")
        yield _Pair(
            one,
            int(last["steps"]),
            last["steps"] / last["steps_per_second"],
            gib * 2**30 if isinstance(gib, int | float) else None,
            sum(file.stat().st_size for file in files),
            sidecar.trained_together(files[0]),
        )


def _compared(pairs: Sequence[_Pair], name: str) -> Compared | None:
    both = [pair.both(name) for pair in pairs]
    known = [(e, m) for e, m in both if e is not None and m is not None]
    if not known:
        return None
    return Compared(name, median(e for e, _ in known), median(m for _, m in known))


def _reason(one: Compared, pairs: Sequence[_Pair]) -> str:
    """Why `one` was off, as far as it is on record."""
    say = {TIME: duration, MEMORY: memory, DISK: size}[one.name]
    told = f"plan expected {say(one.expected)} of {one.name} for a bake, it was {say(one.measured)}"
    steps = [(pair.expected.steps, pair.steps) for pair in pairs if pair.expected.steps]
    if one.name == TIME and (off := [pair for pair in steps if not _near(*pair)]):
        return f"{told}: it counted {off[0][0]} steps, and {off[0][1]} were trained"
    groups = {(pair.expected.together, pair.together) for pair in pairs}
    if one.name in (TIME, MEMORY) and (other := sorted(g for g in groups if g[0] != g[1])):
        before, now = other[0]
        return f"{told}: the earlier bakes were trained in groups of {before}, these in groups of {now}"
    if one.name == TIME:
        pace = "slower" if one.measured > one.expected else "faster"
        return f"{told}: as many steps, but each was {pace}; why is not on record"
    return f"{told}; why is not on record"


def _near(expected_steps: int, steps: int) -> bool:
    return 0.67 <= steps / expected_steps <= 1.5
