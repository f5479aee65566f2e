"""What a bake needs before its first step: pictures in buckets, adapters on the base, an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bakery.dataset import buckets, repeat_folders
from bakery.dataset.repeat_folders import Folders
from bakery.families import base as bases
from bakery.io import seeds
from bakery.io.errors import BakeryError
from bakery.lora.network import TEXT_ENCODER_PREFIX, UNET_PREFIX, Adapter, LoRANetwork
from bakery.settings.train import Train
from bakery.training import losses, optimizers, schedules
from bakery.training.cache import Store
from bakery.training.checkpoint import Checkpoint
from bakery.training.latents import Latents
from bakery.training.run import Variant
from bakery.training.texts import Texts
from bakery.training.train_step import Kitchen


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
    """Rest after this epoch, to go on some other day; None goes to the end."""


def equip(
    settings: Train, folders: Folders, base: bases.Base, threads: int, cache: Path | None
) -> Kitchen:
    """The pictures in their buckets, and caches for what the base's frozen parts compute."""
    data = repeat_folders.arrange(folders, _sizes(settings, base))
    store = Store(cache)
    latents = Latents(
        base,
        data,
        store,
        threads=threads,
        workers=settings.max_data_loader_n_workers,
        persistent=settings.persistent_data_loader_workers,
    )
    return Kitchen(base, data, latents, store, threads)


def prepare(settings: Train, kitchen: Kitchen, *, out: Path, name: str) -> Variant:
    """One bake's adapters on the base, switched on, and its optimizer."""
    (variant,) = prepare_all([TrainSpec(settings, out, name, {})], kitchen)
    return variant


def prepare_all(specs: Sequence[TrainSpec], kitchen: Kitchen) -> list[Variant]:
    """New adapters on the base, switched on, a stack of one for each bake."""
    base, settings = kitchen.base, specs[0].settings
    rates = settings.rates
    network = LoRANetwork.stack(
        base.unet if rates["unet_lr"] else None,
        base.text_encoders if rates["text_encoder_lr"] else None,
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
        _recompute_activations(base, text_encoder=rates["text_encoder_lr"] > 0)
    return [_variant(spec, kitchen, network, k) for k, spec in enumerate(specs)]


def _variant(spec: TrainSpec, kitchen: Kitchen, network: LoRANetwork, adapter: int) -> Variant:
    """A bake with an optimizer group for each part that learns."""
    settings, base = spec.settings, kitchen.base
    parts = {"unet_lr": UNET_PREFIX, "text_encoder_lr": TEXT_ENCODER_PREFIX}
    groups = [
        {"params": network.parameters_of(prefix, adapter), "name": part, "full_lr": rate}
        for part, prefix in parts.items()
        if (rate := settings.rates[part])
    ]
    return Variant(
        settings=settings,
        name=spec.name,
        out=spec.out,
        checkpoint=Checkpoint(spec.out, spec.name),
        plan=schedules.plan(settings, kitchen.data.batches_per_epoch(settings.train_batch_size)),
        network=network,
        adapter=adapter,
        optimizer=optimizers.make(settings, groups, base.device.type),
        scaler=torch.amp.GradScaler(base.device.type, enabled=settings.mixed_precision == "fp16"),
        diffusion=losses.diffusion(settings, base.noise_scheduler),
        texts=Texts(base, settings, kitchen.store, threads=kitchen.threads),
        until=spec.until,
    )


def _sizes(settings: Train, base: bases.Base) -> Sequence[buckets.Size]:
    factor = base.pixels_per_latent
    step = settings.bucket_reso_steps if settings.enable_bucket else settings.resolution
    if step % factor:
        key = "bucket_reso_steps" if settings.enable_bucket else "resolution"
        raise BakeryError(
            f"train.{key} is {step}, but the VAE of {base.path} works in squares of {factor} "
            f"pixels: give a multiple of {factor}"
        )
    return buckets.of(settings)


def _recompute_activations(base: bases.Base, *, text_encoder: bool) -> None:
    base.unet.enable_gradient_checkpointing()
    for encoder in base.text_encoders if text_encoder else ():
        encoder.activation_checkpointing_enable()
        encoder.train()  # CLIP recomputes in this mode only; it has no dropout
