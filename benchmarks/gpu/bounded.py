"""Items measured one by one until the time is over, each in bounds, all of it on record.

One process measures (`worker`), so that models stay loaded from item to item. If an item takes longer
than its limit, or the process dies, another one takes over with the next item. The record is rewritten
whenever anything in it changes, so a run that is cut off has lost nothing. This takes the standard
library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gpu.items import Item

RESERVE = 3.0
"""Seconds at the end in which nothing is measured."""
START = 120.0
"""Seconds until a worker has to be ready: torch is slow to import from a cold disk."""
STATES = {
    "waiting": "the run was cut off before it",
    "running": "the run was cut off in it",
    "done": "",
    "failed": "",
    "over its limit": "",
    "no time left": "",
    "left out": "",
}
"""Of an item, and what that means where its `why` does not say."""


class Broken(Exception):
    """The worker gave no answer; the message says why."""


class TooLong(Broken):
    """It did not answer in time."""


class Measurer(Protocol):
    """What `Bounded` needs of a worker."""

    device: str

    def ask(self, name: str, seconds: float) -> dict[str, Any]:
        """The worker's answer for an item; `Broken` if there is none."""

    def end(self) -> None:
        """Ends it and all that it started, whatever it is doing."""


class Worker:
    """A process that answers by lines of JSON, with a group of its own to be ended with."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        start: float = START,
    ) -> None:
        """What it prints to stderr goes to the end of `log`; `Broken` if it is not ready within
        `start` seconds."""
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream,
                env=environment, process_group=0,
            )  # fmt: skip
        self._unread = b""
        try:
            self.device: str = self._answer(start)["device"]
        except Broken as why:
            self.end()
            raise Broken(f"nothing can be measured: {why}; {log} says more") from None
        except BaseException:  # the run is being ended
            self.end()
            raise

    @classmethod
    def of(cls, asked: Mapping[str, Any], log: Path, packages: Path | None) -> Worker:
        """`worker.py`; `asked` are the fields of its `Workshop`, and `packages` go before all others."""
        here = Path(__file__).absolute().parents[1]
        paths = [str(path) for path in (packages, here) if path is not None]
        paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        code = (
            "import json, sys; from gpu import worker; worker.work(*map(json.loads, sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, json.dumps(dict(asked)), str(os.getpid())]
        offline = {"HF_HUB_OFFLINE": "1"}  # nothing is to be downloaded
        return cls(command, log, os.environ | offline | {"PYTHONPATH": os.pathsep.join(paths)})

    def ask(self, name: str, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(name.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Broken("its process had ended") from None
        return self._answer(seconds)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe, until = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TooLong(f"it took longer than {seconds:.0f} s")
            more = os.read(pipe, 65536)
            if not more:
                raise Broken(f"its process ended with {self._process.wait()}")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


@dataclass
class Bounded:
    """A run of items in a bounded time."""

    items: Sequence[Item]
    open_worker: Callable[[], Measurer]
    path: Path
    """The record: JSON."""
    ends: float
    """On the clock."""
    about: Mapping[str, Any]
    """Of the run, for the record."""
    tiny: bool = False
    worker: Measurer | None = None
    """One that is ready; it is ended with the run."""
    clock: Callable[[], float] = time.monotonic
    _records: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        """Measure what there is time for."""
        self._records = [
            {"name": item.name, "state": "waiting", "estimate": estimate, "limit": limit}
            for item in self.items
            for estimate, limit in [item.seconds(self.tiny)]
        ]
        self._write()
        try:
            for item, record in zip(self.items, self._records, strict=True):
                self._measure(item, record)
        finally:
            self._end_worker()

    def _measure(self, item: Item, record: dict[str, Any]) -> None:
        record["state"] = "running"
        self._write()
        began = self.clock()
        record |= self._answered(item)
        record["seconds"] = round(self.clock() - began, 2)
        self._write()
        state = record["state"]
        print(f"{item.name}: {state}, {record['seconds']:.1f} s", record.get("why", ""), flush=True)

    def _answered(self, item: Item) -> dict[str, Any]:
        """The fields that the worker's answer adds to the record."""
        estimate, limit = item.seconds(self.tiny)
        try:
            if self.worker is None and estimate <= self._left():
                self.worker = self.open_worker()
            left = self._left()  # starting takes a while
            if self.worker is None or estimate > left:
                return {"state": "no time left", "why": f"{max(0.0, left):.0f} s were left"}
            answer = self.worker.ask(item.name, min(limit, left))
        except Broken as why:
            self._end_worker()
            state = "over its limit" if isinstance(why, TooLong) else "failed"
            return {"state": state, "why": str(why)}
        if answer.pop("ends", False):
            self._end_worker()
        return answer

    def _left(self) -> float:
        return self.ends - RESERVE - self.clock()

    def _end_worker(self) -> None:
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def _write(self) -> None:
        document = {**self.about, "items": self._records}
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)
