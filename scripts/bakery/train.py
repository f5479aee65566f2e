"""The bake: a LoRA trained on a repeat folder, in kohya's words.

Steps of `run`: clear what an interrupted run left, read and encode the dataset, put adapters on
the base, then epoch by epoch `training_step` and `_save`. What an epoch has saved stays valid
whatever happens afterwards.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch.nn import functional as F

from bakery import base as bases
from bakery import buckets, captions, dataset, kohya, schedules, seeds, tables
from bakery.config import Train
from bakery.errors import BakeryError
from bakery.lora import TEXT_ENCODER_PREFIX, UNET_PREFIX, LoRANetwork

log = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOKENS_PER_PASS = 75  # what max_token_length counts in, whatever the base's own chunk size
EPOCH_COLUMNS = ("epoch", "step", "file", "sshs_model_hash", "loss")


@dataclass
class Bake:
    """Everything a training step touches."""

    settings: Train
    base: bases.Base
    data: dataset.Dataset
    plan: schedules.Plan
    network: LoRANetwork
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    parameters: list[torch.nn.Parameter] = field(default_factory=list)


def run(
    settings: Train,
    *,
    layout: Path,
    out: Path,
    name: str,
    metadata: Mapping[str, object],
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Any]:
    """Train on the repeat folders of `layout`; write the epochs' LoRAs into `out`.

    `metadata` goes into the files (see `kohya.describe`). Returns the facts of the bake. On one
    kind of CPU, facts and files depend on nothing but the arguments; `threads` is one of them,
    since sums are rounded in another order when more threads share them. Raises `BakeryError` for
    bad input, a loss that is no number, and too little memory; the epochs saved before stay, with
    their `epochs.csv`.
    """
    out.mkdir(parents=True, exist_ok=True)
    _clear(out, name)
    _check_device(settings, device)
    torch.set_num_threads(threads)
    with _memory(settings):
        folders = dataset.read(layout)
        base = bases.load(settings.base, device, DTYPES[settings.mixed_precision])
        data = _encode(settings, folders, base)
        bake = prepare(settings, base, data)
        known = kohya.describe(
            settings, name=name, base=base, folders=folders, data=data, plan=bake.plan,
            extra=metadata,
        )  # fmt: skip
        truncated = _truncated(settings, base, data)
        _announce(bake, folders, truncated)
        try:
            epochs = fit(bake, out, name, known)
        finally:
            bake.network.remove()
    return {
        "pictures": len(data.items),
        "ignored": list(folders.ignored),
        "truncated_captions": truncated,
        "buckets": {f"{w}x{h}": count for (w, h), count in data.bucket_counts().items()},
        "steps_per_epoch": bake.plan.steps_per_epoch,
        "steps": bake.plan.total,
        "adapters": len(bake.network.layers),
        "epochs": epochs,
    }


def prepare(settings: Train, base: bases.Base, data: dataset.Dataset) -> Bake:
    """New adapters on `base`, switched on, with an optimizer group for each part that learns."""
    network = LoRANetwork(
        base.unet if settings.rates["unet_lr"] else None,
        base.text_encoders if settings.rates["text_encoder_lr"] else None,
        settings.network_dim,
        settings.network_alpha,
        seeds.generator(settings.seed, "lora"),
    ).apply()
    parts = (
        ("unet_lr", UNET_PREFIX, settings.rates["unet_lr"]),
        ("text_encoder_lr", TEXT_ENCODER_PREFIX, settings.rates["text_encoder_lr"]),
    )
    groups = [
        {"params": network.parameters_of(prefix), "name": name, "full_lr": rate}
        for name, prefix, rate in parts
        if rate
    ]
    return Bake(
        settings=settings,
        base=base,
        data=data,
        plan=schedules.plan(settings, data.steps_per_epoch(settings.train_batch_size)),
        network=network,
        optimizer=torch.optim.AdamW(groups, lr=0.0, fused=True),
        scaler=torch.amp.GradScaler(base.device.type, enabled=settings.mixed_precision == "fp16"),
        parameters=[parameter for group in groups for parameter in group["params"]],
    )


def fit(bake: Bake, out: Path, name: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """All epochs; returns the rows of `epochs.csv`."""
    rows: list[dict[str, Any]] = []
    step = 0
    with (out / "progress.jsonl").open("w", encoding="utf-8", buffering=1) as stream:
        progress = Progress(stream, bake.plan)
        for epoch in range(1, bake.plan.epochs + 1):
            batches = bake.data.batches(bake.settings.train_batch_size, bake.settings.seed, epoch)
            losses = []
            for batch in batches[: bake.plan.total - step]:
                loss, norm = training_step(bake, batch, step)
                _check_finite(bake, loss, norm, step, epoch)
                step += 1
                losses.append(loss)
                progress.write(step, epoch, loss, norm, bake.optimizer)
            if bake.plan.saves(bake.settings, epoch):
                rows.append(_save(bake, out, name, known, epoch, step, math.fsum(losses)
                                  / len(losses)))  # fmt: skip
                tables.write(out / "epochs.csv", rows, EPOCH_COLUMNS)
    return rows


def training_step(bake: Bake, batch: list[int], step: int) -> tuple[float, float]:
    """One optimizer step on the items of `batch`; returns (loss, norm of the gradient)."""
    settings, optimizer = bake.settings, bake.optimizer
    for group in optimizer.param_groups:
        group["lr"] = bake.plan.rate(settings, group["full_lr"], step)
    loss = batch_loss(bake, batch, step)
    bake.scaler.scale(loss).backward()
    bake.scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(bake.parameters, settings.max_grad_norm or math.inf)
    bake.scaler.step(optimizer)
    bake.scaler.update()
    optimizer.zero_grad()
    loss, norm = torch.stack((loss.detach(), norm)).tolist()  # the step's only wait for a GPU
    return loss, norm


def batch_loss(bake: Bake, batch: list[int], step: int) -> torch.Tensor:
    """Mean squared error of the UNet's prediction at uniformly drawn timesteps."""
    base, scheduler = bake.base, bake.base.noise_scheduler
    draw = seeds.generator(bake.settings.seed, "noise", step)
    latents = torch.stack([bake.data.latents[i] for i in batch])  # (B, C, h, w)
    noise = torch.randn(latents.shape, generator=draw)
    t = torch.randint(scheduler.config.num_train_timesteps, (len(batch),), generator=draw)
    latents, noise, t = (x.to(base.device) for x in (latents, noise, t))
    noisy = scheduler.add_noise(latents, noise, t)
    if base.prediction_type == "epsilon":
        target = noise
    else:
        target = scheduler.get_velocity(latents, noise, t)
    with torch.autocast(base.device.type, base.dtype, enabled=base.dtype != torch.float32):
        text = bases.encode(
            base,
            shown_captions(bake, batch, step),
            bake.settings.clip_skip,
            bake.settings.max_token_length // TOKENS_PER_PASS,
        )
        predicted = bases.predict(base, noisy, t, text)
    return F.mse_loss(predicted.float(), target)


def shown_captions(bake: Bake, batch: list[int], step: int) -> list[str]:
    """The captions of this fetch: all but the first keep_tokens tags shuffled, if asked."""
    written = [bake.data.items[index].caption for index in batch]
    if not bake.settings.shuffle_caption:
        return written
    rng = seeds.rng(bake.settings.seed, "caption", step)
    keep = bake.settings.keep_tokens
    return [captions.join(captions.shuffle(captions.split(w), keep, rng)) for w in written]


class Progress:
    """Writes a line of JSON a step, for whoever watches."""

    def __init__(self, stream: IO[str], plan: schedules.Plan) -> None:
        self.stream, self.plan = stream, plan
        self.started = time.perf_counter()
        self.recent: deque[float] = deque(maxlen=plan.steps_per_epoch)

    def write(
        self, step: int, epoch: int, loss: float, norm: float, optimizer: torch.optim.Optimizer
    ) -> None:
        """`loss_average` is over the last epoch's length, as kohya's scripts show it."""
        self.recent.append(loss)
        speed = step / (time.perf_counter() - self.started)
        line = {
            "step": step,
            "steps": self.plan.total,
            "epoch": epoch,
            "epochs": self.plan.epochs,
            "loss": round(loss, 6),
            "loss_average": round(sum(self.recent) / len(self.recent), 6),
            "steps_per_second": round(speed, 3),
            "eta_seconds": round((self.plan.total - step) / speed, 1),
            "grad_norm": round(norm, 6) if math.isfinite(norm) else None,
        }
        line |= {group["name"]: group["lr"] for group in optimizer.param_groups}
        self.stream.write(json.dumps(line) + "\n")


def _save(
    bake: Bake, out: Path, name: str, known: Mapping[str, str], epoch: int, step: int, loss: float
) -> dict[str, Any]:
    """Write an epoch's LoRA; returns its row of `epochs.csv`."""
    settings, last = bake.settings, epoch == bake.plan.epochs
    state = bake.network.state_dict_kohya(kohya.DTYPES[settings.save_precision])
    for key, weight in state.items():
        if not torch.isfinite(weight).all():
            raise BakeryError(
                f"{key} is too large for save_precision {settings.save_precision} after "
                f"epoch {epoch}: lower the learning rates, or set save_precision to float"
            )
    file = f"{name}.safetensors" if last else f"{name}-{epoch:06d}.safetensors"
    stand = {"ss_epoch": str(epoch), "ss_steps": str(step)}
    model_hash = kohya.write(out / file, state, {**known, **stand})
    log.info("epoch %d of %d: loss %.4f, saved %s", epoch, bake.plan.epochs, loss, file)
    return dict(zip(EPOCH_COLUMNS, (epoch, step, file, model_hash, loss), strict=True))


def _encode(settings: Train, folders: dataset.Folders, base: bases.Base) -> dataset.Dataset:
    factor = base.pixels_per_latent
    step = settings.bucket_reso_steps if settings.enable_bucket else settings.resolution
    if step % factor:
        key = "bucket_reso_steps" if settings.enable_bucket else "resolution"
        raise BakeryError(
            f"train.{key} is {step}, but the VAE of {base.path} works in squares of {factor} "
            f"pixels: give a multiple of {factor}"
        )
    if settings.enable_bucket:
        sizes = buckets.resolutions(
            settings.resolution, settings.min_bucket_reso, settings.max_bucket_reso, step
        )
    else:
        sizes = ((settings.resolution, settings.resolution),)
    data = dataset.encode(folders, sizes, base, settings.seed)
    base.vae.to("cpu")  # its memory is better spent on the UNet
    return data


def _truncated(settings: Train, base: bases.Base, data: dataset.Dataset) -> int:
    """Captions longer than max_token_length."""
    needed = bases.chunks_needed(base, [item.caption for item in data.items])
    return sum(n > settings.max_token_length // TOKENS_PER_PASS for n in needed)


def _announce(bake: Bake, folders: dataset.Folders, truncated: int) -> None:
    data, plan = bake.data, bake.plan
    sizes = ", ".join(f"{count} of {w}x{h}" for (w, h), count in data.bucket_counts().items())
    log.info("%d pictures, with repeats %s", len(data.items), sizes)
    log.info(
        "%d steps: %d epochs of %d; %d adapters on %s",
        plan.total, plan.epochs, plan.steps_per_epoch, len(bake.network.layers), bake.base.path,
    )  # fmt: skip
    for name in folders.ignored:
        log.warning("ignored %s: no <repeats>_<name> folder, picture or caption", name)
    if truncated:
        log.warning(
            "%d captions are longer than max_token_length %d and are cut",
            truncated, bake.settings.max_token_length,
        )  # fmt: skip


def _clear(out: Path, name: str) -> None:
    """Remove what an interrupted run left, so that every file there is of this run."""
    stale = [out / f"{name}.safetensors", *out.glob(f"{name}-??????.safetensors")]
    stale += [out / "epochs.csv", out / "progress.jsonl", *out.glob("*.part")]
    removed = [path for path in stale if path.is_file()]
    for path in removed:
        path.unlink()
    if removed:
        log.warning("removed %d files of an earlier run from %s", len(removed), out)


def _check_device(settings: Train, device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BakeryError(f"device {device} was asked for, but torch sees no GPU: use cpu")
    if device == "cpu" and settings.mixed_precision == "fp16":
        raise BakeryError("train.mixed_precision is fp16, which needs a GPU: set it to no or bf16")


def _check_finite(bake: Bake, loss: float, norm: float, step: int, epoch: int) -> None:
    # With fp16 the scaler skips a step whose gradient overflows; that is no failure.
    if math.isfinite(loss) and (math.isfinite(norm) or bake.scaler.is_enabled()):
        return
    what, value = ("gradient", norm) if math.isfinite(loss) else ("loss", loss)
    rates = ", ".join(f"{g['name']} {g['lr']:.3g}" for g in bake.optimizer.param_groups)
    raise BakeryError(
        f"the {what} is {value} at step {step + 1} of epoch {epoch} ({rates}): lower the "
        "learning rates or max_grad_norm; the epochs saved before are intact"
    )


@contextmanager
def _memory(settings: Train) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        cpu = "can't allocate memory" in str(error) or "not enough memory" in str(error)
        if not (cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)):
            raise
        advice = [
            f"train_batch_size ({settings.train_batch_size})",
            f"resolution ({settings.resolution})",
            f"network_dim ({settings.network_dim})",
        ]
        hint = " or set mixed_precision to bf16" if settings.mixed_precision == "no" else ""
        raise BakeryError(
            f"out of memory: lower {', '.join(advice[:-1])} or {advice[-1]}{hint}"
        ) from None
