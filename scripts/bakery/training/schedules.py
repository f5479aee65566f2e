"""The learning rate as a function of the optimizer step, with kohya's names.

Formulas: transformers.optimization, which kohya's scripts use, but for `rex`. All but `constant` rise
linearly from 0 over the warm-up, so that their first step runs at a rate of 0 when there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bakery.io.errors import BakeryError
from bakery.settings.train import Train

POLYNOMIAL_END = 1e-7
"""Where `polynomial` ends (transformers' lr_end)."""
REX_BEND = 0.9
"""d of `rex`, (1 - p) / (1 - d + d(1 - p)): 0.5 in the paper (Chen et al., arXiv 2107.04197), 0.9 in the
trainers that have it."""


@dataclass(frozen=True)
class StepCounts:
    """How long a bake is."""

    steps_per_epoch: int
    """Of the optimizer."""
    epochs: int
    """The last one is cut short when `max_steps` ends inside it."""
    total: int
    """Optimizer steps T."""
    warmup: int
    """Warm-up steps W, part of T."""
    batches_per_epoch: int = 0
    accumulation: int = 1
    """Batches of one step; an epoch's last step may have fewer."""

    def steps_after(self, batch: int) -> bool:
        """Whether the optimizer steps after the `batch`-th one of an epoch, counted from 1."""
        return batch % self.accumulation == 0 or batch == self.batches_per_epoch

    def rate(self, settings: Train, base: float, step: int) -> float:
        """The learning rate of `step` for a part whose full rate is `base`."""
        return learning_rate(
            settings.lr_scheduler,
            step,
            base=base,
            total=self.total,
            warmup=self.warmup,
            cycles=settings.lr_scheduler_num_cycles,
            power=settings.lr_scheduler_power,
        )

    def saves(self, settings: Train, epoch: int) -> bool:
        """Whether `epoch`, counted from 1, ends with a file: every n-th does, and the last."""
        return epoch == self.epochs or epoch % settings.save_every_n_epochs == 0


def step_counts(settings: Train, batches_per_epoch: int) -> StepCounts:
    """`max_steps` wins over `num_epochs` when it is set, whether it is less or more.

    With gradient accumulation an epoch has ceil(batches / accumulation) steps, and the schedule
    counts those, as accelerate does for kohya's scripts. Raises `BakeryError` when a step would
    need more batches than an epoch has.
    """
    accumulation = settings.gradient_accumulation_steps
    if accumulation > batches_per_epoch:
        raise BakeryError(
            f"train.gradient_accumulation_steps is {accumulation}, but an epoch has only "
            f"{batches_per_epoch} batches: give at most that many"
        )
    steps_per_epoch = math.ceil(batches_per_epoch / accumulation)
    total = settings.max_steps or settings.num_epochs * steps_per_epoch
    return StepCounts(
        steps_per_epoch=steps_per_epoch,
        epochs=math.ceil(total / steps_per_epoch),
        total=total,
        warmup=min(settings.lr_warmup_steps, total)
        or warmup_steps(total, settings.lr_warmup_ratio),
        batches_per_epoch=batches_per_epoch,
        accumulation=accumulation,
    )


def warmup_steps(total: int, ratio: float) -> int:
    """W = int(T * r)."""
    return int(total * ratio)


def learning_rate(
    name: str,
    step: int,
    *,
    base: float,
    total: int,
    warmup: int = 0,
    cycles: int = 1,
    power: float = 1.0,
) -> float:
    """The rate of optimizer step `step`, 0 <= step < `total`.

    `base` is the rate at full height, `warmup` the number of warm-up steps W, `cycles` the number
    of cosine_with_restarts' cycles, `power` polynomial's exponent.
    """
    if name == "constant":
        return base
    if step < warmup:
        return base * step / warmup
    if name == "constant_with_warmup":
        return base
    p = (step - warmup) / max(1, total - warmup)  # progress after the warm-up, 0 to 1
    if name == "polynomial":
        end = min(POLYNOMIAL_END, base)
        return end + (base - end) * max(0.0, 1 - p) ** power
    if p >= 1:
        return 0.0
    if name == "linear":
        return base * (1 - p)
    if name == "rex":
        return base * (1 - p) / (1 - REX_BEND + REX_BEND * (1 - p))
    if name == "cosine":
        return base * (1 + math.cos(math.pi * p)) / 2
    if name == "cosine_with_restarts":
        return base * (1 + math.cos(math.pi * (cycles * p % 1))) / 2
    raise ValueError(f"no such schedule: {name}")
