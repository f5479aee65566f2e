"""Estimates from finished bakes: speed, memory, size of the files."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, mode
from typing import Any

from bakery.interop import sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.manifest import PROGRESS
from bakery.jobs import job_times, phases
from bakery.settings.train import FLOW, Train

FREE = frozenset(
    {
        "learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_scheduler_num_cycles",
        "lr_scheduler_power", "lr_warmup_ratio", "lr_warmup_steps", "num_epochs", "max_steps",
        "save_every_n_epochs", "keep_tokens_separator",
        "shuffle_caption", "keep_tokens", "network_alpha", "conv_alpha", "max_grad_norm", "seed",
        "min_snr_gamma", "noise_offset", "prior_loss_weight", "caption_dropout_rate",
        "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "log_with", "reg_data_dir",
        "v_parameterization", "zero_terminal_snr", "max_data_loader_n_workers",
        "persistent_data_loader_workers", "save_format", *FLOW,
    }
)  # fmt: skip
"""Settings of train that change neither a step's duration nor its memory."""
RATES = ("unet_lr", "text_encoder_lr")
"""Of these, only 0 matters: that part is not trained. null uses learning_rate."""


@dataclass(frozen=True)
class BakeHistory:
    """Medians over finished bakes with the same costly settings."""

    bakes: int
    steps_per_second: float
    memory: float | None
    """Peak memory in bytes; None if the bakes did not record it."""
    file_bytes: int | None
    """Size of one saved LoRA."""
    together: str = "1"
    """In groups of how many most of them were trained: `3`; `4, then 2`."""
    folders: tuple[Path, ...] = field(default=(), compare=False)
    """Of these bakes; () for one that was not read from any."""

    @functools.cached_property
    def phases(self) -> Mapping[str, int]:
        """Phase (`jobs.phases`) -> the most bytes that any of them held in it, as far as their jobs
        noted it. Only the plan asks, and every sample job's record is read for it."""
        return _phases(self.folders) if self.folders else {}


@dataclass(frozen=True)
class _Past:
    """One finished bake; as `BakeHistory`."""

    steps_per_second: float
    memory: float | None
    files: Sequence[int]
    together: str
    folder: Path


class Finished:
    """The finished bakes in `train` (`results/train`), each of which is read once.

    The folder is looked through again by the first question after `seconds`: with thousands of bakes,
    each of which asks, that takes longer than all else.
    """

    def __init__(self, train: Path, seconds: float = 0) -> None:
        self.train, self.seconds = train, seconds
        self._looked: float | None = None
        self._read: dict[Path, tuple[tuple[int, ...], str, _Past | None]] = {}
        self._alike: dict[str, list[_Past]] = {}
        self._answers: dict[tuple[str, int], BakeHistory | None] = {}

    def recall(self, settings: Mapping[str, Any], beside: int = 1) -> BakeHistory | None:
        """What bakes took that cost what a bake of `settings` would; None if there are none.

        Of these only bakes in groups of `beside`, if there are such: a bake is slower side by side
        with others than alone. Unfinished bakes and damaged files are ignored.
        """
        if self._looked is None or time.monotonic() >= self._looked + self.seconds:
            self._look()
        asked = _costly(settings), beside
        if asked not in self._answers:
            self._answers[asked] = _medians(self._alike.get(asked[0], ()), beside)
        return self._answers[asked]

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._alike, self._answers = {}, {}
        before, self._read = self._read, {}
        for record in sorted(self.train.glob(f"*/{manifest.NAME}")):
            changed = _changed(record, record.with_name(PROGRESS))
            known = before.get(record)
            if known is None or known[0] != changed:
                known = (changed, *_finished(record))
            self._read[record] = known
            if known[2] is not None:
                self._alike.setdefault(known[1], []).append(known[2])


def _medians(alike: Sequence[_Past], beside: int) -> BakeHistory | None:
    found = [one for one in alike if one.together == str(beside)] or alike
    if not found:
        return None
    memories = [one.memory for one in found if one.memory is not None]
    sizes = [size for one in found for size in one.files]
    return BakeHistory(
        len(found),
        median(one.steps_per_second for one in found),
        median(memories) if memories else None,
        round(median(sizes)) if sizes else None,
        mode(one.together for one in found),
        tuple(one.folder for one in found),
    )


def _phases(bakes: Sequence[Path]) -> dict[str, int]:
    """Phase -> the most bytes that a job held which trained one of `bakes`, or drew it."""
    results, names = bakes[0].parents[1], {bake.name for bake in bakes}
    jobs = [("train", name) for name in sorted(names)]
    for record in sorted(results.glob(f"sample/*/{manifest.NAME}")):
        with suppress(BakeryError):
            above = manifest.read(record.parent).get("above", {})
            jobs += [("sample", record.parent.name)] if names & set(above) else []
    found: dict[str, int] = {}
    for stage, name in jobs:
        for attempt in job_times.read(results.parent / "logs" / stage / f"{name}.log"):
            for phase, most in attempt.phases.items():
                found[phase] = max(most, found.get(phase, 0))
    return {name: found[name] for name in phases.ORDER if name in found}


def _changed(*files: Path) -> tuple[int, ...]:
    """When each of `files` was changed, in nanoseconds; 0 for what is not there."""
    times = []
    for file in files:
        try:
            times.append(file.stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def _finished(record: Path) -> tuple[str, _Past | None]:
    """What a bake's costly settings are, and what it took; None for a damaged one."""
    last = job_times.last_step(record.parent)
    settings = _settings(record)
    if last is None or settings is None:
        return "", None
    return _costly(settings), _past(record.parent, last)


def _past(folder: Path, last: Mapping[str, Any]) -> _Past:
    files = sorted(folder.glob("*.safetensors"))
    gib = last.get("memory_gib")
    return _Past(
        float(last["steps_per_second"]),
        float(gib) * 2**30 if isinstance(gib, int | float) else None,
        [path.stat().st_size for path in files],
        _together(files),
        folder,
    )


def _together(files: Sequence[Path]) -> str:
    try:
        return sidecar.trained_together(files[0])
    except (BakeryError, IndexError):
        return "1"


def _costly(settings: Mapping[str, Any]) -> str:
    """The settings that decide what a step costs, as JSON; of the rates, whether their part is
    trained, and whether there is a second loss."""
    costly = {
        name: value
        for name, value in settings.items()
        if name not in FREE and Train.records(name, value)
    }
    for name in RATES:
        own = settings.get(name)
        costly[name] = (settings.get("learning_rate") if own is None else own) != 0
    if costly.get("output_preservation"):  # whatever its weight
        costly["output_preservation"] = True
    return json.dumps(costly, sort_keys=True)


def _settings(record: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(record.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
