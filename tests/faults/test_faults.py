"""The short form: a bake that is hit twice, each fault by itself, and that the harness sees faults."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bakery.console.board import RunningJob
from bakery.settings import config
from tests.faults import chain, cpu_time, disks, kills, powercut

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(program: str, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """A program with the library at hand; what it says can be read."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{program}",
         *map(str, arguments)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3])
def test_a_bake_that_is_hit_goes_on_to_the_same_bytes(tmp_path: Path, seed: int) -> None:
    teller = kills.Teller(tmp_path, ("power cut", "engine killed"), until="layout")
    story = teller.tell(seed, blows=2)
    assert len(story.blows) == 2
    assert story.wrong == []


WRITE = """
import os
from pathlib import Path
from bakery.io import files
for number in range(40):
    files.write_text(Path(sys.argv[1], f"lasting-{number}"), "text")
for number in range(40):
    plain = Path(sys.argv[1], f"plain-{number}")
    plain.with_suffix(".part").write_text("text")
    os.replace(plain.with_suffix(".part"), plain)
"""


def test_a_power_cut_spares_what_was_synced_and_nothing_else(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    recorder = powercut.Recorder(disk)
    writer = run(WRITE, disk, **recorder.environment())
    assert writer.wait(300) == 0  # its 80 syncs take as long as the disk is busy
    writer.stdout.close()
    done = recorder.cut(random.Random(0))
    assert all((disk / f"lasting-{n}").read_text() == "text" for n in range(40))
    intact = [n for n in range(40) if _text(disk / f"plain-{n}") == "text"]
    assert len(intact) < 20
    assert set(done) >= {"content emptied", "content cut short", "lost", "new name lost"}


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


BEGIN = """
from pathlib import Path
from bakery.console import one_run
from bakery.io.errors import BakeryError
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
one_run.forget_the_dead(folder)
try:
    one_run.begin(folder)
except BakeryError as error:
    print("refused:", error, flush=True)
else:
    print("runs", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_of_twenty_simultaneous_starts_exactly_one_runs(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.input.lock").write_text("of a dead run")
    starts = [run(BEGIN, tmp_path) for _ in range(20)]
    try:
        assert {start.stdout.readline() for start in starts} == {"ready\n"}
        for start in starts:
            start.stdin.write("go\n")
            start.stdin.flush()
        said = [start.stdout.readline() for start in starts]
    finally:
        for start in starts:
            start.kill()
            start.communicate()
    assert said.count("runs\n") == 1
    refused = [line for line in said if line != "runs\n"]
    assert all("refused: another run is at work in this folder" in line for line in refused)


WORK = """
import resource
from pathlib import Path
from types import SimpleNamespace
from bakery.io import files
from bakery.jobs.job import LoggedJob
folder = Path(sys.argv[1])
job = LoggedJob(SimpleNamespace(log=[str(folder / "tag.log")]), "tag")
with job:
    {fault}
"""
FULL = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**4, 10**4))
    files.write_text(folder / "tags.csv", "1" * 10**6)
"""
MEMORY = """
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    bytearray(2**33)
"""


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (FULL, "tags.csv could not be written: it is larger than files may be here"),
        (MEMORY, "the memory is used up (MemoryError) while results/tag was made"),
    ],
)
def test_a_job_that_cannot_go_on_says_so_in_one_sentence(
    tmp_path: Path, fault: str, sentence: str
) -> None:
    job = run(WORK.format(fault=fault), tmp_path)
    assert job.wait(60) == 1
    job.communicate()
    log = (tmp_path / "tag.log").read_text("utf-8")
    assert sentence in log
    assert "run the same command again to go on" in log
    assert "Traceback" not in log
    assert [path.name for path in tmp_path.iterdir()] == ["tag.log"]


def test_a_job_that_was_killed_is_held_for_one_without_memory(tmp_path: Path) -> None:
    job = RunningJob(1, "train", "mirael", tmp_path / "train.log", tmp_path / "manifest.json")
    said = job.silence()
    assert "killed, or out of memory?" in said
    assert "run the same command again" in said
    assert str(tmp_path / "train.log") in said


@dataclass
class Clock:
    """Passes while somebody sleeps, and only then."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_seconds_in_line_for_a_cpu_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(cpu_time, "time", clock)
    monkeypatch.setattr(cpu_time, "queued", lambda processes: {1: clock.now / 2})
    assert not cpu_time.wait_until(lambda: False, 2, list, step=1)
    assert clock.now == 5, "half of them passed in line"
    assert cpu_time.wait_until(lambda: True, 2, list)
    assert clock.now == 5


def test_a_process_stands_in_line_where_others_run() -> None:
    hogs = [run("while True: pass") for _ in range(2 * os.cpu_count())]
    try:
        before, began = cpu_time.Use.of(hogs[0].pid), time.monotonic()
        told = False
        while not told and time.monotonic() - began < 60:
            time.sleep(0.2)
            use = cpu_time.Use.of(hogs[0].pid).since(before)
            passed = time.monotonic() - began
            # the kernel counts a wait when it is over, so what is told may be late
            told = use.queued > 0.1 and 0.6 * passed < use.cpu + use.queued < 1.1 * passed
    finally:
        for hog in hogs:
            hog.kill()
            hog.communicate()
    assert told, f"{use} of {passed:.1f} s"


def test_a_run_hears_signals_also_where_the_trials_do_not(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        waits = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
        run = chain.Run(chain.Bakery(tmp_path), waits, terminal=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert cpu_time.wait_until(lambda: "here" in run.said, 60, run.family)
    run.hang_up()
    assert run.wait(60) == -signal.SIGHUP


def test_every_stage_is_tried_on_a_full_disk() -> None:
    assert tuple(config.STAGES) == disks.STAGES
