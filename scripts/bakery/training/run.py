"""One bake among those that a process trains side by side: its plan, optimizer, progress and fate.

A variant knows when its epochs begin and end, steps its own optimizer, saves its own files, and stops
alone when its loss turns to NaN. What all share (base, pictures, latents) is the trainer's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.interop import sidecar
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.jobs import rungs
from bakery.lora import lora_file
from bakery.lora.network import LoRANetwork
from bakery.settings.train import Train
from bakery.training import checkpoint, optimizers
from bakery.training.losses import Diffusion
from bakery.training.progress import Progress
from bakery.training.schedules import Plan
from bakery.training.texts import Texts

log = logging.getLogger(__name__)

TOGETHER = "bakery_baked_together"
"""In the metadata: how many bakes shared the process, `4, then 2` where that changed on the way."""
_THEN = ", then "


@dataclass
class Variant:
    """A bake and how far it is."""

    settings: Train
    name: str
    """Of the LoRA files."""
    out: Path
    owner: str
    """Identity of the bake (`checkpoint.identity`)."""
    plan: Plan
    network: LoRANetwork
    adapter: int
    """Which of the network's adapters is this bake's."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    diffusion: Diffusion
    texts: Texts
    until: int | None = None
    """The epoch after which it rests; None goes on to the end."""
    rested: str = ""
    """Identity of states that the bake may go on from besides its own: those of a bake that rests."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    progress: Progress | None = None
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the optimizer."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Of epochs.csv: the saved epochs."""
    failure: str | None = None
    """Why it stopped before its end."""
    batches: list[Batch] = field(default_factory=list)
    """Of the running epoch."""
    _place: int = 0
    """Batches of the running epoch that were taken."""
    _losses: list[float] = field(default_factory=list)
    """Of the running epoch's batches."""
    _waiting: list[torch.Tensor] = field(default_factory=list)
    """Losses of the running step's batches, still where they were computed."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that learns, in an order of its own."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def live(self) -> bool:
        rests = self.until is not None and self.epoch >= self.until
        return self.failure is None and self.step < self.plan.total and not rests

    def identify(self, chosen: Mapping[str, Any]) -> None:
        """Settle by metadata and `chosen` settings which states the bake may go on from.

        Who rests goes on in other company, as not all do, and so its company is no part of it.
        """
        alone = {name: text for name, text in self.metadata.items() if name != TOGETHER}
        self.rested = checkpoint.identity(metadata=alone, settings=chosen, rests=True)
        whole = checkpoint.identity(metadata=self.metadata, settings=chosen)
        self.owner = whole if self.until is None else self.rested

    def begin_epoch(self, data: Dataset) -> bool:
        """Lay out the next epoch if the last one is over; whether it was."""
        if self.batches:
            return False
        self.batches = data.epoch(self.settings, self.epoch + 1)
        return True

    def next_batch(self) -> Batch:
        self._place += 1
        return self.batches[self._place - 1]

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """What to call `backward` on: a step's batches add up to their mean."""
        return self.scaler.scale(loss / self.plan.accumulation)

    def take(self, loss: torch.Tensor) -> torch.Tensor:
        """Take the gradients of a batch with this loss, and step when it is time.

        Returns what `settled` needs, still where it was computed: the losses of the step's batches
        and the gradient's norm; nothing, shape (0,), between two steps.
        """
        self._waiting.append(loss.detach())
        if not self.plan.steps_after(self._place):
            return loss.new_empty(0)
        found = torch.stack((*self._waiting, self._optimize()))
        self._waiting.clear()
        return found

    def settled(self, values: list[float]) -> None:
        """The optimizer has stepped, and `take` gave these values: report, save when it is time."""
        if not values:
            return
        *losses, norm = values
        if self._is_lost(losses, norm):
            return
        self.step += 1
        self._losses += losses
        if self.progress is not None:
            mean = math.fsum(losses) / len(losses)
            self.progress.write(
                self.step, self.epoch + 1, mean, norm, optimizers.rates(self.optimizer)
            )
        if self._place == len(self.batches) or self.step == self.plan.total:
            self._end_epoch()

    def stands(self) -> list[int]:
        """Steps behind which an earlier run of this very bake stood, the newest first; 0 is the start.

        The second, if there is one, is the end of the epoch before (`checkpoint.go_back`); only who
        is in the same company as then has it.
        """
        newest, *others = [
            {name: state.get(name) for name in ("epoch", "step", "together")}
            for state in checkpoint.states(self.out, self.owner, self.rested)
        ] or [{"step": 0}]
        if newest["step"] == 0 or newest["together"] != self.metadata.get(TOGETHER, "1"):
            return [newest["step"]]
        before = [0] if newest["epoch"] == 1 else [state["step"] for state in others]
        return [newest["step"], *before]

    def restore(self) -> None:
        """Go on where an earlier run of this very bake stood; else clear what lies in its folder."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = checkpoint.load(self.out, self.owner, self.rested)
        if state is not None and not self._vouched(state["rows"]):
            log.warning("files of finished epochs in %s were changed: starting over", self.out)
            state = None
        self._clear(None if state is None else {row["file"] for row in state["rows"]})
        recent: list[float] = []
        if state is not None:
            self.epoch, self.step, self.rows = state["epoch"], state["step"], state["rows"]
            recent = state["recent"]
            self._remember_company(state.get("together"))
            with torch.no_grad():
                for parameter, value in zip(self.parameters, state["weights"], strict=True):
                    parameter.copy_(value)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            log.info("going on behind epoch %d, step %d", self.epoch, self.step)
        if self.rows:
            tables.write(self.out / "epochs.csv", self.rows, rungs.EPOCHS)
        self.progress = Progress(
            self.out,
            self.plan,
            step=self.step,
            recent=recent,
            device=self.parameters[0].device.type,
            tensorboard=self.settings.log_with == "tensorboard",
        )

    def _remember_company(self, before: str | None) -> None:
        """Have the metadata say how many bakes shared the process, also before this one rested."""
        now = self.metadata.get(TOGETHER, "1")
        before = before or now
        if before.split(_THEN)[-1] != now:
            before += f"{_THEN}{now}"
        if before != "1":
            self.metadata = {**self.metadata, TOGETHER: before}

    def fail(self, sentence: str) -> None:
        """Stop here, for the record; the epochs saved before stay."""
        self.failure = sentence
        self.batches = []
        checkpoint.record_failure(
            self.out, self.owner, sentence, epoch=self.epoch + 1, step=self.step + 1
        )
        log.error("%s", sentence)

    def _optimize(self) -> torch.Tensor:
        """One step of the optimizer; returns the norm of the gradient."""
        if optimizers.scheduled(self.settings):
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.rate(self.settings, group["full_lr"], self.step)
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

    def _is_lost(self, losses: list[float], norm: float) -> bool:
        """Whether this step made the bake worthless; if so it fails."""
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

    def _end_epoch(self) -> None:
        epoch, mean = self.epoch + 1, math.fsum(self._losses) / len(self._losses)
        if self.plan.saves(self.settings, epoch):
            try:
                self._save(epoch, mean)
            except BakeryError as error:
                self.fail(str(error))
                return
        self.epoch = epoch
        self.batches, self._place, self._losses = [], 0, []
        checkpoint.save(
            self.out,
            self.owner,
            {
                "epoch": self.epoch,
                "step": self.step,
                "rows": self.rows,
                "together": self.metadata.get(TOGETHER, "1"),
                "recent": list(self.progress.recent) if self.progress else [],
                "weights": [parameter.detach() for parameter in self.parameters],
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
        )

    def _save(self, epoch: int, loss: float) -> None:
        """Write an epoch's LoRA and put it into epochs.csv."""
        optimizers.trains(self.optimizer, False)
        precision = self.settings.save_precision
        state = self.network.state_dict_kohya(lora_file.DTYPES[precision], self.adapter)
        optimizers.trains(self.optimizer, True)
        for key, weight in state.items():
            if not torch.isfinite(weight).all():
                raise BakeryError(
                    f"{key} is too large for save_precision {precision} after "
                    f"epoch {epoch}: lower the learning rates, or set save_precision to float"
                )
        last = epoch == self.plan.epochs
        file = f"{self.name}.safetensors" if last else f"{self.name}-{epoch:06d}.safetensors"
        stand = {"ss_epoch": str(epoch), "ss_steps": str(self.step)}
        model_hash = lora_file.write(self.out / file, state, {**self.metadata, **stand})
        log.info("epoch %d of %d: loss %.4f, saved %s", epoch, self.plan.epochs, loss, file)
        row = (epoch, self.step, file, model_hash, loss)
        self.rows.append(dict(zip(rungs.EPOCHS, row, strict=True)))
        tables.write(self.out / "epochs.csv", self.rows, rungs.EPOCHS)

    def _vouched(self, rows: list[dict[str, Any]]) -> bool:
        """Whether the files of the saved epochs are there and hold what was saved."""
        files = [(self.out / row["file"], row["sshs_model_hash"]) for row in rows]
        return all(path.is_file() and lora_file.model_hash(path) == known for path, known in files)

    def _clear(self, keep: set[str] | None) -> None:
        """Remove what an interrupted run left but the epochs to `keep`; None starts from nothing."""
        patterns = (f"{self.name}.safetensors", f"{self.name}-??????.safetensors", "*.part")
        stale = [path for pattern in patterns for path in self.out.glob(pattern)]
        if keep is None:
            names = (
                "epochs.csv",
                "progress.jsonl",
                checkpoint.STATE,
                checkpoint.BEFORE,
                rungs.RESTED,
            )
            stale += [self.out / name for name in names]
            stale += self.out.glob("events.out.tfevents.*.log")
        removed = [p for p in stale if p.is_file() and p.name not in (keep or ())]
        for path in removed:
            path.unlink()
        if removed:
            log.warning("removed %d files of an earlier run from %s", len(removed), self.out)


def company_before(out: Path) -> int | None:
    """How many bakes shared the process when the bake in `out` was saved last; None where it was not."""
    try:
        rows = tables.read(out / "epochs.csv", rungs.EPOCHS)
        metadata = sidecar.metadata_of(out / rows["file"].iloc[-1])
    except (BakeryError, IndexError):
        return None
    return int(metadata.get(TOGETHER, "1").split(_THEN)[-1])


def settle(taken: Sequence[tuple[Variant, torch.Tensor]]) -> None:
    """End a step of several variants by what `take` gave each; the step's only wait for a GPU."""
    values = torch.cat([found for _, found in taken]).tolist()
    start = 0
    for variant, found in taken:
        variant.settled(values[start : start + len(found)])
        start += len(found)
