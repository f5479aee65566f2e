"""The bake: LoRAs trained on a repeat folder, in kohya's words.

Steps of `run`: read the dataset, load the base, encode the pictures, put adapters on the base, then
`fit`: batch by batch, each living variant shows its own pictures and learns from its own loss. What an
epoch has saved stays valid whatever happens afterwards, and a killed bake goes on behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bakery import (
    advice,
    buckets,
    dataset,
    kohya,
    losses,
    optimizers,
    resume,
    schedules,
    seeds,
)
from bakery import base as bases
from bakery.config import Train
from bakery.dataset import Batch, Dataset, Folders
from bakery.errors import BakeryError
from bakery.latents import Latents
from bakery.lora import TEXT_ENCODER_PREFIX, UNET_PREFIX, LoRANetwork
from bakery.store import Store
from bakery.texts import Texts
from bakery.variant import Variant

log = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Kitchen:
    """What all variants share."""

    base: bases.Base
    data: Dataset
    latents: Latents
    store: Store
    threads: int


def run(
    settings: Train,
    *,
    layout: Path,
    out: Path,
    name: str,
    metadata: Mapping[str, object],
    device: str = "cpu",
    threads: int = 1,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train on the repeat folders of `layout`; write the epochs' LoRAs into `out`.

    `metadata` goes into the files (see `kohya.describe`). What the frozen parts of the base compute
    is kept in `cache`, for this bake and others. Returns the facts of the bake. On one kind of CPU,
    facts and files depend on nothing but the arguments; `threads` is one of them, since sums are
    rounded in another order when more threads share them. A run that was killed is gone on with
    behind its last epoch, to the same end. Raises `BakeryError` for bad input, a loss that is no
    number, and too little memory; the epochs saved before stay, with their `epochs.csv`.
    """
    _check_device(settings, device)
    torch.set_num_threads(threads)
    advice.about_settings(settings)
    meter = advice.Meter(device)
    with advice.out_of_memory(settings, meter):
        reg = Path(settings.reg_data_dir) if settings.reg_data_dir is not None else None
        folders = dataset.read(layout, reg)
        base = bases.load(
            settings.base, device, DTYPES[settings.mixed_precision],
            v_parameterization=settings.v_parameterization,
            zero_terminal_snr=settings.zero_terminal_snr,
        )  # fmt: skip
        kitchen = equip(settings, folders, base, threads, cache)
        arithmetic = {"threads": threads, "device": device, "torch": torch.__version__}
        variant = prepare(settings, kitchen, out=out, name=name)
        try:
            about = _describe(variant, kitchen, folders, {**metadata, **arithmetic})
            variant.restore()
            meter.rest(variant.parameters)
            fit(kitchen, [variant])
        finally:
            variant.network.remove()
            if variant.progress is not None:
                variant.progress.close()
    if variant.failure is not None:
        raise BakeryError(variant.failure)
    return {**about, "epochs": variant.rows}


def equip(
    settings: Train, folders: Folders, base: bases.Base, threads: int, cache: Path | None
) -> Kitchen:
    """The pictures in their buckets, and caches for what the base's frozen parts compute."""
    data = dataset.arrange(folders, _sizes(settings, base))
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
    """New adapters on the base, switched on, with an optimizer group for each part that learns."""
    base, rates = kitchen.base, settings.rates
    plan = schedules.plan(settings, kitchen.data.batches_per_epoch(settings.train_batch_size))
    network = LoRANetwork(
        base.unet if rates["unet_lr"] else None,
        base.text_encoders if rates["text_encoder_lr"] else None,
        settings.network_dim,
        settings.network_alpha,
        seeds.generator(settings.seed, "lora"),
        conv_dim=settings.conv_dim,
        conv_alpha=1.0 if settings.conv_alpha is None else settings.conv_alpha,
        dropout=settings.network_dropout,
    ).apply()
    parts = {"unet_lr": UNET_PREFIX, "text_encoder_lr": TEXT_ENCODER_PREFIX}
    groups = [
        {"params": network.parameters_of(prefix), "name": part, "full_lr": rates[part]}
        for part, prefix in parts.items()
        if rates[part]
    ]
    if settings.gradient_checkpointing:
        _recompute_activations(base, text_encoder=rates["text_encoder_lr"] > 0)
    return Variant(
        settings=settings,
        name=name,
        out=out,
        owner="",
        plan=plan,
        network=network,
        optimizer=optimizers.make(settings, groups, base.device.type),
        scaler=torch.amp.GradScaler(base.device.type, enabled=settings.mixed_precision == "fp16"),
        diffusion=losses.diffusion(settings, base.noise_scheduler),
        texts=Texts(base, settings, kitchen.store, threads=kitchen.threads),
    )


def fit(kitchen: Kitchen, variants: Sequence[Variant]) -> None:
    """Train until every variant is at its end, be it good or bad."""
    while live := [variant for variant in variants if variant.live]:
        _begin_epochs(kitchen, live)
        batches = [variant.next_batch() for variant in live]
        found = [batch_loss(kitchen, *pair) for pair in zip(live, batches, strict=True)]
        scaled = [variant.scaled(loss) for variant, loss in zip(live, found, strict=True)]
        torch.stack(scaled).sum().backward()
        for variant, loss in zip(live, found, strict=True):
            variant.learn(loss)


def batch_loss(kitchen: Kitchen, variant: Variant, batch: Batch) -> torch.Tensor:
    """The loss of one variant's batch at uniformly drawn timesteps."""
    base, settings, diffusion = kitchen.base, variant.settings, variant.diffusion
    latents = torch.stack([kitchen.latents.draw(view, settings.seed) for view in batch.views])
    noise, t = diffusion.draw(
        latents.shape, seeds.generator(settings.seed, "noise", batch.number)
    )  # (B, C, h, w) and (B,)
    importance = torch.tensor([settings.prior_loss_weight if r else 1.0 for r in batch.is_reg])
    latents, noise, t, importance = (x.to(base.device) for x in (latents, noise, t, importance))
    noisy = diffusion.noisy(latents, noise, t)
    variant.network.seed_dropout([seeds.number(settings.seed, "dropout", batch.number)])
    with torch.autocast(base.device.type, base.dtype, enabled=base.dtype != torch.float32):
        text = variant.texts(batch.captions)
        predicted = bases.predict(base, noisy, t, text, _size_ids(kitchen.data, batch))
    return diffusion.loss(predicted, latents, noise, t, importance)


def _size_ids(data: Dataset, batch: Batch) -> list[tuple[int, ...]]:
    """What SDXL is told of each picture's size and place."""
    return [
        bases.size_ids(data.sizes[view.index], data.fits[view.index].bucket, view.flipped)
        for view in batch.views
    ]


def _begin_epochs(kitchen: Kitchen, live: Sequence[Variant]) -> None:
    """Where an epoch begins, have the latents ready that it will show."""
    begun = [variant.begin_epoch(kitchen.data) for variant in live]
    if not any(begun):
        return
    fixed = [kitchen.data.views(variant.settings) for variant in live]
    views = {
        view
        for variant, always in zip(live, fixed, strict=True)
        for view in (always or [v for batch in variant.batches for v in batch.views])
    }
    kitchen.latents.prepare(views, forget=None in fixed)


def _describe(
    variant: Variant, kitchen: Kitchen, folders: Folders, extra: Mapping[str, object]
) -> dict[str, Any]:
    """Tell the log, the files and the caller what this bake is; refuse one that failed before."""
    settings, plan, data, base = variant.settings, variant.plan, kitchen.data, kitchen.base
    variant.metadata = kohya.describe(
        settings, name=variant.name, base=base, folders=folders, data=data, plan=plan, extra=extra,
        optimizer=optimizers.full_name(settings, variant.optimizer),
    )  # fmt: skip
    chosen = settings.model_dump(mode="json", exclude={"base"})  # its content is in the key
    variant.owner = resume.identity(metadata=variant.metadata, settings=chosen)
    failed = resume.failure(variant.out, variant.owner)
    if failed is not None:
        raise BakeryError(
            f"this bake failed before and would again ({failed}): change its settings, or remove "
            f"{variant.out / resume.STOPPED} to try it once more"
        )
    needed = bases.chunks_needed(base, [item.caption for item in data.items])
    truncated = sum(n > variant.texts.most_chunks for n in needed)
    sizes = {f"{w}x{h}": count for (w, h), count in data.bucket_counts().items()}
    adapters = len(variant.network.layers)
    log.info(
        "%d pictures, with repeats %s", len(data.items),
        ", ".join(f"{count} of {size}" for size, count in sizes.items()),
    )  # fmt: skip
    log.info(
        "%d steps: %d epochs of %d; %d adapters on %s",
        plan.total, plan.epochs, plan.steps_per_epoch, adapters, base.path,
    )  # fmt: skip
    return {
        "pictures": sum(not item.is_reg for item in data.items),
        "reg_pictures": sum(item.is_reg for item in data.items),
        "ignored": list(folders.ignored),
        "pixels_lost": advice.about_pictures(settings, folders, data),
        "truncated_captions": truncated,
        "empty_captions": advice.about_captions(settings, data, truncated),
        "buckets": sizes,
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.total,
        "adapters": adapters,
        "threads": kitchen.threads,
    }


def _sizes(settings: Train, base: bases.Base) -> Sequence[buckets.Size]:
    factor = base.pixels_per_latent
    step = settings.bucket_reso_steps if settings.enable_bucket else settings.resolution
    if step % factor:
        key = "bucket_reso_steps" if settings.enable_bucket else "resolution"
        raise BakeryError(
            f"train.{key} is {step}, but the VAE of {base.path} works in squares of {factor} "
            f"pixels: give a multiple of {factor}"
        )
    if not settings.enable_bucket:
        return ((settings.resolution, settings.resolution),)
    return buckets.resolutions(
        settings.resolution, settings.min_bucket_reso, settings.max_bucket_reso, step
    )


def _recompute_activations(base: bases.Base, *, text_encoder: bool) -> None:
    base.unet.enable_gradient_checkpointing()
    for encoder in base.text_encoders if text_encoder else ():
        encoder.activation_checkpointing_enable()
        encoder.train()  # CLIP recomputes in this mode only; it has no dropout


def _check_device(settings: Train, device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BakeryError(f"device {device} was asked for, but torch sees no GPU: use cpu")
    if device == "cpu" and settings.mixed_precision == "fp16":
        raise BakeryError("train.mixed_precision is fp16, which needs a GPU: set it to no or bf16")
