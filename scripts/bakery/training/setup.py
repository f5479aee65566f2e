"""Prepares a bake's first step: pictures in buckets, adapters on the base, an optimizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bakery.dataset import buckets, repeat_folders
from bakery.dataset.repeat_folders import NOTHING, Folders
from bakery.families.family import DENOISER, TEXTS, Model
from bakery.io import seeds
from bakery.io.errors import BakeryError
from bakery.jobs import phases
from bakery.lora.network import Adapter, LoRANetwork
from bakery.settings.train import Train
from bakery.training import losses, optimizers, preservation, schedules
from bakery.training.cache import Store
from bakery.training.checkpoint import Checkpoint
from bakery.training.latents import Latents
from bakery.training.run import Run
from bakery.training.schedules import StepCounts
from bakery.training.texts import EncodedTexts, Texts, is_kept
from bakery.training.train_step import TrainContext
from bakery.training.validation import Validation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSpec:
    """A bake to be made."""

    settings: Train
    out: Path
    name: str
    """Of the LoRA files."""
    metadata: Mapping[str, object]
    """Goes into the files (see `metadata.describe`)."""
    until: int | None = None
    """Pause after this epoch, to resume later; None trains to the end."""


def make_context(
    settings: Train,
    folders: Folders,
    base: Model,
    threads: int,
    cache: Path | None,
    held_out: Folders = NOTHING,
) -> TrainContext:
    """The pictures in their buckets, and caches for what the base's frozen parts compute."""
    sizes = _sizes(settings, base)
    data, *held = (repeat_folders.arrange(one, sizes) for one in (folders, held_out) if one.items)
    store = Store(cache)
    texts = EncodedTexts(base, store, threads=threads)
    latents, *others = (
        Latents(
            base,
            each,
            store,
            threads=threads,
            workers=settings.max_data_loader_n_workers,
            persistent=settings.persistent_data_loader_workers,
        )
        for each in (data, *held)
    )
    validation = Validation(base, held[0], others[0]) if held else None
    return TrainContext(base, data, latents, texts, threads, validation)


def encode(specs: Sequence[TrainSpec], context: TrainContext) -> None:
    """Encode pictures and captions as far as they stay the same; what encoded them is freed.

    Latents of random crops are left to the epoch that shows them, captions that change to their batch.
    """
    data, device = context.data, str(context.base.device)
    counts = [_counts(spec.settings, context) for spec in specs]  # errors first: this takes long
    for spec in specs:
        preservation.check(spec.settings, data, context.triggers)
    with phases.phase(phases.LATENTS, device):
        views = {view for spec in specs for view in data.views(spec.settings) or ()}
        context.latents.prepare(views)
        if context.validation is not None:
            context.validation.prepare()
    with phases.phase(phases.TEXTS, device):
        context.texts.prepare(
            batch.captions
            + preservation.shown_again(spec.settings, batch, context.triggers).captions
            for spec, its in zip(specs, counts, strict=True)
            if is_kept(spec.settings, context.base)
            for epoch in range(1, min(its.epochs, spec.until or its.epochs) + 1)
            for batch in data.epoch(spec.settings, epoch)
        )
        if context.validation is not None:
            kept = [spec.settings for spec in specs if is_kept(spec.settings, context.base)]
            for size in {settings.train_batch_size for settings in kept}:
                context.texts.prepare(context.validation.captions(size))
        if all(is_kept(spec.settings, context.base) for spec in specs):
            context.base.release(TEXTS)
            about = "%d captions are encoded, %.2f GiB; the text encoder is not needed any more"
            log.info(about, len(context.texts), context.texts.size / 2**30)


def prepare(settings: Train, context: TrainContext, *, out: Path, name: str) -> Run:
    """One bake's adapters on the base, switched on, and its optimizer."""
    (run,) = prepare_all([TrainSpec(settings, out, name, {})], context)
    return run


def prepare_all(specs: Sequence[TrainSpec], context: TrainContext) -> list[Run]:
    """New adapters on the base, switched on, as a stack with one for each bake."""
    base, settings = context.base, specs[0].settings
    parts = list(base.trained(settings.rates))
    counts = [_counts(spec.settings, context) for spec in specs]
    are_kept = all(is_kept(spec.settings, base) for spec in specs)
    base.need(DENOISER, *([] if are_kept else [TEXTS]))
    network = LoRANetwork.stack(
        base.targets(parts, convolutions=bool(settings.conv_dim)),
        settings.network_dim,
        [
            Adapter(
                alpha=spec.settings.network_alpha,
                conv_alpha=1.0 if spec.settings.conv_alpha is None else spec.settings.conv_alpha,
                dropout=spec.settings.network_dropout,
                generator=seeds.generator(spec.settings.seed, "lora"),
            )
            for spec in specs
        ],
        conv_dim=settings.conv_dim,
    ).apply()
    if settings.gradient_checkpointing:
        base.recompute_activations(parts)
    runs = enumerate(zip(specs, counts, strict=True))
    return [_new_run(spec, its, context, network, k) for k, (spec, its) in runs]


def _counts(settings: Train, context: TrainContext) -> StepCounts:
    batches = context.data.batches_per_epoch(settings.train_batch_size)
    return schedules.step_counts(settings, batches)


def _new_run(
    spec: TrainSpec, counts: StepCounts, context: TrainContext, network: LoRANetwork, adapter: int
) -> Run:
    """A bake with an optimizer group for each part that learns."""
    settings, base = spec.settings, context.base
    groups = [
        {"params": network.parameters_of(part, adapter), "name": part, "full_lr": rate}
        for part, rate in base.trained(settings.rates).items()
    ]
    return Run(
        settings=settings,
        name=spec.name,
        out=spec.out,
        checkpoint=Checkpoint(spec.out, spec.name),
        counts=counts,
        network=network,
        adapter=adapter,
        optimizer=optimizers.make(settings, groups, base.device.type),
        scaler=torch.amp.GradScaler(base.device.type, enabled=settings.mixed_precision == "fp16"),
        diffusion=losses.of(settings, base.noise),
        texts=Texts(settings, context.texts),
        until=spec.until,
        measure=None if context.validation is None else context.validation.measure,
    )


def _sizes(settings: Train, base: Model) -> Sequence[buckets.Size]:
    factor = base.latents.grid
    step = settings.bucket_reso_steps if settings.enable_bucket else settings.resolution
    if step % factor:
        key = "bucket_reso_steps" if settings.enable_bucket else "resolution"
        raise BakeryError(
            f"train.{key} is {step}, but {base.path} works in squares of {factor} pixels: give a "
            f"multiple of {factor}"
        )
    return buckets.of(settings)
