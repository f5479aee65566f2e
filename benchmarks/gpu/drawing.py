"""Pictures a second: the base, one LoRA, several LoRAs in one batch, and a stock pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grid_sampling
import models
import torch
from ceiling import Ceiling, operations
from gpu.workshop import Workshop

from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Sample

PROMPTS = ("mirael, smile, beach", "mirael, smile, street")
MIXED = 4
"""LoRAs that share a batch."""


def throughput(shop: Workshop) -> dict[str, Any]:
    """A batch of pictures at SD1.5's size, drawn in each of the ways."""
    shop.make_room()
    base, dtype = shop.base("sd15"), models.DTYPES[shop.precision]
    settings = _settings(shop)
    pipeline = ImagePipeline.load(
        settings, base=str(base), device=shop.device, dtype=dtype, clip_skip=1
    )
    files = grid_sampling.loras(shop.scratch, MIXED, pipeline.base)
    cells = [(PROMPTS[i % 2], seed) for i, seed in enumerate(range(settings.batch_size))]
    draw = grid_sampling.ours(pipeline, cells)

    def mixed() -> None:
        pipeline.use([(file, 1.0) for file in files])
        pipeline.draw([ImageRequest(i % MIXED, *cell) for i, cell in enumerate(cells)])

    with shop.products():
        best = Ceiling(shop.device, shop.precision)
    count = operations(lambda: draw(None))
    ways = {
        "the base alone": _seconds(shop, lambda: draw(None)),
        "a LoRA": _seconds(shop, lambda: draw(files[0])),
        f"{MIXED} LoRAs in a batch": _seconds(shop, mixed),
    }
    best.measure()
    peak = torch.cuda.max_memory_allocated() / 2**30 if shop.device == "cuda" else None
    if find_spec("peft") is not None:  # without it a pipeline reads no LoRA
        ways["a LoRA, stock pipeline"] = _seconds(shop, stock(shop, settings, cells, files[0]))
        best.measure()
    return {
        "pictures": len(cells),
        "side": settings.width,
        "steps": settings.steps,
        "precision": shop.precision,
        "seconds": ways,
        "operations": count,
        "ceiling": best.best,
        "peak_gib": peak,
    }


def stock(
    shop: Workshop, settings: Sample, cells: list[tuple[str, int]], lora: Path
) -> Callable[[], Any]:
    """The same pictures by a pipeline of diffusers, in one call."""
    from diffusers import StableDiffusionPipeline

    dtype = models.DTYPES[shop.precision]
    pipe = StableDiffusionPipeline.from_pretrained(shop.base("sd15"), dtype=dtype)
    draw = grid_sampling.stock(pipe.to(shop.device), settings, cells, len(cells))
    return lambda: draw(lora)


def _settings(shop: Workshop) -> Sample:
    side = 64 if shop.tiny else 512
    return Sample(
        width=side, height=side, steps=2 if shop.tiny else 20, cfg_scale=7, negative_prompt="sad"
    )


def _seconds(shop: Workshop, draw: Callable[[], Any]) -> float:
    """The faster of two, after one that does not count."""
    took = []
    for _ in range(3):
        shop.wait()
        began = time.perf_counter()
        draw()
        shop.wait()
        took.append(time.perf_counter() - began)
    return min(took[1:])
