"""A small bake through the whole chain, as a user starts it: a folder, a config, real processes."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from tests.faults import cpu_time

ROOT = Path(__file__).parents[2]
PATIENCE = 900.0
"""Seconds after which a run is held to hang."""
SPARING = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Where a job has several threads, they wait asleep and leave the CPU to others."""
SMALL = {
    "scrape": {"name": "mirael", "urls": ["embedded://posts?tags=mirael"], "limit": 30},
    "filter": {"min_side": 96},
    "layout": {"repeats": 1},
    "train": {
        "network_dim": 4, "network_alpha": 4, "train_batch_size": 4, "num_epochs": 2,
        "resolution": 128,
    },
    "sample": {
        "steps": 3, "seeds": [1],
        "auto": {"identity": 1, "flexibility": 1, "recreate": 0, "bleed": 1},
    },
    "sweeps": {"unet_lr": {"grid": {"train.unet_lr": [3e-4, 2e-3]}}},
}  # fmt: skip
"""Every stage once, two bakes of two epochs, on the embedded world."""


@dataclass
class Bakery:
    """A folder that is baked in."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    """Of every start."""
    cores: int = 2

    def write_config(self, config: dict | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config or SMALL)
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
            "--cores", str(self.cores), "--directory", str(self.folder),
            "--configfile", str(self.folder / "config.yaml"),
            "--workflow-profile", str(ROOT / "profiles/default"), *self.arguments, *arguments,
        ]  # fmt: skip

    def start(self, *arguments: str, terminal: bool = False) -> Run:
        """Start a bake; with `terminal` on a terminal of its own."""
        return Run(self, self.command(*arguments), terminal=terminal)

    def bake(self, *arguments: str) -> Run:
        """A bake from start to end."""
        run = self.start(*arguments)
        run.wait()
        return run

    def done(self) -> int:
        """How many jobs have left their mark."""
        return sum(1 for _ in self.folder.glob("results/*/*/manifest.json"))


class Run:
    """A running engine with all its jobs, and what it says."""

    def __init__(self, bakery: Bakery, command: list[str], *, terminal: bool) -> None:
        environment = os.environ | SPARING | bakery.environment
        self._said: list[bytes] = []
        self._hung_up = False
        if terminal:
            environment["TERM"] = "xterm"
        self.master: int | None = None
        slave = None
        if terminal:
            self.master, slave = os.openpty()
        self.process = subprocess.Popen(
            command, cwd=bakery.folder, env=environment, stdin=slave or subprocess.DEVNULL,
            stdout=slave or subprocess.PIPE, stderr=slave or subprocess.STDOUT,
            start_new_session=slave is None,
            preexec_fn=lambda: _as_a_shell_starts_it(slave),
        )  # fmt: skip
        if slave is not None:
            os.close(slave)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        handle = self.master if self.master is not None else self.process.stdout.fileno()
        with suppress(OSError):  # a terminal ends with an error
            while not self._hung_up:
                if not select.select([handle], [], [], 0.1)[0]:
                    continue
                if not (piece := os.read(handle, 65536)):
                    return
                self._said.append(piece)

    def hang_up(self) -> None:
        """Close its terminal. Nobody may be reading there: that would keep it open."""
        self._hung_up = True
        self._reader.join()
        os.close(self.master)

    @property
    def said(self) -> str:
        """All that it has said, live lines included."""
        return b"".join(self._said).decode("utf-8", "replace")

    @property
    def last_words(self) -> str:
        """The last of it."""
        return self.said[-1500:]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """The engine and all below it."""
        return cpu_time.family(self.process.pid)

    def used(self) -> float:
        """What it and its jobs have had of the CPUs, in seconds."""
        return cpu_time.used(self.family())

    def jobs(self) -> list[psutil.Process]:
        """The processes that work, in the order of their start: those without children."""
        leaves = []
        for one in self.family()[1:]:
            with suppress(psutil.NoSuchProcess):
                if not one.children():
                    leaves.append(one)
        return leaves

    def wait(self, seconds: float = PATIENCE) -> int:
        """Until it has ended; kills it and raises TimeoutError after `seconds` (`cpu_time`)."""
        if not cpu_time.wait_until(lambda: not self.alive, seconds, self.family):
            doing = "\n".join(cpu_time.doing(self.family()))
            self.kill()
            raise TimeoutError(f"no end after {seconds:g} s: {self.last_words}\n{doing}")
        self._reader.join(5)
        return self.process.returncode

    def kill(self) -> None:
        """End all of it, as a power cut does."""
        for one in reversed(family := self.family()):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGSTOP)  # so that none starts another meanwhile
        for one in {*family, *self.family()}:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, 10)
        self.process.wait(10)


def _as_a_shell_starts_it(terminal: int | None) -> None:
    """No signal is ignored, though the trials may run under nohup or in the background; and with a
    terminal of its own, if there is one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if terminal is not None:
        os.login_tty(terminal)


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still alive after `seconds` (`cpu_time`)."""

    def left() -> list[psutil.Process]:
        return [one for one in processes if _lives(one)]

    return [] if cpu_time.wait_until(lambda: not left(), seconds, left) else left()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def results(folder: Path) -> dict[str, str]:
    """What a bake has made: manifests, the files that they cover and the LoRA that is set
    apart, each with its sha256; of other files only that they are there. Store and cache are none."""
    found, covered = {}, set()
    place = folder / "results"
    for manifest in sorted(place.glob("*/*/manifest.json")):
        names = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        covered |= {manifest, *(manifest.parent / name for name in names)}
    for file in sorted(_files(place)):
        name = file.relative_to(folder).as_posix()
        if name.startswith(("results/cache/", "results/downloads/")) or name.endswith(".lock"):
            continue  # a power cut may take them: they are made, or fetched, again when needed
        exact = file in covered or name.startswith("results/best/")
        found[name] = _digest(file) if exact else "there"
    for file in covered:
        found.setdefault(file.relative_to(folder).as_posix(), "missing")
    return found


def _files(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_file())


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """What two bakes do not have in common, as sentences."""
    return [
        f"{name}: {one.get(name, 'not there')[:9]} and {other.get(name, 'not there')[:9]}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
