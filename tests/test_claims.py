"""Claims: every bake of a sweep is trained once, however its jobs start, die and overlap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bakery import claims
from bakery.errors import BakeryError

# A job in a process of its own: "trains" by writing down what it claimed, slowly if asked.
JOB = """
import sys, time
from pathlib import Path
from bakery import claims

own, workers, seconds, *siblings = sys.argv[1:]

def train(folders):
    for folder in folders:
        with (folder / "trained").open("a") as log:
            log.write(Path(own).name + " ")
    time.sleep(float(seconds))
    for folder in folders:
        claims.finish(folder, {"by": Path(own).name})

siblings = [Path(folder) for folder in siblings]
summary = claims.settle(Path(own), siblings, workers=int(workers), most=8, work=train)
print(summary["by"])
"""


@pytest.fixture
def bakes(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    return folders


def start(own: Path, bakes: list[Path], workers: int = 1, seconds: float = 0.0) -> subprocess.Popen:
    siblings = [str(folder) for folder in bakes if folder != own]
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(own), str(workers), str(seconds), *siblings],
        env={**os.environ, "PYTHONPATH": str(Path(claims.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def trained(bakes: list[Path]) -> list[str]:
    return [(folder / "trained").read_text().strip() for folder in bakes]


def train_as(name: str, log: list[list[str]]):
    def train(folders: list[Path]) -> None:
        log.append([folder.name for folder in folders])
        for folder in folders:
            claims.finish(folder, {"by": name})

    return train


def test_the_first_job_bakes_the_whole_sweep_and_the_others_find_it_done(bakes) -> None:
    log: list[list[str]] = []
    for own in bakes:
        siblings = [b for b in bakes if b != own]
        summary = claims.settle(own, siblings, workers=1, most=8, work=train_as(own.name, log))
        assert summary == {"by": "a"}
    assert log == [["a", "b", "c", "d"]]


def test_with_two_workers_each_takes_half(bakes) -> None:
    log: list[list[str]] = []
    for own in (bakes[0], bakes[2]):
        siblings = [b for b in bakes if b != own]
        claims.settle(own, siblings, workers=2, most=8, work=train_as(own.name, log))
    assert log == [["a", "b"], ["c"]]


def test_jobs_at_the_same_time_bake_everything_once(bakes) -> None:
    jobs = [start(own, bakes, workers=2, seconds=0.3) for own in bakes]
    assert [job.wait(60) for job in jobs] == [0, 0, 0, 0]
    assert all(len(names.split()) == 1 for names in trained(bakes))


def test_a_job_whose_bake_another_has_helps_first_and_then_waits(bakes) -> None:
    first = start(bakes[0], bakes[:2], seconds=2)
    wait_until((bakes[1] / "trained").exists)
    second = start(bakes[1], bakes)  # its own is being baked by the first: it takes c and d
    assert second.wait(60) == 0
    assert first.wait(60) == 0
    assert second.stdout.read().strip() == "a"
    assert trained(bakes) == ["a", "a", "b", "b"]


def test_a_killed_job_s_claims_are_free_again(bakes) -> None:
    first = start(bakes[0], bakes, seconds=600)
    wait_until((bakes[3] / "trained").exists)
    first.send_signal(signal.SIGKILL)
    first.wait()
    log: list[list[str]] = []
    claims.settle(bakes[1], [bakes[0], *bakes[2:]], workers=1, most=8, work=train_as("b", log))
    assert log == [["b", "a", "c", "d"]]


def test_a_failed_sibling_is_reported_once_by_its_own_job_and_not_trained_again(bakes) -> None:
    claims.fail(bakes[1], "the loss is nan at step 3")
    log: list[list[str]] = []
    claims.settle(bakes[0], bakes[1:], workers=1, most=8, work=train_as("a", log))
    assert log == [["a", "c", "d"]]
    with pytest.raises(BakeryError, match="the loss is nan at step 3"):
        claims.settle(bakes[1], [], workers=1, most=8, work=train_as("b", log))
    claims.settle(
        bakes[1], [], workers=1, most=8, work=train_as("b", log)
    )  # asked again: tried again
    assert log[-1] == ["b"]


def test_a_finished_bake_needs_no_folder_but_its_own(bakes) -> None:
    claims.finish(bakes[0], {"steps": 3})
    assert claims.settle(bakes[0], [], workers=1, most=8, work=lambda folders: 1 / 0) == {
        "steps": 3
    }


def test_no_more_at_once_than_asked(bakes) -> None:
    log: list[list[str]] = []
    for own in bakes:
        siblings = [b for b in bakes if b != own]
        claims.settle(own, siblings, workers=1, most=3, work=train_as(own.name, log))
    assert log == [["a", "b", "c"], ["d"]]


def test_who_removes_a_file_wants_it_again(bakes) -> None:
    (bakes[0] / "a.safetensors").write_text("weights")
    claims.finish(bakes[0], {"steps": 3}, ["a.safetensors"])
    assert claims.finished(bakes[0]) == {"steps": 3}
    (bakes[0] / "a.safetensors").unlink()
    assert claims.finished(bakes[0]) is None


def test_a_record_that_is_not_json_counts_as_unfinished(bakes) -> None:
    (bakes[0] / claims.FINISHED).write_text("{")
    log: list[list[str]] = []
    claims.settle(bakes[0], [], workers=1, most=8, work=train_as("a", log))
    assert log == [["a"]]


def test_what_the_workflow_deletes_is_put_back(bakes) -> None:
    grid = bakes[0] / "grid.png"
    claims.kept(grid).write_text("a grid")
    claims.finish(bakes[0], {"images": 3}, declared=["grid.png"])
    for _ in range(2):  # each time that its own job starts
        grid.unlink(missing_ok=True)
        claims.settle(bakes[0], [], workers=1, most=1, work=lambda folders: 1 / 0)
        assert grid.read_text() == "a grid"
    claims.kept(grid).unlink()
    assert claims.finished(bakes[0]) is None
