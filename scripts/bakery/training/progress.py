"""The progress of a running bake: a line of JSON per step in `progress.jsonl`, and TensorBoard if
enabled."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bakery.io import devices, manifest
from bakery.training.schedules import StepCounts


class Progress:
    """Writes one line per step, each only once.

    After a kill the file may be ahead of the state that the bake resumes from: those lines are
    removed.
    """

    def __init__(
        self,
        folder: Path,
        counts: StepCounts,
        *,
        step: int = 0,
        recent: Iterable[float] = (),
        device: str = "cpu",
        tensorboard: bool = False,
    ) -> None:
        """The bake has done `step` steps; `recent` are the losses of the last of them."""
        self.counts, self.device = counts, device
        self.recent: deque[float] = deque(recent, maxlen=counts.steps_per_epoch)
        self._begun, self._started = step, time.perf_counter()
        path = folder / manifest.PROGRESS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n")][:step]
        path.write_text("".join(kept), encoding="utf-8")
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._board = _board(folder, step) if tensorboard else None

    def write(
        self, step: int, epoch: int, loss: float, norm: float, more: dict[str, float | None]
    ) -> None:
        """`loss_average` is over the last epoch's length, as kohya's scripts show it; `more` are
        learning rates, and what else is known by name."""
        self.recent.append(loss)
        speed = (step - self._begun) / max(1e-9, time.perf_counter() - self._started)
        numbers = {
            "loss": _number(loss),
            "loss_average": _number(sum(self.recent) / len(self.recent)),
            "grad_norm": _number(norm),
            **{name: _number(rate, 12) for name, rate in more.items()},
            "memory_gib": round(memory_gib(self.device), 3),
        }
        line = {
            "step": step,
            "steps": self.counts.total,
            "epoch": epoch,
            "epochs": self.counts.epochs,
            "steps_per_second": round(speed, 3),
            "eta_seconds": round((self.counts.total - step) / speed, 1),
            **numbers,
        }
        self._stream.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in numbers.items():
                if value is not None:
                    self._board.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._stream.close()
        if self._board is not None:
            self._board.close()


def memory_gib(device: str) -> float:
    """The most memory held so far: of the GPU by torch, else of this process (resident)."""
    return devices.peak(device) / 2**30


def _number(value: float | None, digits: int = 6) -> float | None:
    """JSON has no infinity."""
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _board(folder: Path, step: int) -> Any:
    """Event files end in .log, which a manifest ignores: they contain times and the host's name."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and rarely asked for

    return SummaryWriter(str(folder), filename_suffix=".log", purge_step=step + 1 if step else None)
