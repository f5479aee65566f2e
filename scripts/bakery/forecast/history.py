"""Estimates from finished bakes: speed, memory, size of the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

FREE = frozenset(
    {
        "learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_scheduler_num_cycles",
        "lr_scheduler_power", "lr_warmup_ratio", "lr_warmup_steps", "num_epochs", "max_steps",
        "save_every_n_epochs",
        "shuffle_caption", "keep_tokens", "network_alpha", "conv_alpha", "max_grad_norm", "seed",
        "min_snr_gamma", "noise_offset", "prior_loss_weight", "caption_dropout_rate",
        "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "log_with", "reg_data_dir",
        "v_parameterization", "zero_terminal_snr", "max_data_loader_n_workers",
        "persistent_data_loader_workers",
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
    memory_gib: float | None
    """Peak memory; None if the bakes did not record it."""
    file_bytes: int | None
    """Size of one saved LoRA."""


def recall(train: Path, settings: Mapping[str, Any]) -> BakeHistory | None:
    """The finished bakes in `train` (`results/train`) that cost what a bake of `settings` would.

    None if there are none. Unfinished bakes and damaged files are ignored.
    """
    speeds, memories, sizes = [], [], []
    for manifest in sorted(train.glob("*/manifest.json")):
        last = _last_line(manifest.with_name("progress.jsonl"))
        theirs = _settings(manifest)
        if last is None or theirs is None or _costly(theirs) != _costly(settings):
            continue
        speeds.append(float(last["steps_per_second"]))
        if isinstance(last.get("memory_gib"), int | float):
            memories.append(float(last["memory_gib"]))
        sizes += [path.stat().st_size for path in manifest.parent.glob("*.safetensors")]
    if not speeds:
        return None
    return BakeHistory(
        len(speeds),
        median(speeds),
        median(memories) if memories else None,
        round(median(sizes)) if sizes else None,
    )


def _costly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide what a step costs; of the rates, whether their part is trained."""
    costly = {name: value for name, value in settings.items() if name not in FREE}
    for name in RATES:
        own = settings.get(name)
        costly[name] = (settings.get("learning_rate") if own is None else own) != 0
    return costly


def _settings(manifest: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_line(path: Path) -> dict[str, Any] | None:
    """The last line of a progress.jsonl that has a speed."""
    try:
        line = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        return line if float(line["steps_per_second"]) > 0 else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
