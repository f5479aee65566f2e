"""Leases: jobs at the same time work on different GPUs, and the GPUs of ended jobs are free.

No GPU is needed: what `CUDA_VISIBLE_DEVICES` names is believed, and nvidia-smi is a script that speaks
as the real one does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakery.io.errors import BakeryError
from bakery.jobs import job as doors
from bakery.jobs import leases

ROOT = Path(__file__).parents[2]
SMI = """#!/bin/sh
echo 'GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)'
echo '  MIG 1g.10gb     Device  0: (UUID: MIG-cccc-3)'
echo 'GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)'
"""
# A job in a process of its own. A line on its stdin lets it take a lease, the next gives it back.
JOB = """
import logging, sys
from bakery.jobs.job import leased_gpu

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
while sys.stdin.readline():
    with leased_gpu():
        sys.stdin.readline()
    print("gave it back", flush=True)
"""
SNAKEFILE = """
rule all:
    input: "a.gpu", "b.gpu"
rule bake:
    output: "{name}.gpu"
    resources: gpu=1
    script: "bake.py"
"""
# Writes down its GPU, and ends when both jobs have done so: then both were at work at once.
BAKE = """
import os, time
from pathlib import Path
from bakery.jobs.job import leased_gpu

with leased_gpu():
    Path(snakemake.output[0]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    until = time.monotonic() + 240
    while len(list(Path().glob("*.gpu"))) < 2:
        assert time.monotonic() < until, "the other job did not start meanwhile"
        time.sleep(0.05)
"""


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a job: locks of the test's own, no nvidia-smi, no GPU named."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    shared = {"PYTHONPATH": str(ROOT / "scripts"), "TMPDIR": str(tmp_path)}
    rest = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    return rest | shared


@pytest.fixture
def start(surroundings: dict[str, str]) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Starts a job that sees these GPUs and has asked for one."""
    jobs = []

    def begin(visible: str) -> subprocess.Popen:
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB],
                env=surroundings | {"CUDA_VISIBLE_DEVICES": visible},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )
        )  # fmt: skip
        tell(jobs[-1])
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def tell(job: subprocess.Popen) -> None:
    job.stdin.write("\n")


def hear(job: subprocess.Popen) -> str:
    return job.stdout.readline().strip()


def with_smi(folder: Path, text: str = SMI) -> None:
    (folder / "nvidia-smi").write_text(text)
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.slow
def test_jobs_at_once_get_different_gpus_and_one_too_many_waits(start) -> None:
    first, second = start("0,1"), start("0,1")
    got = {hear(first), hear(second)}
    assert got == {"working on GPU 0", "working on GPU 1"}
    third = start("0,1")
    assert hear(third) == "waiting for a GPU: all are in use (0, 1)"
    tell(second)
    assert hear(second) == "gave it back"
    assert hear(third) in got


@pytest.mark.slow
def test_a_killed_job_s_gpu_is_free(start) -> None:
    first = start("7")
    assert hear(first) == "working on GPU 7"
    second = start("7")
    assert hear(second) == "waiting for a GPU: all are in use (7)"
    first.kill()
    assert hear(second) == "working on GPU 7"


@pytest.mark.slow
def test_who_comes_again_gets_the_same_gpu_and_waits_for_it(start) -> None:
    """CUDA has started on it: another one would not be seen."""
    first = start("0,1")
    assert hear(first) == "working on GPU 0"
    tell(first)
    assert hear(first) == "gave it back"
    second = start("0,1")
    assert hear(second) == "working on GPU 0"
    tell(first)
    assert hear(first) == "waiting for a GPU: all are in use (0)"
    tell(second)
    assert hear(first) == "working on GPU 0"


@pytest.mark.slow
def test_one_gpu_under_two_names_is_one(start, tmp_path: Path) -> None:
    with_smi(tmp_path / "bin")
    first = start("GPU-bbbb-2")
    assert hear(first) == "working on GPU GPU-bbbb-2"
    second = start("1,0")
    assert hear(second) == "working on GPU 0", "number 1 is the one that is taken"
    tell(second)
    third = start("1")
    assert hear(third) == "waiting for a GPU: all are in use (1)"


def test_without_a_gpu_nothing_happens(surroundings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with doors.leased_gpu():
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [("GPU-aaaa-1", "GPU-aaaa-1"), ("GPU-bbbb-2", "GPU-bbbb-2")]),
        ("1, 0", [("1", "GPU-bbbb-2"), ("0", "GPU-aaaa-1")]),
        ("GPU-bb", [("GPU-bb", "GPU-bbbb-2")]),
        ("GPU-", [("GPU-", "GPU-")]),
        ("0,-1,1", [("0", "GPU-aaaa-1")]),
        ("5", [("5", "5")]),
        ("MIG-GPU-cccc/1/0", [("MIG-GPU-cccc/1/0", "MIG-GPU-cccc_1_0")]),
        ("", []),
        ("-1", []),
    ],
)
def test_which_gpus_a_job_may_use(surroundings, tmp_path: Path, visible, expected) -> None:
    with_smi(tmp_path / "bin")
    assert [(gpu.visible, gpu.name) for gpu in leases.gpus(visible)] == expected


@pytest.mark.parametrize(
    ("visible", "cores", "rocm", "jobs"),
    [
        (None, 8, False, 2),
        ("0", 8, False, 1),
        ("0,1,2", 2, False, 3),
        ("", 8, False, 2),
        ("", 1, False, 1),
        ("", 8, True, 1),
        ("0,1", 8, True, 2),  # NVIDIA's, on a processor with AMD's graphics
        ("0,1", None, False, 1),
    ],
)
def test_how_many_jobs_work_at_once(
    surroundings, tmp_path: Path, monkeypatch, visible, cores, rocm, jobs
) -> None:
    with_smi(tmp_path / "bin")
    if rocm:
        (tmp_path / "kfd").touch()
    monkeypatch.setattr(leases, "_ROCM", tmp_path / "kfd")
    assert leases.jobs_at_once(visible, cores) == jobs


def test_a_driver_that_does_not_answer_is_no_gpu(surroundings, tmp_path: Path) -> None:
    with_smi(tmp_path / "bin", SMI + "exit 9\n")
    assert leases.gpus(None) == []


def test_locks_in_another_user_s_folder_are_refused(tmp_path: Path, monkeypatch) -> None:
    stranger = tmp_path.stat().st_uid + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    with (
        pytest.raises(BakeryError, match="belongs to another user: remove it, or set TMPDIR"),
        leases.lease([leases.Gpu("0", "0")], tmp_path),
    ):
        pytest.fail("a lease was given")


@pytest.mark.slow
def test_two_jobs_of_one_snakemake_work_on_different_gpus(surroundings, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "bake.py").write_text(BAKE)
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--resources", "gpu=2"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        env=surroundings | {"CUDA_VISIBLE_DEVICES": "0,1", "PATH": os.defpath},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert {(tmp_path / f"{name}.gpu").read_text() for name in "ab"} == {"0", "1"}


def test_every_stage_whose_rule_asks_for_a_gpu_leases_one() -> None:
    rules = {path.stem: path.read_text("utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")}
    asking = {stage for stage, text in rules.items() if re.search(r"\bgpu=1\b", text)}
    leasing = {
        path.stem for path in (ROOT / "scripts").glob("*.py") if "leased_gpu()" in path.read_text()
    }
    assert asking == leasing >= {"tag", "train", "sample", "score"}
