"""A sweep on a real Slurm cluster of two nodes, both on this machine, one of which dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest
from tiny_base import tiny_sd1
from tiny_tagger import tiny_tagger

from tests.workflow import test_workflow as little_world

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("slurmctld", "slurmd", "sbatch", "squeue") if not shutil.which(name)]
if find_spec("snakemake_executor_plugin_slurm") is None:
    MISSING.append("snakemake-executor-plugin-slurm")

ETC = Path("/etc/slurm")
"""Where the jobs' own srun looks: the engine gives them no other place."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="Slurm's daemons of this test need root"),
    pytest.mark.skipif((ETC / "slurm.conf").exists(), reason=f"{ETC} has a cluster of its own"),
    pytest.mark.timeout(5400),
]

CONFIG = """\
ClusterName=bakery
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/{auth}
CredType=cred/{auth}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
ReturnToService=2
GresTypes=gpu
SlurmdTimeout=15
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(there: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.5)


def kill(files: list[Path]) -> None:
    for file in files:
        if file.exists():
            pid = int(file.read_text())
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster: its configuration and logs."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    # packages without `none` need munge's daemon, which their installation starts
    plugins = list(Path("/usr/lib").glob("*/slurm*/auth_none.so"))
    auth = "none" if plugins else "munge"
    text = CONFIG.format(host=socket.gethostname(), ports=free_ports(3), auth=auth, folder=folder)
    gpus = (f"NodeName=n{number} Name=gpu File=/dev/null\n" for number in (1, 2))
    ETC.mkdir(exist_ok=True)
    try:
        with (ETC / "slurm.conf").open("x") as file:
            file.write(text)
    except FileExistsError:  # another suite was first
        pytest.skip(f"{ETC} has a cluster of its own")
    (ETC / "gres.conf").write_text("".join(gpus))
    try:
        subprocess.run(["slurmctld"], check=True)
        for node in ("n1", "n2"):
            subprocess.run(["slurmd", "-N", node], check=True)
        until(lambda: asked("sinfo", "-h", "-o", "%T").split() == ["idle"], 300)
        yield folder
        asked("scancel", "-u", "root")
    finally:
        kill([folder / name for name in ("slurmctld.pid", "n1.pid", "n2.pid")])
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink()


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def bake(workdir: Path, *arguments: str) -> subprocess.Popen[str]:
    threads = [f"{stage}=1" for stage in ("train", "sample", "score", "tag")]
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile",
         "--directory", workdir, "--configfile", workdir / "config.yaml",
         "--workflow-profile", ROOT / "profiles/default", "--set-threads", *threads, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(workdir.parent)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def on_the_cluster(workdir: Path) -> subprocess.Popen[str]:
    return bake(
        workdir, "--profile", str(ROOT / "profiles/slurm"),
        "--resources", "gpu=2", "turn=1", "--latency-wait", "10", "--slurm-no-account",
        "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
        "--seconds-between-status-checks", "2",
    )  # fmt: skip


def hashes(workdir: Path) -> dict[str, list[str]]:
    tables = sorted((workdir / "results/train").glob("*/epochs.csv"))
    return {table.parent.name: list(pd.read_csv(table)["sshs_model_hash"]) for table in tables}


def end_node(cluster: Path, node: str) -> None:
    """Power off: its daemon and all that runs on it end at once."""
    kill([cluster / f"{node}.pid"])
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURMD_NODENAME") == node:
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def test_a_sweep_over_two_nodes_of_which_one_dies_is_the_local_one(
    cluster: Path, tmp_path: Path
) -> None:
    models = tmp_path / "made"
    tiny_sd1(models / "base")
    tiny_tagger(models / "tagger", little_world.TAGS)
    raw = little_world.little()
    raw["train"]["num_epochs"] = 12
    raw["layout"]["repeats"] = 25  # so long that a node can die in the middle
    raw["sweeps"]["unet_lr"]["grid"]["train.unet_lr"] = [1e-3, 2e-3, 5e-3, 1e-2]
    workdirs = [tmp_path / "local", tmp_path / "cluster"]
    for workdir in workdirs:
        workdir.mkdir()
        little_world.furnish(workdir, models)
        little_world.write_config(workdir, raw)
    local, remote = workdirs

    run = on_the_cluster(remote)
    trained = remote / "results/train"

    def both_train() -> bool:
        """A job for each share is at work, and one has saved epochs."""
        queue = asked("squeue", "-h", "-o", "%N %T").splitlines()
        saved = len(list(trained.glob("*-lr0.002-*/*.safetensors")))
        return sorted(filter(None, queue)) == ["n1 RUNNING", "n2 RUNNING"] and saved >= 2

    until(both_train, 900)
    end_node(cluster, "n2")
    before = {name: len(found) for name, found in hashes(remote).items()}
    assert min(before.values()) < 12, "it died too late to show anything"
    said, _ = run.communicate(timeout=1800)
    assert run.returncode == 0, said

    alone = bake(local, "--cores", "2", "--resources", "gpu=2")
    said, _ = alone.communicate(timeout=1800)
    assert alone.returncode == 0, said
    assert len(hashes(local)) == 4
    assert hashes(remote) == hashes(local)
