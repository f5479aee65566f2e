"""One bake among those that a process trains side by side: its steps, optimizer, progress and outcome.

A run knows when its epochs begin and end, steps its own optimizer, saves its own files, and stops
alone when its loss becomes NaN. What all share (base, pictures, latents) belongs to the trainer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.jobs import rungs, stop_requests
from bakery.lora import file_forms, lora_file
from bakery.lora.network import LoRANetwork
from bakery.settings.train import Train
from bakery.training import optimizers
from bakery.training.checkpoint import TOGETHER, Checkpoint, record_group_size
from bakery.training.losses import Loss
from bakery.training.progress import Progress
from bakery.training.schedules import StepCounts
from bakery.training.texts import Texts

log = logging.getLogger(__name__)


@dataclass
class Run:
    """A bake and how far it is."""

    settings: Train
    name: str
    """Of the LoRA files."""
    out: Path
    checkpoint: Checkpoint
    counts: StepCounts
    network: LoRANetwork
    adapter: int
    """Which of the network's adapters is this bake's."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    diffusion: Loss
    texts: Texts
    measure: Callable[[Run], Mapping[float, float]] | None = None
    """Its losses on held-out pictures (`Validation.measure`); None without any."""
    until: int | None = None
    """The epoch after which it pauses; None trains to the end."""
    ends_at: int | None = None
    """The epoch after which a person stopped it, or is about to (`stop_requests`); None for nobody."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    progress: Progress | None = None
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the optimizer."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Of epochs.csv: the saved epochs."""
    validated: list[dict[str, Any]] = field(default_factory=list)
    """Of validation.csv: the losses on held-out pictures, epoch 0 those of the base."""
    failure: str | None = None
    """Why it stopped before its end."""
    batches: list[Batch] = field(default_factory=list)
    """Of the running epoch."""
    _began: float = field(default_factory=time.time)
    """Seconds since 1970."""
    _place: int = 0
    """Batches of the running epoch that were taken."""
    _losses: list[float] = field(default_factory=list)
    """Of the running epoch's batches."""
    _waiting: list[torch.Tensor] = field(default_factory=list)
    """Losses of the running step's batches, still where they were computed."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All trained parameters, in a fixed order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def live(self) -> bool:
        ends = [epoch for epoch in (self.until, self.ends_at) if epoch is not None]
        rests = any(self.epoch >= epoch for epoch in ends)
        return self.failure is None and self.step < self.counts.total and not rests

    @property
    def last_step(self) -> int:
        """The step after which it ends: the schedule's last, unless a person stopped it earlier."""
        if self.ends_at is None:
            return self.counts.total
        return min(self.counts.total, self.ends_at * self.counts.steps_per_epoch)

    @property
    def is_cut_short(self) -> bool:
        """Whether a person stopped it before its end."""
        asked = self.ends_at is not None and self.epoch >= self.ends_at
        return self.failure is None and asked and self.step < self.counts.total

    @property
    def is_last_epoch(self) -> bool:
        """Whether the running epoch is to be the last one, as a person asks it to be."""
        return self._ends_after(self.epoch + 1)

    def begin_epoch(self, data: Dataset) -> bool:
        """Start the next epoch if the last one is over; returns whether it was."""
        if self.batches:
            return False
        self.batches = data.epoch(self.settings, self.epoch + 1)
        return True

    def next_batch(self) -> Batch:
        self._place += 1
        return self.batches[self._place - 1]

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to call `backward` on: a step's batches add up to their mean."""
        return self.scaler.scale(loss / self.counts.accumulation)

    def accumulate(self, loss: torch.Tensor) -> torch.Tensor:
        """Use the gradients of a batch with this loss, and step when due.

        Returns what `record_step` needs, still on its device: the losses of the step's
        batches and the gradient's norm; nothing, shape (0,), between two steps.
        """
        self._waiting.append(loss.detach())
        if not self.counts.steps_after(self._place):
            return loss.new_empty(0)
        found = torch.stack((*self._waiting, self._optimize()))
        self._waiting.clear()
        return found

    def record_step(self, values: list[float]) -> None:
        """The optimizer has stepped; `accumulate` returned these values: report, and save when
        due."""
        if not values:
            return
        *losses, norm = values
        if self._has_diverged(losses, norm):
            return
        self.step += 1
        self._losses += losses
        ends = self._place == len(self.batches) or self.step == self.counts.total
        held_out = self._validate(self.epoch + 1) if ends else None
        if self.progress is not None:
            mean = math.fsum(losses) / len(losses)
            more = optimizers.rates(self.optimizer)
            if held_out is not None:
                more["validation_loss"] = held_out
            self.progress.write(self.step, self.epoch + 1, mean, norm, more)
        if ends:
            self._end_epoch()

    def state(self) -> dict[str, Any]:
        """The bake's state, as plain values (`Checkpoint.save`)."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "rows": self.rows,
            "together": self.metadata.get(TOGETHER, "1"),
            "recent": list(self.progress.recent) if self.progress else [],
            "weights": [parameter.detach() for parameter in self.parameters],
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({"validated": self.validated} if self.validated else {}),
        }

    def restore(self) -> None:
        """Go on from the newest state (`Checkpoint.resume`), or begin; report from here on."""
        state = self.checkpoint.resume(
            lambda epoch: epoch == self.ends_at or self.counts.saves(self.settings, epoch)
        )
        recent: list[float] = []
        if state is not None:
            self.epoch, self.step, self.rows = state["epoch"], state["step"], state["rows"]
            recent, self.validated = state["recent"], state.get("validated", [])
            self.metadata = record_group_size(self.metadata, state.get("together"))
            with torch.no_grad():
                for parameter, value in zip(self.parameters, state["weights"], strict=True):
                    parameter.copy_(value)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            log.info("resuming after epoch %d (step %d)", self.epoch, self.step)
        self.progress = Progress(
            self.out,
            self.counts,
            step=self.step,
            recent=recent,
            device=self.parameters[0].device.type,
            tensorboard=self.settings.log_with == "tensorboard",
        )
        if self.rows:
            tables.write(self.out / "epochs.csv", self.rows, rungs.EPOCHS)
        if self.validated:
            tables.write(self.out / manifest.VALIDATION, self.validated, manifest.VALIDATED)
        elif self.step == 0:
            self._validate(0)

    def fail(self, sentence: str) -> None:
        """Stop here, for the record; the epochs saved before stay."""
        self.failure = sentence
        self.batches = []
        self.checkpoint.fail(sentence, epoch=self.epoch + 1, step=self.step + 1)
        log.error("%s", sentence)

    def _optimize(self) -> torch.Tensor:
        """One step of the optimizer; returns the norm of the gradient."""
        if optimizers.scheduled(self.settings):
            for group in self.optimizer.param_groups:
                group["lr"] = self.counts.rate(self.settings, group["full_lr"], self.step)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, self.settings.max_grad_norm or math.inf, foreach=True
        )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.settings.scale_weight_norms is not None:
            self.network.apply_max_norm(self.settings.scale_weight_norms, self.adapter)
        return norm

    def _has_diverged(self, losses: list[float], norm: float) -> bool:
        """Whether this step broke the bake; if so it fails."""
        finite = all(map(math.isfinite, losses))
        # With fp16 the scaler skips a step whose gradient overflows; that is no failure.
        if finite and (math.isfinite(norm) or self.scaler.is_enabled()):
            return False
        bad = next((loss for loss in losses if not math.isfinite(loss)), norm)
        what = "gradient" if finite else "loss"
        rates = ", ".join(
            f"{name} {'unknown' if rate is None else f'{rate:.3g}'}"
            for name, rate in optimizers.rates(self.optimizer).items()
        )
        self.fail(
            f"the {what} is {bad} at step {self.step + 1} of epoch {self.epoch + 1} ({rates}): "
            "lower the learning rates or max_grad_norm; the epochs saved before are intact"
        )
        return True

    def _validate(self, epoch: int) -> float | None:
        """The mean loss on held-out pictures after `epoch`, put on record; None if it is not due."""
        last = epoch == self.counts.epochs
        if self.measure is None or not (self.settings.validates(epoch) or last):
            return None
        found = self.measure(self)
        self.validated += [
            {"epoch": epoch, "step": self.step, "t": t, "loss": loss} for t, loss in found.items()
        ]
        tables.write(self.out / manifest.VALIDATION, self.validated, manifest.VALIDATED)
        mean = math.fsum(found.values()) / len(found)
        log.info("epoch %d of %d: held-out loss %.4f", epoch, self.counts.epochs, mean)
        return mean

    def _end_epoch(self) -> None:
        epoch, mean = self.epoch + 1, math.fsum(self._losses) / len(self._losses)
        ends = self._ends_after(epoch)
        if ends or self.counts.saves(self.settings, epoch):
            try:
                self._save(epoch, mean)
            except BakeryError as error:
                self.fail(str(error))
                return
        self.epoch = epoch
        self.batches, self._place, self._losses = [], 0, []
        if ends:  # before the state: a bake killed in between ends after the same epoch
            self.ends_at = epoch
            self.checkpoint.stop(epoch, self.counts.epochs)
            log.info("stopped on request after epoch %d of %d", epoch, self.counts.epochs)
        self.checkpoint.save(self.state(), goes_on_alone=ends)
        whole = self.step >= self.counts.total
        if (ends or whole) and stop_requests.withdraw(self.out) and whole:
            log.info("asked to stop after epoch %d, which is its last one anyway", epoch)

    def _ends_after(self, epoch: int) -> bool:
        """Whether a person wants the bake to stop after its running `epoch`, and it would go on."""
        if self.step >= self.counts.total or epoch >= self.counts.epochs:
            return False
        again = self.ends_at is not None and epoch >= self.ends_at
        return again or stop_requests.asked(self.out, epoch, since=self._began)

    def _save(self, epoch: int, loss: float) -> None:
        """Write an epoch's LoRA and put it into epochs.csv."""
        optimizers.trains(self.optimizer, False)
        precision = self.settings.save_precision
        dtype = lora_file.DTYPES[precision]
        if self.settings.save_format == file_forms.KOHYA:
            state = self.network.state_dict_kohya(dtype, self.adapter)
        else:
            state = file_forms.dotted(self.network.state_dict_kohya(adapter=self.adapter), dtype)
        optimizers.trains(self.optimizer, True)
        for key, weight in state.items():
            if not torch.isfinite(weight).all():
                raise BakeryError(
                    f"{key} is too large for save_precision {precision} after "
                    f"epoch {epoch}: lower the learning rates, or set save_precision to float"
                )
        last = epoch == self.counts.epochs
        file = f"{self.name}.safetensors" if last else f"{self.name}-{epoch:06d}.safetensors"
        stand = {"ss_epoch": str(epoch), "ss_steps": str(self.step)}
        model_hash = lora_file.write(self.out / file, state, {**self.metadata, **stand})
        log.info("epoch %d of %d: loss %.4f, saved %s", epoch, self.counts.epochs, loss, file)
        row = (epoch, self.step, file, model_hash, loss)
        self.rows.append(dict(zip(rungs.EPOCHS, row, strict=True)))
        tables.write(self.out / "epochs.csv", self.rows, rungs.EPOCHS)


def finish_step(taken: Sequence[tuple[Run, torch.Tensor]]) -> None:
    """End a step of several runs with the values of `accumulate`: the step's only wait for a
    GPU."""
    values = torch.cat([found for _, found in taken]).tolist()
    start = 0
    for run, found in taken:
        run.record_step(values[start : start + len(found)])
        start += len(found)
