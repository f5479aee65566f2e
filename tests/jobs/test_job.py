"""Doors: what their logs tell of errors."""

from __future__ import annotations

import logging
from pathlib import Path

from bakery.jobs import job


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
