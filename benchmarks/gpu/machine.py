"""What the machine is, and how fast it multiplies and copies at best."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import models
import psutil
import torch
from ceiling import Ceiling
from gpu.workshop import Workshop
from hardware import describe

PRECISIONS = ("bf16", "fp16", "tf32", "fp32")


def facts(shop: Workshop) -> dict[str, Any]:
    """The machine, and the packages that this process has loaded, with their versions."""
    about = {
        "summary": describe(),
        "device": shop.device,
        "cores": shop.threads,
        "memory_gib": psutil.virtual_memory().total / 2**30,
        "scratch_free_gib": shutil.disk_usage(shop.scratch).free / 2**30,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "project": _project(),
        "packages": loaded_packages(),
    }
    if shop.device != "cuda":
        return about
    gpu = torch.cuda.get_device_properties(0)
    return about | {
        "gpu": gpu.name,
        "gpus": torch.cuda.device_count(),
        "gpu_memory_gib": gpu.total_memory / 2**30,
        "multiprocessors": gpu.multi_processor_count,
        "capability": f"{gpu.major}.{gpu.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
    }


def loaded_packages() -> dict[str, str]:
    """Distribution -> version, of all modules in this process."""
    owners = importlib.metadata.packages_distributions()
    top = {name.partition(".")[0] for name in sys.modules}
    found = {owner for module in top for owner in owners.get(module, ())}
    return {name: importlib.metadata.version(name) for name in sorted(found, key=str.lower)}


def _project() -> str | None:
    """The commit that is measured, where git knows it."""
    return _said("git", "-C", str(models.ROOT), "describe", "--always", "--dirty")


def _said(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or None


def ceilings(shop: Workshop) -> dict[str, Any]:
    """Operations a second of a large matrix product at each precision, and bytes a second of a copy on
    the device, read and written."""
    shop.make_room()
    torch.set_num_threads(shop.threads)
    with shop.products():
        rates = {precision: _rate(shop.device, precision) for precision in PRECISIONS}
    return {"operations": rates, "copied": _copied(shop)}


def _rate(device: str, precision: str) -> float | None:
    """None for what only a GPU has."""
    if precision == "tf32" and device != "cuda":
        return None
    kind = precision if precision in models.DTYPES else "no"
    with tf32(precision == "tf32"):
        best = Ceiling(device, kind)
        best.measure(10 if device == "cuda" else 1)
    return best.best


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round float32 operands of products and convolutions to 10 bits."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = allowed
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def _copied(shop: Workshop) -> float:
    """Bytes a second."""
    size = 2**24 if shop.tiny or shop.device == "cpu" else 2**32
    source = torch.randint(256, (size,), dtype=torch.uint8, device=shop.device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(6):
        shop.wait()
        began = time.perf_counter()
        target.copy_(source)
        shop.wait()
        best = min(best, time.perf_counter() - began)
    return 2 * size / best
