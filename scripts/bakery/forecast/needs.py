"""What a job asks a scheduler for: memory, time and disk of one bake's jobs that use a GPU.

A scheduler ends a job that takes more than it asked for and starts one sooner that asks for little. So
these are upper bounds: from finished bakes with the same costly settings where there are any
(`history`), else from the base's files and the bounds below. Each further attempt gets as much again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bakery.families.recognise import Place
from bakery.forecast import history
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.settings.sample import Sample
from bakery.settings.train import Train

SECONDS_A_MEGAPIXEL = {True: 2.0, False: 300.0}
"""Bounds for one picture's forward and backward pass through a base of `HEAVY` bytes, with a GPU or
without: what SDXL takes on a consumer GPU, and on eight cores. Lighter bases take less."""
HEAVY = 7e9
FORWARD = 0.5
"""A sampling step's share of this: no backward pass, but with CFG two forward passes of three."""
START = 5
"""Minutes to import torch and read the base from a file server."""
PICTURES = 1000
"""Pictures of a bake, where its layout is not there yet."""
SAMPLES = 150
"""Samples of an epoch; how many there will be follows from the captions."""
SPARE = 1.5
"""What a finished bake took, times this, for the next of its kind."""
ACTIVATIONS = 6
"""Bound for what bakes side by side keep for the backward pass, in sizes of the base's files: as many
are trained together as the memory allows (`train.fuse`)."""
KEPT_A_MEGAPIXEL = {False: 24e9, True: 2.6e9}
"""Bound for what one bake keeps of a picture of a megapixel in half precision, without and with
gradient_checkpointing, on a base of `WHOLE` bytes: the most of what `benchmarks/phase_memory.py` counts
for SD 1.5, SDXL and Anima. Lighter bases keep less, about by the root of their size."""
WHOLE = 5e9
IMPORTS_MB = 3000
"""Resident memory of Python with torch, diffusers and onnxruntime, and of a few pictures."""

BYTES_A_SECOND = {True: 200e9, False: 10e9}
"""Bounds for how fast a captioner's weights are read, with a GPU or without: once for each token that
it writes ..."""
PRODUCTS_A_SECOND = {True: 20e12, False: 0.2e12}
"""... and for how fast it multiplies, in operations: two for each weight and token that it is given."""
TOKENS_A_PICTURE = 2500
"""What a captioner is given: the picture (1536 pixels a side at most) and the request."""
STATES_A_WEIGHT = 0.2
"""Bytes of states, keys and values of these tokens, a byte of weights."""


@dataclass(frozen=True)
class Need:
    """What a job asks for, under Snakemake's names: MB, minutes, MB."""

    mem_mb: int
    runtime: int
    disk_mb: int

    def times(self, attempt: int) -> Need:
        """For a job that was ended `attempt` - 1 times."""
        return Need(attempt * self.mem_mb, attempt * self.runtime, attempt * self.disk_mb)


@dataclass(frozen=True)
class Bake:
    """A bake as its jobs see it."""

    train: Train
    base: Place
    layout: Path
    """Folder of its pictures, which need not be there yet."""
    finished: history.Finished
    has_gpu: bool

    @property
    def samples(self) -> int:
        """Pictures that will be drawn, about."""
        return SAMPLES * (1 + self._files)

    @property
    def _files(self) -> int:
        return math.ceil(self.train.num_epochs / self.train.save_every_n_epochs)

    @property
    def _weights(self) -> int:
        """Bytes of the base's files; as many as SDXL's for a hub id, which is not asked."""
        parts = [self.base] if isinstance(self.base, str) else list(self.base.values())
        found = [Path(part) for part in parts if Path(part).exists()]
        return sum(map(_size, found)) if len(found) == len(parts) else int(HEAVY)

    @property
    def _past(self) -> history.BakeHistory | None:
        return self.finished.recall(self.train.model_dump(mode="json"))

    @property
    def _steps(self) -> int:
        batches = math.ceil(_shown(self.layout) / self.train.train_batch_size)
        return self.train.max_steps or batches * self.train.num_epochs

    @property
    def _seconds_a_picture(self) -> float:
        size = (self.train.resolution / 1024) ** 2
        weight = min(1.0, max(0.02, self._weights / HEAVY))
        return SECONDS_A_MEGAPIXEL[self.has_gpu] * size * weight

    @property
    def _kept(self) -> float:
        """Bytes of a batch that one bake keeps for its backward pass."""
        size = self.train.rows * (self.train.resolution / 1024) ** 2
        wide = 2 if self.train.mixed_precision == "no" else 1
        each = KEPT_A_MEGAPIXEL[self.train.gradient_checkpointing]
        return wide * size * each * math.sqrt(min(1.0, self._weights / WHOLE))

    def training(self) -> Need:
        """Of a train job that bakes alone; side by side takes longer than one, and less than all."""
        past, weights = self._past, self._weights
        batch = self.train.train_batch_size
        again = (1 + FORWARD) * self.train.shown_again(batch)  # and the base's prediction of them
        per_step = self._seconds_a_picture * (batch + again)
        seconds = self._steps * (SPARE / past.steps_per_second if past else per_step)
        memory = IMPORTS_MB + _mb(2 * weights)  # read in half precision, held in full
        if not self.has_gpu:  # then activations and moments are here, too
            known = past.memory if past else None
            kept = max(ACTIVATIONS * weights, self._kept)
            memory = _mb(known * SPARE) if known else memory + _mb(kept)
        lora = past.file_bytes if past and past.file_bytes else weights // 10
        state = 3 * 2 * lora  # full precision, with two moments, and the one before it
        return Need(memory, START + _minutes(seconds), 500 + _mb(self._files * lora + 2 * state))

    def drawing(self, sample: Sample) -> Need:
        """Of a sample job that draws its own bake."""
        pictures = self.samples
        seconds = pictures * sample.steps * FORWARD * self._seconds_a_picture
        return Need(
            IMPORTS_MB + _mb(2 * self._weights), START + _minutes(seconds), 500 + 2 * pictures
        )


@dataclass(frozen=True)
class Captioning:
    """What `tag.captioner` adds to a tag job."""

    model: str
    """Its folder, or a hub id, which counts as a large one."""
    tokens: int
    """The most that it writes about a picture."""
    filter: Path
    """Folder of the pictures' decisions, which need not be there yet."""
    has_gpu: bool

    def beside(self, tagging: Need) -> Need:
        """What the tag job needs in all: the tagger has gone through the pictures before."""
        held = self._bytes * (1 if self.has_gpu else 2)  # float32 on a CPU, bfloat16 elsewhere
        given = (
            TOKENS_A_PICTURE * self._bytes / PRODUCTS_A_SECOND[self.has_gpu]
        )  # two bytes a weight
        seconds = given + self.tokens * held / BYTES_A_SECOND[self.has_gpu]
        return Need(
            tagging.mem_mb + _mb((1 + STATES_A_WEIGHT) * held),
            tagging.runtime + _minutes(_kept(self.filter) * seconds),
            tagging.disk_mb + _mb(0 if Path(self.model).exists() else self._bytes),
        )

    @property
    def _bytes(self) -> int:
        """Of its files, at two bytes a weight."""
        place = Path(self.model)
        return _size(place) if place.exists() else int(HEAVY)


def _kept(filter: Path) -> int:
    """Pictures that the filter keeps."""
    try:
        return int(manifest.read(filter)["summary"]["kept"])
    except (BakeryError, KeyError, TypeError, ValueError):
        return PICTURES


def looking(samples: int) -> Need:
    """Of a tag or score job: the tagger is small, and takes a second a picture on a CPU."""
    return Need(2 * IMPORTS_MB, START + _minutes(samples), 500)


def _shown(layout: Path) -> int:
    """Showings of an epoch."""
    try:
        folders = manifest.read(layout)["summary"]["folders"]
        return sum(folder["shown"] for folder in folders.values())
    except (BakeryError, KeyError, TypeError, AttributeError):
        return PICTURES


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    # a folder may hold its weights twice, as .bin and .safetensors
    return sum(file.stat().st_size for file in path.rglob("*.safetensors"))


def _mb(size: float) -> int:
    return math.ceil(size / 1e6)


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)
