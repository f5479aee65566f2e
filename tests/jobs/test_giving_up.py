"""Calls that nothing stops: given up in time, and the process that made them ends well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bakery.jobs import giving_up
from bakery.jobs.job_times import read

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_call_in_time_answers_or_fails_as_if_made_here() -> None:
    assert giving_up.within(30, lambda: "an answer") == "an answer"
    with pytest.raises(ZeroDivisionError):
        giving_up.within(30, lambda: 1 // 0)


def test_a_call_that_is_not_done_is_given_up() -> None:
    done = threading.Event()
    with pytest.raises(giving_up.GivenUp):
        giving_up.within(0.05, done.wait)
    done.set()


JOB = """
import ctypes, os, sys, threading
from contextlib import suppress
from types import SimpleNamespace

from bakery.io import status
from bakery.io.errors import BakeryError
from bakery.jobs import giving_up
from bakery.jobs.job import Job

os.chdir(sys.argv[1])
node = {"stage": "tag", "settings": {}}
job = Job(SimpleNamespace(params=SimpleNamespace(node=node), output=["tag/manifest.json"],
                          log=["tag.log"], threads=1, input={}))
libc = ctypes.CDLL(None)
# C++ aborts likewise when a process ends while its threads work
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
print("the last line, in a buffer", end="")
begun = threading.Event()

def load():
    os.write(1, b"loading\\n")  # past the buffer: the test may stop the job from here on
    begun.set()
    libc.sleep(600)

def give_up():
    try:
        giving_up.within(0.1, load)
    except giving_up.GivenUp:
        begun.wait()  # its thread may come late
        raise

with job:
    status.tell("loading")
    FAULT
"""
FAILS = """try:
        give_up()
    except giving_up.GivenUp:
        raise BakeryError("it is not loaded; take another model")"""
GOES_ON = """with suppress(giving_up.GivenUp):
        give_up()
    job.finish({})"""
WAITS = "giving_up.within(600, load)"


@pytest.mark.parametrize(
    ("course", "ends_with", "said", "log"),
    [
        (FAILS, 1, "\ntag: it is not loaded; take another model\n\n", "take another model"),
        (GOES_ON, 0, "", "tag done: {}"),
        (WAITS, 130, "", "stopped on request"),
    ],
)
def test_a_job_ends_well_while_a_call_that_was_given_up_runs_on(
    tmp_path: Path, course: str, ends_with: int, said: str, log: str
) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", JOB.replace("FAULT", course), tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    loading = job.stdout.readline()
    if course is WAITS:
        job.send_signal(signal.SIGTERM)
    rest, told = job.stdout.read(), job.stderr.read()
    assert (job.wait(60), told) == (ends_with, said)
    assert loading + rest == "loading\nthe last line, in a buffer"
    (last,) = (tmp_path / "tag.log").read_text("utf-8").splitlines()[-1:]
    assert last.endswith(log)
    (attempt,) = read(tmp_path / "tag.log")
    assert attempt.done is (ends_with == 0)
    assert (tmp_path / "tag/manifest.json").is_file() is (ends_with == 0)
    assert (tmp_path / "tag.status.json").is_file() is (ends_with == 130)
