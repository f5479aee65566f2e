"""One run in a folder; a dead one locks nobody out. With real processes, killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bakery.console import one_run
from bakery.io import status
from bakery.io.errors import BakeryError

SCRIPTS = Path(__file__).parents[2] / "scripts"
HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bakery.console import one_run
one_run.begin(Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.input.lock").write_text("results/x\n")
    command = [sys.executable, "-c", HOLD, str(SCRIPTS), str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_told_by_whom(tmp_path, other):
    with pytest.raises(BakeryError, match=rf"another run is at work .*process {other.pid}, since"):
        one_run.begin(tmp_path)


def test_a_living_runs_locks_stay(tmp_path, other):
    assert one_run.forget_the_dead(tmp_path) == 0
    assert (tmp_path / "locks" / "0.input.lock").exists()


def test_locks_of_a_run_that_was_killed_before_it_held_ours_go(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.input.lock").write_text("results/x\n")
    assert one_run.forget_the_dead(tmp_path) == 1


def test_a_killed_runs_locks_go(tmp_path, other):
    other.kill()
    other.wait()
    assert one_run.forget_the_dead(tmp_path) == 1
    one_run.begin(tmp_path)
    while one_run._held:
        one_run._held.pop().close()


def test_a_start_forgets_how_far_the_jobs_of_a_killed_run_were(tmp_path: Path) -> None:
    log = tmp_path / "logs/tag/mirael-1.log"
    log.parent.mkdir(parents=True)
    log.write_text("stays")
    status.beside(log).write_text("{}")  # as after a power cut, which undid its removal
    one_run.tidy(tmp_path / ".snakemake", tmp_path / "results", tmp_path / "logs")
    assert list(log.parent.iterdir()) == [log]
