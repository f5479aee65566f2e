"""The board: which jobs run now, how far they are, and what became of those before.

It knows jobs by Snakemake's numbers, and reads their status files. It prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.io import machine_faults, manifest, status
from bakery.io.errors import BakeryError
from bakery.jobs import job as jobs

NameOf = Callable[[str, str], str]
"""(stage, `bake` wildcard) -> the readable name of its node."""

SILENT = 30.0
"""Seconds after which a job that says nothing is not shown any more."""


@dataclass
class RunningJob:
    """A job of the engine."""

    number: int
    stage: str
    name: str
    log: Path | None
    output: Path | None
    started: float = 0.0
    """Seconds since 1970."""
    heard: bool = False
    """Whether it has said anything of itself yet."""

    @property
    def label(self) -> str:
        return f"{self.stage} {self.name}".strip()

    def status(self) -> dict[str, Any]:
        """What it says of itself; {} if nothing yet. What a killed run has left says nothing."""
        said = status.read(status.beside(self.log), since=self.started) if self.log else {}
        self.heard = self.heard or bool(said)
        return said

    def summary(self) -> Mapping[str, Any]:
        """What its manifest says, {} for a job that writes none."""
        if self.output is None or self.output.name != manifest.NAME:
            return {}
        return summary_of(self.output.parent)

    def errors(self) -> list[str]:
        """The errors in its log: one sentence each, of an unexpected one the first line."""
        if self.log is None or not self.log.is_file():
            return []
        return [error.splitlines()[0] for error in jobs.errors(self.log) if error]

    def silence(self) -> str:
        """Why it may have ended without an error in its log."""
        places = [path.parent for path in (self.output, self.log) if path is not None]
        for said in filter(None, map(machine_faults.of_folder, places)):
            return said
        return (
            "ended without a word (killed, or out of memory?): "
            f"{machine_faults.GO_ON.removeprefix('then ')}; its log is {self.log}"
        )


def summary_of(folder: Path) -> Mapping[str, Any]:
    """The summary in the manifest of a result's folder; {} if it is not finished."""
    try:
        return manifest.read(folder)["summary"]
    except (BakeryError, KeyError):
        return {}


@dataclass
class Board:
    """All jobs of a run."""

    name_of: NameOf
    total: int = 0
    """Jobs of this run, Snakemake's own target left out."""
    done: int = 0
    failed: int = 0
    finished: list[RunningJob] = field(default_factory=list)
    _known: dict[int, RunningJob] = field(default_factory=dict)

    @property
    def running(self) -> list[RunningJob]:
        """In the order in which they started."""
        jobs = [job for job in self._known.values() if job.log is not None]
        return sorted(jobs, key=lambda job: (job.started, job.number))

    def at_work(self) -> tuple[list[RunningJob], int]:
        """The running jobs that have something to tell, and how many others there are.

        On a cluster a job that was handed over may be in the queue for hours, or its work be done while
        the job of the scheduler that it belongs to goes on.
        """
        running = self.running
        shown = [job for job in running if job.status() or time.time() - job.started < SILENT]
        return shown, len(running) - len(shown)

    def plan(self, stats: Mapping[str, Any]) -> None:
        """`stats`: rule -> number of jobs, with a `total`; rules without a door do not count."""
        self.total = sum(
            count for rule, count in stats.items() if rule not in ("total", "all", "bake")
        )

    def start(self, facts: Mapping[str, Any]) -> None:
        """A job that the engine starts; `facts` are those of its JOB_INFO."""
        stage, wildcards = facts["rule_name"], dict(facts.get("wildcards") or {})
        log, output = list(facts.get("log") or ()), list(facts.get("output") or ())
        key = wildcards.get("bake", "")
        self._known[facts["jobid"]] = RunningJob(
            facts["jobid"],
            stage,
            wildcards.get("sweep") or self.name_of(stage, key),
            Path(log[0]) if log else None,
            Path(output[0]) if output else None,
            time.time(),
        )

    def finish(self, number: int) -> RunningJob | None:
        """The job has ended well."""
        if (job := self._end(number)) is not None:
            self.done += 1
            self.finished.append(job)
        return job

    def fail(self, number: int) -> RunningJob | None:
        """The job has ended badly."""
        if (job := self._end(number)) is not None:
            self.failed += 1
        return job

    def _end(self, number: int) -> RunningJob | None:
        job = self._known.pop(number, None)
        return job if job is not None and job.log is not None else None
