"""The bake: LoRAs trained on a repeat folder, in kohya's words.

Steps of `run`: read the dataset, load the base, encode the pictures, put adapters on the base, then
batch by batch each living variant shows its own pictures and learns from its own loss (`fitting`). What
an epoch has saved stays valid whatever happens afterwards, and a killed bake goes on behind it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bakery.dataset import buckets, repeat_folders
from bakery.dataset.repeat_folders import Folders
from bakery.families import base as bases
from bakery.interop import sidecar
from bakery.io import seeds
from bakery.io.errors import BakeryError, OutOfMemory
from bakery.jobs import claims, rungs
from bakery.lora.network import TEXT_ENCODER_PREFIX, UNET_PREFIX, Adapter, LoRANetwork
from bakery.settings.train import Train
from bakery.training import (
    advice,
    checkpoint,
    loop,
    losses,
    memory,
    metadata,
    optimizers,
    schedules,
)
from bakery.training.cache import Store
from bakery.training.latents import Latents
from bakery.training.run import Variant, company_before
from bakery.training.texts import Texts
from bakery.training.train_step import Kitchen

log = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Order:
    """A bake to be made."""

    settings: Train
    out: Path
    name: str
    """Of the LoRA files."""
    metadata: Mapping[str, object]
    """Goes into the files (see `metadata.describe`)."""
    until: int | None = None
    """Rest after this epoch, to go on some other day; None goes to the end."""


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

    `metadata` goes into the files (see `metadata.describe`). What the frozen parts of the base compute
    is kept in `cache`, for this bake and others. Returns the facts of the bake. On one kind of CPU,
    facts and files depend on nothing but the arguments; `threads` is one of them, since sums are
    rounded in another order when more threads share them. A run that was killed is gone on with
    behind its last epoch, to the same end. Raises `BakeryError` for bad input, a loss that is no
    number, and too little memory; the epochs saved before stay, with their `epochs.csv`.
    """
    order = Order(settings, out, name, metadata)
    (made,) = run_all([order], layout=layout, device=device, threads=threads, cache=cache)
    if isinstance(made, BakeryError):
        raise made
    return made


def run_all(
    orders: Sequence[Order], *, layout: Path, device: str, threads: int, cache: Path | None
) -> list[dict[str, Any] | BakeryError]:
    """As `run`, for bakes side by side on one base; what failed gives its error.

    Settings must fit beside each other (`Train.fits_beside`). A bake is the same in any company up
    to rounding: its random numbers, steps and gradients are its own, but products over more rows may
    sum in another order. The files' metadata say how many were baked together.
    """
    settings = orders[0].settings
    _check_device(settings, device)
    torch.set_num_threads(threads)
    for order in orders:
        advice.about_settings(order.settings)
    meter = advice.Meter(device)
    with advice.out_of_memory(settings, meter):
        reg = Path(settings.reg_data_dir) if settings.reg_data_dir is not None else None
        folders = repeat_folders.read(layout, reg)
        base = bases.load(
            settings.base, device, DTYPES[settings.mixed_precision],
            v_parameterization=settings.v_parameterization,
            zero_terminal_snr=settings.zero_terminal_snr,
        )  # fmt: skip
        kitchen = equip(settings, folders, base, threads, cache)
        arithmetic = {"threads": threads, "device": device, "torch": torch.__version__}
        if len(orders) > 1:
            arithmetic["baked_together"] = len(orders)
        variants = prepare_all(orders, kitchen)
        try:
            abouts = [
                _describe(variant, kitchen, folders, {**order.metadata, **arithmetic})
                for variant, order in zip(variants, orders, strict=True)
            ]
            if settings.fuse == "auto" and not any(company_before(o.out) for o in orders):
                memory.check(kitchen, variants)
            loop.restore([variant for variant in variants if variant.failure is None])
            meter.rest([p for variant in variants for p in variant.parameters])
            with loop.compiled(kitchen, variants):
                loop.fit(kitchen, variants)
        finally:
            variants[0].network.remove()
            for variant in variants:
                if variant.progress is not None:
                    variant.progress.close()
    return [
        {**about, "epochs": variant.rows}
        if variant.failure is None
        else BakeryError(variant.failure)
        for variant, about in zip(variants, abouts, strict=True)
    ]


def bake(
    abouts: Mapping[Path, Mapping[str, Any]],
    *,
    places: Mapping[str, str | None],
    name: str,
    trigger: str,
    class_tokens: str,
    layout: Path,
    device: str,
    threads: int,
    cache: Path,
    until: int | None = None,
) -> None:
    """Bake what was claimed, and leave in each folder what its own job looks for (`claims`).

    `abouts` leads from folders to what their nodes say about themselves; `places` are settings that
    name files, as this machine finds them. `until` is the epoch after which all rest.
    """
    orders = [
        Order(
            Train.model_validate(about["settings"]).model_copy(update=places),
            folder,
            name,
            {"bake": about, "trigger": trigger},
            until,
        )
        for folder, about in abouts.items()
    ]
    activation = sidecar.activation_text(trigger, class_tokens)
    waiting = _companies(orders)
    while waiting:
        group = waiting.pop(0)
        log.info("%d bakes side by side: %s", len(group), ", ".join(o.out.name for o in group))
        try:
            results = run_all(group, layout=layout, device=device, threads=threads, cache=cache)
        except OutOfMemory as error:
            if len(group) == 1:
                raise
            shares = math.ceil(len(group) / error.fitting) if error.fitting else 2
            at_once = math.ceil(len(group) / shares)
            # the words alone: with the error, whoever keeps records would keep the base in memory
            log.warning("%s; going on with %d at a time", str(error), at_once)
            waiting = [*_chunks(group, at_once), *waiting]
            continue
        for order, made in zip(group, results, strict=True):
            _settle(order, made, activation)


def _companies(orders: Sequence[Order]) -> list[list[Order]]:
    """All at once; but who goes on does so among as many as before, so that it ends as it began."""
    before = {order.out: company_before(order.out) for order in orders}
    alone = [order for order in orders if before[order.out] == 1]
    rest = [order for order in orders if before[order.out] != 1]
    known = [before[order.out] or 0 for order in rest]
    return _chunks(alone, 1) + _chunks(rest, max(known, default=0) or len(orders))


def _chunks(orders: Sequence[Order], size: int) -> list[list[Order]]:
    return [list(orders[start : start + size]) for start in range(0, len(orders), size)]


def _settle(order: Order, made: dict[str, Any] | BakeryError, activation: str) -> None:
    """Put a bake's end on record."""
    if isinstance(made, BakeryError):
        claims.fail(order.out, str(made))
        return
    files = [epoch["file"] for epoch in made["epochs"]]
    for file in files:
        sidecar.write(order.out / file, activation=activation)
    if order.until is not None and order.until < order.settings.num_epochs:
        rungs.rest(order.out, made, ["epochs.csv", *files], epoch=order.until)
        return
    claims.finish(order.out, made, ["epochs.csv", *files])
    checkpoint.forget(order.out)
    rungs.forget(order.out)


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
    (variant,) = prepare_all([Order(settings, out, name, {})], kitchen)
    return variant


def prepare_all(orders: Sequence[Order], kitchen: Kitchen) -> list[Variant]:
    """New adapters on the base, switched on, a stack of one for each bake."""
    base, settings = kitchen.base, orders[0].settings
    rates = settings.rates
    network = LoRANetwork.stack(
        base.unet if rates["unet_lr"] else None,
        base.text_encoders if rates["text_encoder_lr"] else None,
        settings.network_dim,
        [
            Adapter(
                alpha=order.settings.network_alpha,
                conv_alpha=1.0 if order.settings.conv_alpha is None else order.settings.conv_alpha,
                dropout=order.settings.network_dropout,
                generator=seeds.generator(order.settings.seed, "lora"),
            )
            for order in orders
        ],
        conv_dim=settings.conv_dim,
    ).apply()
    if settings.gradient_checkpointing:
        _recompute_activations(base, text_encoder=rates["text_encoder_lr"] > 0)
    return [_variant(order, kitchen, network, k) for k, order in enumerate(orders)]


def _variant(order: Order, kitchen: Kitchen, network: LoRANetwork, adapter: int) -> Variant:
    """A bake with an optimizer group for each part that learns."""
    settings, base = order.settings, kitchen.base
    parts = {"unet_lr": UNET_PREFIX, "text_encoder_lr": TEXT_ENCODER_PREFIX}
    groups = [
        {"params": network.parameters_of(prefix, adapter), "name": part, "full_lr": rate}
        for part, prefix in parts.items()
        if (rate := settings.rates[part])
    ]
    return Variant(
        settings=settings,
        name=order.name,
        out=order.out,
        owner="",
        plan=schedules.plan(settings, kitchen.data.batches_per_epoch(settings.train_batch_size)),
        network=network,
        adapter=adapter,
        optimizer=optimizers.make(settings, groups, base.device.type),
        scaler=torch.amp.GradScaler(base.device.type, enabled=settings.mixed_precision == "fp16"),
        diffusion=losses.diffusion(settings, base.noise_scheduler),
        texts=Texts(base, settings, kitchen.store, threads=kitchen.threads),
        until=order.until,
    )


def _describe(
    variant: Variant, kitchen: Kitchen, folders: Folders, extra: Mapping[str, object]
) -> dict[str, Any]:
    """Tell the log, the files and the caller what this bake is; refuse one that failed before."""
    settings, plan, data, base = variant.settings, variant.plan, kitchen.data, kitchen.base
    variant.metadata = metadata.describe(
        settings, name=variant.name, base=base, folders=folders, data=data, plan=plan, extra=extra,
        optimizer=optimizers.full_name(settings, variant.optimizer),
    )  # fmt: skip
    chosen = settings.model_dump(mode="json", exclude={"base"})  # its content is in the key
    variant.identify(chosen)
    failed = checkpoint.failure(variant.out, variant.owner)
    if failed is not None:
        variant.failure = (
            f"this bake failed before and would again ({failed}): change its settings, or remove "
            f"{variant.out / checkpoint.STOPPED} to try it once more"
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
    return buckets.of(settings)


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
