"""Doors: what their logs tell of errors."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bakery.jobs import by_hand, job

SCRIPTS = Path(__file__).parents[2] / "scripts"
DOORS = sorted(
    path.stem for path in SCRIPTS.glob("*.py") if "noqa: F821" in path.read_text("utf-8")
)


def test_what_a_log_tells_of_errors(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "train.log")
    handler.setFormatter(logging.Formatter(job.LINE))
    log = logging.Logger("a job's")
    log.addHandler(handler)
    log.info("no ERROR at all")
    log.error("the loss is nan at step 2: lower the learning rates")
    log.warning("two lines\n of which the second is of no interest, either")
    try:
        raise ValueError("a bug")
    except ValueError:
        log.critical("unexpected error", exc_info=True)
    log.info("epoch 2 of 2")
    handler.close()
    first, second = job.errors(tmp_path / "train.log")
    assert first == "the loss is nan at step 2: lower the learning rates"
    assert second.startswith("unexpected error\nTraceback (most recent call last):\n")
    assert second.endswith("ValueError: a bug")


def test_a_log_of_nothing_tells_of_no_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    (tmp_path / "other.log").write_text("what a driver says ERROR before the log begins\n")
    assert job.errors(tmp_path / "empty.log") == job.errors(tmp_path / "other.log") == []


@pytest.mark.parametrize("door", ["train", "prune", "halve"])
def test_a_door_that_is_run_by_hand_says_who_calls_it(door: str) -> None:
    command = [sys.executable, str(SCRIPTS / f"{door}.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (1, "")
    (said,) = ran.stderr.splitlines()
    assert said.startswith(f"scripts/{door}.py is not run by hand: Snakemake calls it")


@pytest.mark.parametrize("door", DOORS)
def test_every_door_is_one_and_a_job_s_copy_of_it_is_none(door: str, tmp_path: Path) -> None:
    file = str(SCRIPTS / f"{door}.py")
    assert "snakemake --cores all" in by_hand.sentence(SimpleNamespace(__file__=file))
    assert by_hand.sentence(SimpleNamespace(__file__=file, snakemake=None)) == ""
    copy = str(tmp_path / f"tmp123.{door}.py")
    assert by_hand.sentence(SimpleNamespace(__file__=copy)) == ""
    assert by_hand.sentence(None) == ""
