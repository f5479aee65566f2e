"""What jobs note of their time and memory."""

from __future__ import annotations

import os
import time
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


@pytest.mark.parametrize("error", [None, BakeryError("no"), ValueError("bug"), KeyboardInterrupt()])
def test_a_job_notes_its_time_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs/score").mkdir(parents=True)
    about = {"stage": "score", "settings": {}}
    params = SimpleNamespace(node=about)
    snakemake = SimpleNamespace(
        params=params, log=["logs/score/a.log"], output=["results/score/a/manifest.json"],
        threads=1, input=SimpleNamespace(),
    )  # fmt: skip
    streams = [os.dup(number) for number in (1, 2)]
    try:
        with Job(snakemake):
            if error is not None:
                raise error
    except (SystemExit, KeyboardInterrupt):
        pass
    finally:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
    (attempt,) = job_times.read(Path("logs/score/a.log"))
    assert attempt.done == (error is None)
