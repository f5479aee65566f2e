"""The training stage, with kohya's settings. A job trains the bakes that it has claimed, each in
its own folder.

Steps of `TrainStage.run`: describe each bake (`TrainSpec`), train as many side by side
as fit (`Trainer`), and record each one's outcome, where its own job looks for it (`claims`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.interop import sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError, OutOfMemory
from bakery.jobs import claims, rungs
from bakery.settings.prune import is_class_first
from bakery.settings.train import Train
from bakery.tags.trigger import Trigger
from bakery.training import checkpoint
from bakery.training.loop import AfterEpochs
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainStage:
    """What a job of the train stage works on."""

    abouts: Mapping[Path, Mapping[str, Any]]
    """Folder of a bake -> its node's facts."""
    places: Mapping[str, str | None]
    """Settings that name files, as this machine finds them."""
    name: str
    """Of the LoRA files."""
    trigger: str
    class_tokens: str
    layout: Path
    device: str
    threads: int
    cache: Path
    caption_order: Sequence[str] = ()
    """Of the captions (`prune.caption_order`)."""
    outfits: Sequence[str] = ()
    """Words that call an outfit of the character (`prune.outfits`)."""
    until: int | None = None
    """The epoch after which all pause; None trains to the end."""
    drawing: Callable[..., AfterEpochs] | None = None
    """Makes what draws epochs that were just saved, from `trained` (as `abouts`), `device` and
    `threads`; it changes no result. None draws nothing."""

    def run(self) -> None:
        """Train all, as many side by side as fit, and write to each folder what its job looks
        for."""
        drawing = self.drawing and self.drawing(
            trained=self.abouts, device=self.device, threads=self.threads
        )
        triggers = tuple(filter(None, (self.trigger, *self.outfits)))
        trainer = Trainer(
            self.layout, self.device, self.threads, self.cache, drawing or None, triggers
        )
        waiting = _groups([self._spec(folder) for folder in self.abouts])
        while waiting:
            group = waiting.pop(0)
            log.info("%d bakes side by side: %s", len(group), ", ".join(o.out.name for o in group))
            try:
                results = trainer.fit(group)
            except OutOfMemory as error:
                if len(group) == 1:
                    raise
                shares = math.ceil(len(group) / error.fitting) if error.fitting else 2
                at_once = math.ceil(len(group) / shares)
                # only the text: keeping the error itself would keep the base in memory
                log.warning("%s; continuing with %d at a time", str(error), at_once)
                waiting = [*_chunks(group, at_once), *waiting]
                continue
            for spec, made in zip(group, results, strict=True):
                self._record_outcome(spec, made)

    def _spec(self, folder: Path) -> TrainSpec:
        about = self.abouts[folder]
        settings = Train.model_validate(about["settings"]).model_copy(update=self.places)
        metadata = {"bake": about, "trigger": self.trigger}
        return TrainSpec(settings, folder, self.name, metadata, self.until)

    def _record_outcome(self, spec: TrainSpec, made: dict[str, Any] | BakeryError) -> None:
        """Record a bake's outcome."""
        if isinstance(made, BakeryError):
            claims.fail(spec.out, str(made))
            return
        class_first = is_class_first(self.caption_order)
        trigger = Trigger(self.trigger, self.class_tokens, class_first=class_first)
        activation = trigger.activation_text
        files = [epoch["file"] for epoch in made["epochs"]]
        measured = [manifest.VALIDATION] if (spec.out / manifest.VALIDATION).is_file() else []
        for file in files:
            sidecar.write(spec.out / file, activation=activation)
        if "stopped" in made:  # its state stays, to go on from
            claims.finish(spec.out, made, ["epochs.csv", *measured, *files])
            return
        if spec.until is not None and spec.until < spec.settings.num_epochs:
            rungs.rest(spec.out, made, ["epochs.csv", *measured, *files], epoch=spec.until)
            return
        claims.finish(spec.out, made, ["epochs.csv", *measured, *files])
        rungs.forget(spec.out)


def work(abouts: Mapping[Path, Mapping[str, Any]], **stage: Any) -> None:
    """Train the bakes in the folders `abouts`; `stage` are the other facts of `TrainStage`."""
    TrainStage(abouts=abouts, **stage).run()


def _groups(specs: Sequence[TrainSpec]) -> list[list[TrainSpec]]:
    """All at once; but a resumed bake trains in a group of the same size as before."""
    before = {spec.out: checkpoint.group_size_before(spec.out) for spec in specs}
    alone = [spec for spec in specs if before[spec.out] == 1]
    rest = [spec for spec in specs if before[spec.out] != 1]
    known = [before[spec.out] or 0 for spec in rest]
    return _chunks(alone, 1) + _chunks(rest, max(known, default=0) or len(specs))


def _chunks(specs: Sequence[TrainSpec], size: int) -> list[list[TrainSpec]]:
    return [list(specs[start : start + size]) for start in range(0, len(specs), size)]
