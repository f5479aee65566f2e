"""Leases: each GPU of a machine is used by one job at a time.

Snakemake counts GPUs but assigns none: two jobs under `gpu=2` would both take the first. So a job takes
a lease, which is a lock on a file for each GPU, and then sees only that GPU (`CUDA_VISIBLE_DEVICES`).
If all are in use it waits. A lease ends with the process that holds it, however that ends.

GPUs are listed by nvidia-smi, which comes with the driver and does not start CUDA; importing torch
would take seconds, and not every stage has torch. A GPU is locked under its UUID: if a scheduler
shows each of its jobs one GPU as number 0, these are different files. Without an NVIDIA GPU there is
nothing to lease.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bakery.io import devices
from bakery.io.errors import BakeryError

log = logging.getLogger(__name__)

AT_ONCE = "BAKERY_JOBS_AT_ONCE"
"""In a job's environment: how many jobs run torch at the same time, on all machines together."""

_UUID = re.compile(r"^GPU \d+:.*\(UUID: (GPU-[^)]+)\)", re.MULTILINE)
_HIDES_THE_REST = re.compile(r"-\d+")
_NAMELESS = re.compile(r"[^0-9A-Za-z.-]")
_ROCM = Path("/dev/kfd")
"""Exists if there is an AMD driver; its GPUs are not distinguished."""
_PATIENCE = 0.5  # seconds between two looks at GPUs that are all taken


@dataclass(frozen=True)
class Gpu:
    """A GPU that a job may use."""

    visible: str
    """What `CUDA_VISIBLE_DEVICES` calls it."""
    name: str
    """Name of its lock: its UUID if nvidia-smi lists it."""


def gpus(visible: str | None) -> list[Gpu]:
    """The GPUs of this machine, or those among them that `CUDA_VISIBLE_DEVICES` names.

    Entries there are trusted even if nvidia-smi does not list them. As in CUDA, everything after a
    negative number is ignored.
    """
    uuids = _listed()
    if visible is None:
        return [Gpu(uuid, uuid) for uuid in uuids]
    found = []
    for entry in filter(None, (part.strip() for part in visible.split(","))):
        if _HIDES_THE_REST.fullmatch(entry):
            break
        found.append(Gpu(entry, _NAMELESS.sub("_", _uuid(entry, uuids))))
    return found


def has_gpu(visible: str | None) -> bool:
    """Whether there is a GPU that torch may use; `visible` is `CUDA_VISIBLE_DEVICES`."""
    return bool(gpus(visible)) or _ROCM.exists() or devices.is_apple_silicon()


def jobs_at_once(visible: str | None, cores: int | None) -> int:
    """How many jobs should run torch on this machine at the same time.

    One for each GPU, also a Mac's: two torch processes on one are slower than one, and need twice the
    memory. On a CPU two, since small models leave cores idle. `cores` is None if jobs run on a cluster:
    there one job at a time, unless configured otherwise, as it is not known what they would share.
    """
    if cores is None:
        return 1
    # NVIDIA first: a processor with graphics of its own has AMD's driver beside them
    alone = _ROCM.exists() or devices.is_apple_silicon()
    return len(gpus(visible)) or (1 if alone else min(2, cores))


@contextmanager
def lease(among: Sequence[Gpu], folder: Path) -> Iterator[Gpu]:
    """Take one of the GPUs for this process alone, as soon as one is free.

    `folder` holds the locks: it is on this machine and the same for all processes that share its
    GPUs. Raises `BakeryError` if it belongs to another user, who could keep the locks.
    """
    _own(folder)
    told = False
    while True:
        for gpu in among:
            with (folder / f"{gpu.name}.lock").open("w") as file:
                try:
                    # lockf, not flock: a flock stays held by forked children of a killed process
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):  # another process has it
                    continue
                log.info("working on GPU %s", gpu.visible)
                yield gpu
                return
        if not told:
            log.info(
                "waiting for a GPU: all are in use (%s)", ", ".join(gpu.visible for gpu in among)
            )
            told = True
        time.sleep(_PATIENCE)


def _listed() -> list[str]:
    """UUIDs in nvidia-smi's order; none where there is no driver."""
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs is of no use
        return []
    return _UUID.findall(said.stdout) if said.returncode == 0 else []


def _uuid(entry: str, uuids: Sequence[str]) -> str:
    """The UUID behind a number, or behind the beginning of a UUID; else the entry itself.

    CUDA may number GPUs of several kinds in another order. Then a lock has another GPU's UUID, but
    no two numbers share one.
    """
    if entry.isdecimal() and int(entry) < len(uuids):
        return uuids[int(entry)]
    meant = [uuid for uuid in uuids if uuid.startswith(entry)]
    return meant[0] if len(meant) == 1 else entry


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BakeryError(
            f"{folder} belongs to another user: remove it, or set TMPDIR to a folder of yours"
        )
