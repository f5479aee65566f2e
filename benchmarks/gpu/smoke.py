"""A bake of the embedded world on the GPU and on the CPU: how far apart are losses, LoRAs and pictures?

The pictures are those of the character that a bake keeps, with the booru's tags less the ones that its
prune stage removes; the stages before are no GPU's work. Trainer and pipeline are the train and
sample stages' own. All bakes have the same seed. As a yardstick serves the same bake on the CPU with
another number of threads: there too, only sums are in another order.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import models
import numpy as np
import torch
from gpu.machine import tf32
from gpu.workshop import Workshop

from bakery.lora import lora_file
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Sample
from bakery.settings.train import Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

BOORU = models.ROOT / "resources" / "world" / "booru"
CHARACTER = "mirael"
PRUNED = {CHARACTER, "pink_hair", "long_hair", "twintails", "purple_eyes", "halo"}
SETTINGS: dict[str, Any] = {
    "network_dim": 16, "network_alpha": 16, "unet_lr": 2e-3,
    "text_encoder_lr": 4e-4, "lr_scheduler": "constant", "lr_warmup_ratio": 0.0,
    "train_batch_size": 4, "num_epochs": 2, "resolution": 128, "seed": 23,
    "save_precision": "float",
}  # fmt: skip
PROMPTS = ("mirael, 1girl, smile", "mirael, 1girl, beach", "mirael, 1girl, white background")
ROUNDING = 1e-4
"""Relative difference of first losses that rounding explains; TF32 and bf16 round more."""
TIMES = 10
"""So many times as far apart as the yardstick's may LoRAs be that are equal up to rounding."""


@dataclass(frozen=True)
class Bake:
    """Where and how one of the bakes is made."""

    device: str
    threads: int
    precision: str = "no"
    tf32: bool | None = None
    """None leaves it as torch has it."""


@dataclass(frozen=True)
class Made:
    """What came of it."""

    losses: list[float]
    file: Path
    tensors: dict[str, torch.Tensor]


def bake(shop: Workshop) -> dict[str, Any]:
    """The bakes, each beside the CPU's, and pictures drawn on both."""
    shop.make_room()
    threads = shop.threads
    layout = _layout(shop.scratch / "world", 4 if shop.tiny else 40)
    cpu, other = Bake("cpu", threads), Bake(shop.device, threads)
    bakes = {
        "CPU": cpu,
        "CPU, other threads": replace(cpu, threads=1 if threads > 1 else 2),
        "device": other,
        "device again": other,
    }
    if shop.device == "cuda":
        bakes["device without TF32"] = replace(other, tf32=False)
        bakes["device in bf16"] = replace(other, precision="bf16")
    made = {
        name: _make(one, layout, shop.scratch / "smoke" / str(number), shop.tiny)
        for number, (name, one) in enumerate(bakes.items())
    }
    torch.set_num_threads(threads)
    apart = {name: difference(made["CPU"], one) for name, one in made.items() if name != "CPU"}
    return {
        "device": shop.device,
        "steps": len(made["CPU"].losses),
        "beside_the_cpu": apart,
        "equal_up_to_rounding": {
            name: is_rounding(found, apart["CPU, other threads"])
            for name, found in apart.items()
            if name.startswith("device")
        },
        "same_bytes_twice": equal(made["device"], made["device again"]),
        "pictures": _pictures(shop, made["CPU"].file, made["device"].file),
    }  # fmt: skip


def _layout(folder: Path, count: int) -> Path:
    """A repeat folder with the first pictures of the character."""
    place = folder / f"2_{CHARACTER}"
    place.mkdir(parents=True, exist_ok=True)
    for post in _posts(count):
        stem = str(post["id"])
        shutil.copyfile(
            BOORU / "files" / f"{post['md5']}.{post['file_ext']}",
            place / f"{stem}.{post['file_ext']}",
        )
        kept = [tag for tag in post["tag_string_general"].split() if tag not in PRUNED]
        caption = ", ".join([CHARACTER, *(tag.replace("_", " ") for tag in kept)])
        (place / f"{stem}.txt").write_text(caption, encoding="utf-8")
    return folder


def _posts(count: int) -> list[dict[str, Any]]:
    with (BOORU / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["search"] == CHARACTER]
    clean = {row["id"] for row in rows if row["kind"] == "clean"}
    posts = json.loads((BOORU / "posts.json").read_text("utf-8"))
    return [post for post in posts if str(post["id"]) in clean][:count]


def _make(one: Bake, layout: Path, out: Path, tiny: bool) -> Made:
    """The whole trainer, from the pictures to the last epoch's file."""
    shutil.rmtree(out, ignore_errors=True)  # it would go on from there
    changes = {"num_epochs": 1, "max_steps": 2} if tiny else {}
    settings = Train(
        base=str(models.WORLD_BASE), mixed_precision=one.precision, **SETTINGS | changes
    )
    rounding = nullcontext() if one.tf32 is None else tf32(one.tf32)
    with rounding:
        about = Trainer(layout, one.device, one.threads).fit_one(
            TrainSpec(settings, out, CHARACTER, {})
        )
    file = out / about["epochs"][-1]["file"]
    lines = (out / "progress.jsonl").read_text("utf-8").splitlines()
    tensors, _ = lora_file.read_lora(file)
    return Made([json.loads(line)["loss"] for line in lines], file, tensors)


def difference(reference: Made, other: Made) -> dict[str, float]:
    """How far apart two bakes are: losses relative to the reference's, LoRAs as the norm of the
    difference over the norm, of all tensors together and of the worst one.
    """
    pairs = list(zip(reference.losses, other.losses, strict=True))
    gaps = {name: (other.tensors[name].double() - x.double()) for name, x in _of(reference)}
    norms = {name: x.double().norm().item() for name, x in _of(reference)}
    whole = sum(gap.norm().item() ** 2 for gap in gaps.values()) ** 0.5
    return {
        "first_loss": abs(pairs[0][1] - pairs[0][0]) / pairs[0][0],
        "largest_of_losses": max(abs(b - a) / a for a, b in pairs),
        "lora": whole / sum(norm**2 for norm in norms.values()) ** 0.5,
        "worst_tensor": max(gap.norm().item() / (norms[name] or 1) for name, gap in gaps.items()),
    }


def _of(made: Made) -> Iterator[tuple[str, torch.Tensor]]:
    yield from made.tensors.items()


def is_rounding(found: dict[str, float], yardstick: dict[str, float]) -> bool:
    """Whether two bakes are as far apart as rounding explains (NaN is not)."""
    return found["first_loss"] <= ROUNDING and found["lora"] <= TIMES * yardstick["lora"]


def equal(one: Made, other: Made) -> bool:
    """The same bytes in all tensors."""
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


def _pictures(shop: Workshop, of_cpu: Path, of_device: Path) -> dict[str, dict[str, float]]:
    """Differences of pictures, of 255: drawn on the CPU with its LoRA, and on the device with the same
    LoRA, with the device's own, and with its own once more.
    """
    on_cpu, on_device = (_drawer(device, shop.tiny) for device in ("cpu", shop.device))
    usual, own = on_cpu(of_cpu), on_device(of_device)
    pairs = {
        "the CPU's LoRA on the device": (usual, on_device(of_cpu)),
        "each its own LoRA": (usual, own),
        "the device twice": (own, on_device(of_device)),
    }
    apart = {name: np.abs(a - b) for name, (a, b) in pairs.items()}
    return {n: {"mean": float(x.mean()), "largest": int(x.max())} for n, x in apart.items()}


def _drawer(device: str, tiny: bool) -> Callable[[Path], np.ndarray]:
    """Draws the prompts with a LoRA in float32: (pictures, H, W, 3) of 0 .. 255."""
    settings = Sample(steps=2 if tiny else 20)
    pipeline = ImagePipeline.load(settings, base=str(models.WORLD_BASE), device=device, clip_skip=1)

    def draw(lora: Path) -> np.ndarray:
        pipeline.use([(lora, 1.0)])
        pictures, _ = pipeline.draw([ImageRequest(0, prompt, 1) for prompt in PROMPTS])
        return np.asarray([np.asarray(picture) for picture in pictures], int)

    return draw
