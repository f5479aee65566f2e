"""How many bakes fit side by side into the free memory.

They share the base. In addition, each needs what autograd keeps of its rows for the backward pass,
and gradients and moments of its adapters. One pass of one bake shows how much that is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import torch

from bakery.io import devices
from bakery.io.errors import OutOfMemory

log = logging.getLogger(__name__)

MARGIN = 0.8
"""Share of the free memory to use: the backward pass and other programs need some, too."""
_CGROUPS, _OURS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def check(bakes: int, each: int, room: int) -> None:
    """Raise `OutOfMemory`, with how many would fit, if `bakes` side by side would not.

    `each` is what one needs in addition to the base (`needed`), `room` what is free, in bytes.
    """
    counted_on = MARGIN * room
    fitting = int(counted_on / each)
    words = (
        f"a bake needs about {each / 2**30:.2f} GiB beside the base, "
        f"{counted_on / 2**30:.2f} are free"
    )
    if fitting < bakes:
        raise OutOfMemory(f"{words}, too little for {bakes} side by side", max(1, fitting))
    log.info("%s: room for %d side by side", words, bakes)


def needed(
    forward: Callable[[], torch.Tensor],
    weights: Sequence[torch.Tensor],
    learning: Sequence[torch.Tensor],
) -> int:
    """Bytes that a bake needs in addition to the base; `forward` returns the loss of one of its
    passes.

    `weights` are in memory anyway, `learning` are the bake's own trained weights.
    """
    activations = kept(forward, weights)
    own = sum(p.numel() * p.element_size() for p in learning)
    return activations + 3 * own  # a gradient and two moments


def kept(forward: Callable[[], torch.Tensor], weights: Sequence[torch.Tensor] = ()) -> int:
    """Bytes that autograd keeps of `forward` for the backward pass, without `weights`."""
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

    On a CPU its part of the memory equals its part of the cores, as other jobs use the rest; so it
    does not depend on which of them was first.
    """
    if (of_gpu := devices.free(device)) is not None:
        return of_gpu
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
        # cached file pages count as used, but are freed when memory is needed
        yield limit - taken + int(stat.get("inactive_file", 0))
