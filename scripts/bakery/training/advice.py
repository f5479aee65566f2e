"""Warnings before a bake: captions that teach nothing, pixels that are lost, settings without
effect, too little memory.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bakery.dataset.repeat_folders import Dataset, Folders
from bakery.io import devices
from bakery.io.errors import OutOfMemory
from bakery.settings import idle
from bakery.settings.train import Train
from bakery.tags.shuffling import Shuffling
from bakery.training.progress import memory_gib

log = logging.getLogger(__name__)

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")
"""What torch's plain RuntimeErrors say, on the CPU and on MPS."""
MUCH_LOST = 0.1
"""Share of the pixels from which cropping is worth a warning."""


@dataclass
class MemoryMeter:
    """Memory of a bake in GiB, to estimate what a smaller batch would need."""

    device: str
    resting: float = 0.0
    """What does not grow with the batch: models, adapters, their gradients and optimizer state."""

    def rest(self, parameters: list[torch.nn.Parameter]) -> None:
        """Measure, before the first step; from here on `memory_gib` is what steps take."""
        learning = sum(p.numel() * p.element_size() for p in parameters) / 2**30
        devices.restart_gpu_peak(self.device)
        held = devices.allocated(self.device)
        now = memory_gib(self.device) if held is None else held / 2**30
        self.resting = now + 3 * learning  # gradient and two moments are still to come

    def total(self) -> float | None:
        """The GPU's memory; None on the CPU."""
        whole = devices.total(self.device)
        return None if whole is None else whole / 2**30


@contextmanager
def out_of_memory(settings: Train, meter: MemoryMeter) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = any(words in str(error) for words in _OUT_OF_MEMORY)
        if not (told or isinstance(error, torch.OutOfMemoryError | MemoryError)):
            raise
        peak = memory_gib(meter.device) + _asked_gib(str(error))
        sentence = memory_sentence(settings, meter.resting, peak, meter.total())
        raise OutOfMemory(sentence) from None


def memory_sentence(
    settings: Train, resting: float, peak: float, total: float | None = None
) -> str:
    """What to lower; at least `peak` GiB were needed, of which `resting` do not depend on the
    batch.

    The rest grows in proportion to the batch, so smaller batches can be estimated.
    """
    batch = settings.train_batch_size
    what = f"out of memory: a batch of {batch} needs more than {peak:.1f} GiB"
    what += f" of {total:.1f}" if total is not None else ""
    options = [
        f"resolution ({settings.resolution})",
        f"network_dim ({settings.network_dim})",
    ]
    if batch > 1:
        smaller = sorted({1, batch // 2}, reverse=True)
        need = resting > 0 and peak > resting
        words = [
            f"{b} about {resting + (peak - resting) * b / batch:.1f} GiB" for b in smaller if need
        ]
        hint = f": {', '.join(words)}" if words else ""
        options.insert(0, f"train_batch_size ({batch}{hint})")
    more = []
    if not settings.gradient_checkpointing:
        more.append("set gradient_checkpointing")
    if settings.mixed_precision == "no":
        more.append("set mixed_precision to bf16")
    rest = f", or {' or '.join(more)}" if more else ""
    return f"{what}: lower {', '.join(options[:-1])} or {options[-1]}{rest}"


def about_settings(settings: Train) -> None:
    """Settings that do nothing in combination with the others."""
    for clause in idle.told(settings):
        log.warning("%s", clause)


def about_pictures(settings: Train, folders: Folders, data: Dataset) -> dict[str, float]:
    """How much cropping removes, and pictures that are not used; returns the figures."""
    for name in folders.ignored:
        log.warning("ignored %s: no <repeats>_<name> folder, picture or caption", name)
    for note in folders.notes:
        log.warning("%s", note)
    if folders.unused:
        log.warning(
            "%d regularization pictures are not used: there are more than training pictures",
            folders.unused,
        )  # fmt: skip
    lost = [fit.lost for fit in data.fits]
    mean, worst = sum(lost) / len(lost), max(lost)
    if mean >= MUCH_LOST or worst >= 0.5:
        sizes = len(data.bucket_counts())
        limits = (
            f"min_bucket_reso {settings.min_bucket_reso} and max_bucket_reso "
            f"{settings.max_bucket_reso} leave {sizes} size{'s' if sizes > 1 else ''}"
            if settings.enable_bucket
            else "without enable_bucket there is one size"
        )
        log.warning(
            "cropping removes %.0f%% of the pixels, %.0f%% of %s: %s; wider limits lose less",
            100 * mean, 100 * worst, data.items[lost.index(worst)].image.name, limits,
        )  # fmt: skip
    return {"mean": round(mean, 4), "worst": round(worst, 4)}


def about_captions(settings: Train, data: Dataset, truncated: int) -> int:
    """Captions that are cut, and how many are empty."""
    if truncated:
        log.warning(
            "%d captions are longer than max_token_length %d and are cut",
            truncated, settings.max_token_length,
        )  # fmt: skip
    if settings.text_variants is not None:
        how = Shuffling.of(settings).ways
        texts = [text for item in data.items for text in item.texts]
        beyond = sum(how(text) > settings.text_variants for text in texts)
        log.info(
            "%d of %d captions could be shuffled or cut in more ways than text_variants %d, and are "
            "shown in that many", beyond, len(texts), settings.text_variants,
        )  # fmt: skip
    empty = sum(not item.caption.strip() for item in data.items)
    if empty:
        log.warning(
            "%d captions are empty, so these pictures train the empty prompt; remove the caption "
            "file to use the folder's class tokens instead", empty,
        )  # fmt: skip
    return empty


def _asked_gib(message: str) -> float:
    """The size that an allocator could not provide, from its message."""
    found = re.search(r"tried to allocate ([\d.]+) ?(bytes|MiB|GiB)", message, re.IGNORECASE)
    if found is None:
        return 0.0
    return float(found[1]) / {"bytes": 2**30, "mib": 2**10, "gib": 1}[found[2].lower()]
