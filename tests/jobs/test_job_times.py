"""What jobs note of their time and memory."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from bakery.io.errors import BakeryError
from bakery.jobs import job_times
from bakery.jobs.job import Job
from bakery.jobs.job_times import Attempt


def test_what_ran_at_the_same_time_counts_once() -> None:
    times = [(0, 10), (5, 12), (6, 7), (20, 21.5)]
    assert job_times.worked(Attempt(a, b, 0) for a, b in reversed(times)) == 13.5
    assert job_times.worked([]) == 0


def test_every_attempt_is_noted_until_it_is_made_anew(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for done in (False, True):
        job_times.begin(log)
        job_times.note(log, done=done)
    first, second = job_times.read(log)
    assert (first.done, second.done) == (False, True)
    assert first.began <= first.ended <= time.time() + 0.01
    assert 1e6 < second.memory < 1e12
    job_times.begin(log)
    assert job_times.read(log) == []


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    job_times.note(log, done=True)
    with job_times.beside(log).open("a") as file:
        file.write('{"began": 3\n{"other": 1}\n')
    assert len(job_times.read(log)) == 1


@pytest.fixture
def lent_process() -> Iterator[None]:
    """Puts back what a job takes of its process: the log, the signals and the streams."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    signals = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1)}
    streams = {number: os.dup(number) for number in (1, 2)}
    yield
    for number, stream in streams.items():
        os.dup2(stream, number)
        os.close(stream)
    for one, handler in signals.items():
        signal.signal(one, handler)
    for file in set(root.handlers) - set(handlers):
        file.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.parametrize("error", [None, BakeryError("no"), ValueError("bug"), KeyboardInterrupt()])
def test_a_job_notes_its_time_however_it_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lent_process: None,
    error: BaseException | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs/score").mkdir(parents=True)
    about = {"stage": "score", "settings": {}}
    params = SimpleNamespace(node=about)
    snakemake = SimpleNamespace(
        params=params, log=["logs/score/a.log"], output=["results/score/a/manifest.json"],
        threads=1, input=SimpleNamespace(),
    )  # fmt: skip
    with suppress(SystemExit, KeyboardInterrupt), Job(snakemake):
        if error is not None:
            raise error
    (attempt,) = job_times.read(Path("logs/score/a.log"))
    assert attempt.done == (error is None)
