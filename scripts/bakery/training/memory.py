"""How many bakes fit side by side into the memory that is free.

They share the base. What each needs besides is what autograd keeps of its rows for the way back, and
gradients and moments of its adapters. One pass of one bake shows how much that is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import torch

from bakery.dataset.repeat_folders import Batch
from bakery.io.errors import OutOfMemory
from bakery.training import train_step
from bakery.training.run import Variant
from bakery.training.train_step import Kitchen

log = logging.getLogger(__name__)

MARGIN = 0.8
"""Share of the free memory that is counted on: the way back needs some too, and so do others."""
_CGROUPS, _OURS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def check(kitchen: Kitchen, variants: Sequence[Variant]) -> None:
    """Raise `OutOfMemory`, which says how many would fit, where `variants` would not.

    One alone is tried in any case: there is nothing smaller, and this is an estimate.
    """
    if len(variants) == 1:
        return
    # those with smaller batches need less
    each = needed(kitchen, max(variants, key=lambda one: one.settings.train_batch_size))
    room = MARGIN * free(kitchen.base.device, kitchen.threads)
    fitting = int(room / each)
    words = (
        f"a bake needs about {each / 2**30:.2f} GiB beside the base, {room / 2**30:.2f} are free"
    )
    if fitting < len(variants):
        raise OutOfMemory(f"{words}, too few for {len(variants)} side by side", max(1, fitting))
    log.info("%s: room for %d side by side", words, len(variants))


def needed(kitchen: Kitchen, variant: Variant) -> int:
    """Bytes that a pass of this bake needs beside the base, for its largest pictures."""
    batches = kitchen.data.epoch(variant.settings, 1)
    largest = max(batches, key=lambda batch: _pixels(kitchen, batch))
    kitchen.latents.prepare(largest.views)
    weights = [*kitchen.base.unet.parameters(), *variant.network.parameters()]
    weights += [weight for part in kitchen.base.text_encoders for weight in part.parameters()]
    activations = kept(lambda: train_step.loss(kitchen, variant, largest), weights)
    learning = sum(p.numel() * p.element_size() for p in variant.parameters)
    return activations + 3 * learning  # a gradient and two moments


def kept(forward: Callable[[], torch.Tensor], weights: Sequence[torch.Tensor] = ()) -> int:
    """Bytes that autograd keeps of `forward` for the way back, `weights` not counted."""
    there = {weight.untyped_storage().data_ptr() for weight in weights}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    assert result.requires_grad
    return sum(size for place, size in found.items() if place not in there)


def free(device: torch.device, threads: int) -> int:
    """Bytes that this process may still take.

    On a CPU its part of the memory is its part of the cores, as other jobs have the rest; so it does
    not depend on which of them was first.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    part = min(1.0, threads / (os.cpu_count() or 1))
    memory = psutil.virtual_memory()
    return min(int(memory.total * part), memory.available, *_allowed())


def _allowed() -> Iterator[int]:
    """What each control group of this process leaves it: a scheduler's memory limit, say."""
    try:
        (inside,) = (
            line.removeprefix("0::/")
            for line in _OURS.read_text().splitlines()
            if line.startswith("0::")
        )
    except (OSError, ValueError):  # another system, or control groups of the first kind
        return
    group = _CGROUPS / inside
    for place in (group, *group.parents):
        try:
            limit, taken = (int((place / f"memory.{n}").read_text()) for n in ("max", "current"))
            stat = dict(map(str.split, (place / "memory.stat").read_text().splitlines()))
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
        # pages of files that were read once count as taken, but are given up when memory is asked for
        yield limit - taken + int(stat.get("inactive_file", 0))


def _pixels(kitchen: Kitchen, batch: Batch) -> int:
    return sum(w * h for w, h in (kitchen.data.fits[view.index].bucket for view in batch.views))
