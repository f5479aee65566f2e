"""A trainer that does one step when it is told to, so that trainers can take turns.

In the trainer's process `obey` makes every optimizer step end with a line on stdout and a wait for a
line on stdin; the clock runs from that line to the end of the next step. So any trainer can be timed
as it is, its data loading and logging included. `Worker` is the other end.

On a GPU the step has ended when the GPU has nothing left to do. With fp16 a step whose gradients
overflow counts as soon as the optimizer was called: some optimizers are then passed over, and the
report covers two steps; the first steps, which do not count, are where that happens.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim import optimizer as optimizers

MEMORY = {
    "cpu": {"gib": "peak GiB (resident)"},
    "cuda": {
        "gib": "peak GiB in a step (allocated)",
        "all_gib": "peak GiB, loading included (allocated)",
        "reserved_gib": "the same (reserved)",
    },
}
"""Field of a report -> the table's column, by device."""


def obey(device: str = "cpu") -> None:
    """From here on, wait after every optimizer step of this process."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed must not be taken for a report
    memory = Memory(device)
    began = time.perf_counter()

    def after(optimizer: Any, *_: Any) -> None:
        nonlocal began
        wait_for(device)
        seconds = time.perf_counter() - began
        count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        lines.write(json.dumps({"seconds": seconds, "parameters": count, **memory.read()}) + "\n")
        if sys.stdin.readline().strip() != "step":
            os._exit(0)
        began = time.perf_counter()

    optimizers.register_optimizer_step_post_hook(after)


def wait_for(device: str) -> None:
    """Until all that was asked of it is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def rounds(given: argparse.Namespace) -> Iterator[int]:
    """The numbers of the rounds, those to warm up first; `given.seconds` may end them early, but two
    always count."""
    began = time.perf_counter()
    for turn in range(given.warm_up + given.rounds):
        late = given.seconds is not None and time.perf_counter() - began > given.seconds
        if late and turn >= given.warm_up + 2:
            return
        yield turn


class Memory:
    """The most memory this process has held: by torch's count on a GPU, else all of it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._most = [0, 0]

    def read(self) -> dict[str, float]:
        """The fields of `MEMORY`; on a GPU `gib` is since the last time."""
        if self._device != "cuda":
            return {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
        now = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        self._most = [max(pair) for pair in zip(self._most, now, strict=True)]
        torch.cuda.reset_peak_memory_stats()
        names = ("gib", "all_gib", "reserved_gib")
        return {n: x / 2**30 for n, x in zip(names, (now[0], *self._most), strict=True)}


class Worker:
    """A trainer in a process of its own that has done its first step."""

    def __init__(self, command: Sequence[str | Path], **process: Any) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **process
        )
        self.first = self._report()

    def step(self) -> dict[str, float]:
        """Let it do one step; how long that took."""
        self._process.stdin.write("step\n")
        return self._report()

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _report(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a trainer ended with {self._process.wait()}: see above")
        return json.loads(line)
