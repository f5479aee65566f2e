"""The trainer: LoRAs trained on a repeat folder, side by side on one base.

Steps of `Trainer.fit`: read the dataset, encode the pictures and captions, load what is trained, put
adapters on it, find what can be resumed, then train batch by batch, each bake on its own pictures and
with its own loss (`loop`). Only the parts of the base that a step needs are in memory. A saved epoch
stays valid whatever happens afterwards; a killed bake resumes after it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bakery.dataset import repeat_folders
from bakery.dataset.repeat_folders import Folders
from bakery.families import registry
from bakery.families.family import Model
from bakery.io import status
from bakery.io.errors import BakeryError
from bakery.jobs import phases, stop_requests
from bakery.settings.train import Train
from bakery.tags.shuffling import Shuffling
from bakery.training import advice, checkpoint, loop, metadata, optimizers, schedules, setup
from bakery.training.run import Run
from bakery.training.setup import TrainSpec
from bakery.training.train_step import TrainContext

log = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Trainer:
    """Trains on the repeat folders of a layout."""

    layout: Path
    device: str = "cpu"
    threads: int = 1
    """The number of threads changes the order of sums, and so rounding."""
    cache: Path | None = None
    """Caches the outputs of the base's frozen parts, for these bakes and others."""
    after_epochs: loop.AfterEpochs | None = None
    """Called when epochs were saved."""
    triggers: Sequence[str] = ()
    """The words that call the character or an outfit of it (`train.output_preservation`)."""

    def fit_one(self, spec: TrainSpec) -> dict[str, Any]:
        """Train one bake; its epochs' LoRAs go into `spec.out`. Returns the facts of the bake.

        On one kind of CPU, facts and files depend only on trainer and spec. A killed run is resumed
        after its last epoch, with the same result. Raises `BakeryError` for bad input, a NaN loss,
        and too little memory; the epochs saved before are kept, with their `epochs.csv`.
        """
        (made,) = self.fit([spec])
        if isinstance(made, BakeryError):
            raise made
        return made

    def fit(self, specs: Sequence[TrainSpec]) -> list[dict[str, Any] | BakeryError]:
        """As `fit_one`, for bakes side by side on one base; a failed bake gives its error.

        Settings must be compatible (`Train.fits_beside`). A bake is the same in any group up to
        rounding: its random numbers, steps and gradients are its own, but products over more rows
        may sum in another order. The files' metadata include how many were baked together.
        """
        settings = specs[0].settings
        _check_device(settings, self.device)
        torch.set_num_threads(self.threads)
        for spec in specs:
            advice.about_settings(spec.settings)
        meter = advice.MemoryMeter(self.device)
        with advice.out_of_memory(settings, meter):
            folders = self._folders(settings)
            context = setup.make_context(
                settings, folders, self._base(settings), self.threads, self.cache,
                repeat_folders.read_holdout(self.layout),
            )  # fmt: skip
            context.triggers = self.triggers
            setup.encode(specs, context)
            with phases.phase(phases.TRAINING, self.device):
                return self._train(specs, context, folders, meter)

    def _train(
        self,
        specs: Sequence[TrainSpec],
        context: TrainContext,
        folders: Folders,
        meter: advice.MemoryMeter,
    ) -> list[dict[str, Any] | BakeryError]:
        status.tell("loading the base")
        runs = setup.prepare_all(specs, context)
        try:
            abouts = [
                _describe(run, context, folders, self._extra(spec, len(specs)))
                for run, spec in zip(runs, specs, strict=True)
            ]
            if specs[0].settings.fuse == "auto" and not any(map(_was_saved, specs)):
                loop.check_memory(context, runs)
            _resume([run for run in runs if run.failure is None])
            meter.rest([p for run in runs for p in run.parameters])
            with loop.compiled(context, runs):
                loop.fit(context, runs, self.after_epochs)
        finally:
            runs[0].network.remove()
            for run in runs:
                if run.progress is not None:
                    run.progress.close()
        return [_outcome(run, about) for run, about in zip(runs, abouts, strict=True)]

    def _folders(self, settings: Train) -> Folders:
        reg = Path(settings.reg_data_dir) if settings.reg_data_dir is not None else None
        return repeat_folders.read_folders(self.layout, reg)

    def _base(self, settings: Train) -> Model:
        return registry.outline(
            settings.base, self.device, DTYPES[settings.mixed_precision],
            **settings.model_dump(exclude={"base"}),
        )  # fmt: skip

    def _extra(self, spec: TrainSpec, side_by_side: int) -> dict[str, object]:
        """Further metadata of the files: the caller's, and what rounding depends on."""
        extra = {
            **spec.metadata,
            "threads": self.threads,
            "device": self.device,
            "torch": torch.__version__,
        }
        return extra if side_by_side == 1 else {**extra, "baked_together": side_by_side}


def _outcome(run: Run, about: Mapping[str, Any]) -> dict[str, Any] | BakeryError:
    """The facts of a bake that has ended, or why it failed."""
    if run.failure is not None:
        return BakeryError(run.failure)
    made = {**about, "epochs": run.rows}
    if run.is_cut_short:
        made["steps"] = run.step
        made["stopped"] = stop_requests.about(run.epoch, run.counts.epochs, run.out.name)
    return made


def _was_saved(spec: TrainSpec) -> bool:
    return checkpoint.group_size_before(spec.out) is not None


def _resume(runs: Sequence[Run]) -> None:
    """Resume each from the state that an earlier run saved."""
    for run in runs:
        run.ends_at = run.checkpoint.stopped_after()
    checkpoint.align([(run.checkpoint, run.last_step) for run in runs])
    for run in runs:
        run.restore()


def _describe(
    run: Run, context: TrainContext, folders: Folders, extra: Mapping[str, object]
) -> dict[str, Any]:
    """Describe the bake to the log, the files and the caller; refuse one that failed before."""
    settings, counts, data, base = run.settings, run.counts, context.data, context.base
    run.metadata = metadata.describe(
        settings, name=run.name, base=base, folders=folders, data=data, counts=counts, extra=extra,
        optimizer=optimizers.full_name(settings, run.optimizer),
    )  # fmt: skip
    chosen = settings.recorded()
    del chosen["base"]  # its content is in the key
    run.checkpoint.identify(run.metadata, chosen, rests=run.until is not None)
    failed = run.checkpoint.failure()
    if failed is not None:
        run.failure = (
            f"this bake failed before and would again ({failed}): change its settings, or remove "
            f"{run.out / checkpoint.STOPPED} to try it once more"
        )
    still = Shuffling.of(settings).still
    truncated = sum(any(base.cuts(still(text)) for text in item.texts) for item in data.items)
    sizes = {f"{w}x{h}": count for (w, h), count in data.bucket_counts().items()}
    adapters = len(run.network.layers)
    listed = ", ".join(f"{count} of {size}" for size, count in sizes.items())
    log.info("%d pictures, with repeats %s", len(data.items), listed)
    log.info("%s; %d adapters on %s", _length(counts), adapters, base.path)
    return {
        "pictures": sum(not item.is_reg for item in data.items),
        "reg_pictures": sum(item.is_reg for item in data.items),
        "ignored": list(folders.ignored),
        "pixels_lost": advice.about_pictures(settings, folders, data),
        **({"held_out": len(context.validation)} if context.validation is not None else {}),
        "truncated_captions": truncated,
        "empty_captions": advice.about_captions(settings, data, truncated),
        "buckets": sizes,
        "steps_per_epoch": counts.steps_per_epoch,
        "steps": counts.total,
        "adapters": adapters,
        "threads": context.threads,
    }


def _length(counts: schedules.StepCounts) -> str:
    return f"{counts.total} steps: {counts.epochs} epochs of {counts.steps_per_epoch}"


def _check_device(settings: Train, device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BakeryError(f"device {device} was asked for, but torch sees no GPU: use cpu")
    if device == "cpu" and settings.mixed_precision == "fp16":
        raise BakeryError("train.mixed_precision is fp16, which needs a GPU: set it to no or bf16")
