"""A trainer that does one step when it is told to, so that trainers can take turns.

In the trainer's process `obey` makes every optimizer step end with a line on stdout and a wait for a
line on stdin; the clock runs from that line to the end of the next step. So any trainer can be timed
as it is, its data loading and logging included. `Worker` is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.optim import optimizer as optimizers


def obey() -> None:
    """From here on, wait after every optimizer step of this process."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed must not be taken for a report
    began = time.perf_counter()

    def after(optimizer: Any, *_: Any) -> None:
        nonlocal began
        seconds = time.perf_counter() - began
        count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        lines.write(json.dumps({"seconds": seconds, "parameters": count, "gib": memory}) + "\n")
        if sys.stdin.readline().strip() != "step":
            os._exit(0)
        began = time.perf_counter()

    optimizers.register_optimizer_step_post_hook(after)


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

    def _report(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a trainer ended with {self._process.wait()}: see above")
        return json.loads(line)
