"""Claims: every bake of a sweep is trained once, however its jobs start, die and overlap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.io.errors import BakeryError
from bakery.jobs import claims

# A job in a process of its own: "trains" by writing down what it claimed, and is done when it may be.
JOB = """
import sys, time
from pathlib import Path
from bakery.jobs import claims

own, workers, may_end, *group = sys.argv[1:]

def train(folders):
    for folder in folders:
        with (folder / "trained").open("a") as log:
            log.write(Path(own).name + " ")
    while not Path(may_end).exists():
        time.sleep(0.02)
    for folder in folders:
        claims.finish(folder, {"by": Path(own).name})

group = [Path(folder) for folder in group]
summary = claims.ensure_finished(Path(own), claims.deal(group, int(workers), 8), work=train)
print(summary["by"])
"""
NEVER = Path("there is no such file")


@pytest.fixture
def bakes(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    return folders


def start(
    own: Path, bakes: list[Path], workers: int = 1, may_end: Path | None = None
) -> subprocess.Popen:
    """Its work ends when there is the file `may_end`; without one, at once."""
    given = (own, workers, may_end or own, *bakes)
    return subprocess.Popen(
        [sys.executable, "-c", JOB, *map(str, given)],
        env={**os.environ, "PYTHONPATH": str(Path(claims.__file__).parents[2])},
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


@given(count=st.integers(1, 40), workers=st.integers(1, 9), most=st.integers(1, 9))
def test_shares_are_even_and_as_few_as_can_be(count: int, workers: int, most: int) -> None:
    group = [Path(str(number)) for number in range(count)]
    shares = claims.deal(group, workers, most)
    sizes = [len(share) for share in shares]
    assert sorted(bake for share in shares for bake in share) == sorted(group)
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(shares) == count or len(shares) % workers == 0  # as many for each worker
    fewer = len(shares) - workers
    assert fewer <= 0 or fewer * most < count


def test_one_more_value_leaves_the_shares_of_the_others_alone() -> None:
    group = [Path(name) for name in "abcdef"]
    for before, after in zip(claims.deal(group[:-1], 2, 8), claims.deal(group, 2, 8), strict=True):
        assert after[: len(before)] == before


def test_the_first_job_bakes_the_whole_sweep_and_the_others_find_it_done(bakes) -> None:
    log: list[list[str]] = []
    for own in bakes:
        summary = claims.ensure_finished(
            own, claims.deal(bakes, 1, 8), work=train_as(own.name, log)
        )
        assert summary == {"by": "a"}
    assert log == [["a", "b", "c", "d"]]


@pytest.mark.parametrize("order", ["abcd", "acbd", "dcba", "bdac"])
def test_with_two_workers_each_takes_half_whichever_is_first(bakes, order) -> None:
    log: list[list[str]] = []
    for name in order:
        own = bakes["abcd".index(name)]
        claims.ensure_finished(own, claims.deal(bakes, 2, 8), work=train_as(own.name, log))
    assert sorted(log) == [["a", "c"], ["b", "d"]]


def test_jobs_at_the_same_time_bake_everything_once_and_in_the_same_group(bakes) -> None:
    both = bakes[0].parent / "both shares are claimed"
    jobs = [start(own, bakes, workers=2, may_end=both) for own in reversed(bakes)]
    wait_until(lambda: all((bake / "trained").exists() for bake in bakes))
    both.touch()
    assert [job.wait(60) for job in jobs] == [0, 0, 0, 0]
    a, b, c, d = trained(bakes)
    assert all(len(names.split()) == 1 for names in (a, b, c, d))
    assert a == c != b == d


@pytest.mark.slow
def test_a_job_whose_bake_another_has_helps_first_and_then_waits(bakes) -> None:
    helped = bakes[3] / claims.FINISHED
    first = start(bakes[0], bakes, workers=2, may_end=helped)
    wait_until((bakes[2] / "trained").exists)
    second = start(bakes[2], bakes, workers=2)  # the first has it: it takes the other share
    assert second.wait(60) == 0
    assert first.wait(60) == 0
    assert second.stdout.read().strip() == "a"
    assert trained(bakes) == ["a", "c", "a", "c"]


def test_what_is_not_ready_is_left_to_its_own_job(bakes) -> None:
    log: list[list[str]] = []
    late = bakes[2]
    claims.ensure_finished(
        bakes[0], claims.deal(bakes, 1, 8), work=train_as("a", log), ready=lambda b: b != late
    )
    claims.ensure_finished(late, claims.deal(bakes, 1, 8), work=train_as("c", log))
    assert log == [["a", "b", "d"], ["c"]]


def test_a_job_s_own_bake_is_ready_whatever_is_said_of_it(bakes) -> None:
    """Otherwise it would neither work nor wait, but ask without end."""
    log: list[list[str]] = []
    claims.ensure_finished(
        bakes[0], claims.deal(bakes, 1, 8), work=train_as("a", log), ready=lambda bake: False
    )
    assert log == [["a"]]


def test_what_is_free_of_a_share_is_not_held_up_by_the_rest_of_it(bakes) -> None:
    first = start(bakes[0], bakes[:2], may_end=NEVER)
    wait_until((bakes[1] / "trained").exists)
    log: list[list[str]] = []
    claims.ensure_finished(bakes[2], claims.deal(bakes, 1, 8), work=train_as("c", log))
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert log == [["c", "d"]]


def test_a_bake_belongs_to_its_own_group(bakes) -> None:
    with pytest.raises(ValueError, match="not in its own group"):
        claims.ensure_finished(bakes[0], claims.deal(bakes[1:], 1, 8), work=lambda folders: None)


def test_a_killed_job_s_claims_are_free_again(bakes) -> None:
    first = start(bakes[0], bakes, may_end=NEVER)
    wait_until((bakes[3] / "trained").exists)
    first.send_signal(signal.SIGKILL)
    first.wait()
    log: list[list[str]] = []
    claims.ensure_finished(bakes[1], claims.deal(bakes, 1, 8), work=train_as("b", log))
    assert log == [["a", "b", "c", "d"]]


def test_a_failed_bake_is_reported_once_by_its_own_job_and_not_trained_again(bakes) -> None:
    claims.fail(bakes[1], "the loss is nan at step 3")
    log: list[list[str]] = []
    claims.ensure_finished(bakes[0], claims.deal(bakes, 1, 8), work=train_as("a", log))
    assert log == [["a", "c", "d"]]
    with pytest.raises(BakeryError, match="the loss is nan at step 3"):
        claims.ensure_finished(bakes[1], claims.deal(bakes, 1, 8), work=train_as("b", log))
    # asked again: tried again
    claims.ensure_finished(bakes[1], claims.deal(bakes, 1, 8), work=train_as("b", log))
    assert log[-1] == ["b"]
    assert not (bakes[1] / claims.FAILURE).exists()


def test_a_failed_bake_that_was_reported_is_not_for_helpers_to_try_again(bakes) -> None:
    claims.fail(bakes[2], "the loss is nan at step 3")
    with pytest.raises(BakeryError, match="nan"):
        claims.ensure_finished(bakes[2], claims.deal(bakes, 2, 8), work=lambda folders: 1 / 0)
    first = start(bakes[3], bakes, workers=2, may_end=NEVER)
    wait_until((bakes[1] / "trained").exists)
    log: list[list[str]] = []
    second = start(
        bakes[1], bakes, workers=2
    )  # the first has it: it takes what the other share has
    wait_until((bakes[0] / "trained").exists)
    first.kill()
    first.wait()
    assert second.wait(60) == 0
    assert trained([bakes[0]]) == ["b"]
    assert not (bakes[2] / "trained").exists()
    # who asks for it again has it alone, whether or not others of its share are open by then
    (bakes[0] / claims.FINISHED).unlink()
    claims.ensure_finished(bakes[2], claims.deal(bakes, 2, 8), work=train_as("c", log))
    claims.ensure_finished(bakes[0], claims.deal(bakes, 2, 8), work=train_as("a", log))
    assert log == [["c"], ["a"]]


def test_a_bake_that_fails_again_is_reported_again(bakes) -> None:
    def fail(folders: list[Path]) -> None:
        log.append([folder.name for folder in folders])
        claims.fail(folders[0], f"failed {len(log)} times")

    log: list[list[str]] = []
    for times in (1, 2):
        with pytest.raises(BakeryError, match=f"failed {times} times"):
            claims.ensure_finished(bakes[0], claims.deal(bakes[:1], 1, 8), work=fail)
    assert log == [["a"], ["a"]]


def test_a_finished_bake_needs_no_folder_but_its_own(bakes) -> None:
    claims.finish(bakes[0], {"steps": 3})
    summary = claims.ensure_finished(bakes[0], claims.deal(bakes, 1, 8), work=lambda folders: 1 / 0)
    assert summary == {"steps": 3}


def test_no_more_at_once_than_asked(bakes) -> None:
    log: list[list[str]] = []
    for own in bakes:
        claims.ensure_finished(own, claims.deal(bakes, 1, 3), work=train_as(own.name, log))
    assert log == [["a", "c"], ["b", "d"]]


def test_who_removes_a_file_wants_it_again(bakes) -> None:
    (bakes[0] / "a.safetensors").write_text("weights")
    claims.finish(bakes[0], {"steps": 3}, ["a.safetensors"])
    assert claims.finished(bakes[0]) == {"steps": 3}
    (bakes[0] / "a.safetensors").unlink()
    assert claims.finished(bakes[0]) is None


def test_a_record_that_is_not_json_counts_as_unfinished(bakes) -> None:
    (bakes[0] / claims.FINISHED).write_text("{")
    log: list[list[str]] = []
    claims.ensure_finished(bakes[0], claims.deal(bakes[:1], 1, 8), work=train_as("a", log))
    assert log == [["a"]]


def test_what_the_workflow_deletes_is_put_back(bakes) -> None:
    grid = bakes[0] / "grid.png"
    claims.kept(grid).write_text("a grid")
    claims.finish(bakes[0], {"images": 3}, declared=["grid.png"])
    for _ in range(2):  # each time that its own job starts
        grid.unlink(missing_ok=True)
        claims.ensure_finished(bakes[0], claims.deal(bakes[:1], 1, 1), work=lambda folders: 1 / 0)
        assert grid.read_text() == "a grid"
    claims.kept(grid).unlink()
    assert claims.finished(bakes[0]) is None


@pytest.mark.parametrize("what", ["m.safetensors", "grid.png.state", "finished.json"])
def test_a_finished_bake_that_was_altered_is_made_again_with_a_word(
    bakes: list[Path], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = bakes[0]
    made = []

    def work(folders: list[Path]) -> None:
        for folder in folders:
            made.append(folder)
            (folder / "m.safetensors").write_bytes(b"lora")
            claims.kept(folder / "grid.png").write_bytes(b"grid")
            claims.finish(folder, {"loss": 0.25}, ["m.safetensors"], ["grid.png"])

    for _ in range(2):
        assert claims.ensure_finished(own, [[own]], work=work) == {"loss": 0.25}
    assert made == [own], "a whole one is not made again"
    content = (own / what).read_bytes()
    (own / what).write_bytes(content.replace(b"5", b"6").replace(b"o", b"p").replace(b"g", b"h"))
    assert claims.ensure_finished(own, [[own]], work=work) == {"loss": 0.25}
    assert made == [own, own]
    assert f"{own / what} is not as it was made" in caplog.text
    assert (own / what).read_bytes() == content
    assert (own / "grid.png").read_bytes() == b"grid"


def test_what_another_process_works_on_is_not_judged(bakes: list[Path]) -> None:
    own = bakes[0]
    (own / "m.safetensors").write_bytes(b"lora")
    claims.finish(own, {}, ["m.safetensors"])
    (own / "m.safetensors").write_bytes(b"half a lora")
    code = (
        "import sys\nfrom pathlib import Path\nfrom bakery.jobs import claims\n"
        "claims.forget_damaged(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(claims.__file__).parents[2])}
    command = [sys.executable, "-c", code, str(own)]
    with claims.try_lock(own) as mine:
        assert mine
        subprocess.run(command, check=True, env=environment)
        assert (own / claims.FINISHED).exists()
    subprocess.run(command, check=True, env=environment)
    assert not (own / claims.FINISHED).exists()
