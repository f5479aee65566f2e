"""Estimates from finished bakes: speed, memory, size of the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, mode
from typing import Any

from bakery.interop import sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.jobs import job_times, phases
from bakery.settings.train import FLOW, Train

FREE = frozenset(
    {
        "learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_scheduler_num_cycles",
        "lr_scheduler_power", "lr_warmup_ratio", "lr_warmup_steps", "num_epochs", "max_steps",
        "save_every_n_epochs",
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
    phases: Mapping[str, int] = field(default_factory=dict)
    """Phase (`jobs.phases`) -> the most bytes that any of them held in it, as far as their jobs noted
    it."""


@dataclass(frozen=True)
class _Past:
    """One finished bake; as `BakeHistory`."""

    steps_per_second: float
    memory: float | None
    files: Sequence[int]
    together: str
    folder: Path


def recall(train: Path, settings: Mapping[str, Any], beside: int = 1) -> BakeHistory | None:
    """The finished bakes in `train` (`results/train`) that cost what a bake of `settings` would.

    Of these only bakes in groups of `beside`, if there are such: a bake is slower side by side with
    others than alone. None if there are none. Unfinished bakes and damaged files are ignored.
    """
    found = []
    for record in sorted(train.glob(f"*/{manifest.NAME}")):
        last = job_times.last_step(record.parent)
        theirs = _settings(record)
        if last is not None and theirs is not None and _costly(theirs) == _costly(settings):
            found.append(_past(record.parent, last))
    found = [one for one in found if one.together == str(beside)] or found
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
        _phases([one.folder for one in found]),
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


def _costly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide what a step costs; of the rates, whether their part is trained."""
    later = {name: Train.model_fields[name].default for name in Train.came_later}
    costly = {
        name: value
        for name, value in settings.items()
        if name not in FREE and not (name in later and value == later[name])
    }
    for name in RATES:
        own = settings.get(name)
        costly[name] = (settings.get("learning_rate") if own is None else own) != 0
    return costly


def _settings(record: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(record.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
