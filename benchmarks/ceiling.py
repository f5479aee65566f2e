"""How fast arithmetic goes at best here, and what share of that a step reaches.

The ceiling is a square matrix product at the job's precision, on the same device with as many
threads, measured between the rounds of the same run; the fastest counts. The operations of a step are
counted by torch's FlopCounterMode over one forward and backward of a bake: products of matrices,
convolutions and attention, two for each multiply-add. Norms, activations, sums, copies, the optimizer
and the scaling of gradients are left out, so that a share of 100% is out of reach. Convolutions are
counted as the plain definition has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import torch
from stepwise import wait_for
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from bakery.dataset import repeat_folders
from bakery.families import registry
from bakery.settings.train import Train
from bakery.training import setup, train_step

SIDES = {"cpu": 2048, "cuda": 8192}
"""Of the matrices at most: so large that overhead does not count."""
ENOUGH = 0.1
"""Seconds; a product that takes as long need not be larger. Some CPUs have no bf16 arithmetic."""


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


_ATEN = torch.ops.aten
_ON_CPU = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Attention on the CPU, which torch's counter does not know."""


class Ceiling:
    """A matrix product that is timed again and again."""

    def __init__(self, device: str, precision: str) -> None:
        self._device, self._kind = device, {"device": device, "dtype": models.DTYPES[precision]}
        self.best = 0.0
        """Operations a second, of the fastest product so far."""
        self.side = 128
        while self.side < SIDES[device]:
            self.side *= 2
            self._a, self._b, self._out = (
                torch.randn(self.side, self.side, **self._kind) for _ in range(3)
            )
            self._seconds()  # the first one is slow
            if self._seconds() > ENOUGH:
                break

    def measure(self, times: int = 3) -> None:
        for _ in range(times):
            self.best = max(self.best, 2 * self.side**3 / self._seconds())

    def _seconds(self) -> float:
        wait_for(self._device)
        began = time.perf_counter()
        torch.mm(self._a, self._b, out=self._out)
        wait_for(self._device)
        return time.perf_counter() - began


def context_of(folder: Path, job: dict[str, Any]) -> train_step.TrainContext:
    """What our trainer bakes with, in this process."""
    settings = Train(**job["settings"])
    torch.set_num_threads(job["threads"])
    base = registry.load(
        settings.base, job["device"], models.DTYPES[settings.mixed_precision],
        **settings.model_dump(exclude={"base"}),
    )  # fmt: skip
    made = setup.make_context(
        settings, repeat_folders.read_folders(folder / "layout"), base, job["threads"], None
    )
    made.latents.prepare(made.data.views(settings) or [])
    return made


def of_step(folder: Path, job: dict[str, Any]) -> int:
    """Operations of a solo step."""
    context = context_of(folder, job)
    run = setup.prepare(Train(**job["settings"]), context, out=folder / "count", name="mirael")
    run.begin_epoch(context.data)
    batch = run.next_batch()
    return operations(lambda: train_step.loss(context, run, batch).backward())


def operations(run: Callable[[], Any]) -> int:
    """How many `run` has."""
    with FlopCounterMode(display=False, custom_mapping=_ON_CPU) as counter:
        run()
    return counter.get_total_flops()


def sentence(best: Ceiling, count: int, job: dict[str, Any]) -> str:
    """For below the table."""
    precision = job["settings"]["mixed_precision"].replace("no", "float32")
    return (
        f"{models.what(job)}: a matrix product ({precision}, {best.side} x {best.side}) reaches "
        f"{_tera(best.best)} TFLOP/s here; a solo step has {_tera(count)} TFLOP (products, "
        "convolutions and attention, forward and backward; norms, activations and the optimizer are "
        "not counted)."
    )


def _tera(number: float) -> str:
    return f"{number / 1e12:.4g}"
