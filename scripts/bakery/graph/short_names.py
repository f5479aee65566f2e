"""Names for bakes by what differs between them: `sylvie-dim8`, `sylvie-lr0.002-alpha4`.

Folders below `results/` and the LoRA files that leave are called so. A name holds only letters,
digits and `. _ + -`, so it is safe on Windows, on the web, and inside `<lora:NAME:1>`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from bakery.io.files import unreserved

SHORT = {
    "train.unet_lr": "lr",
    "train.text_encoder_lr": "telr",
    "train.learning_rate": "baselr",
    "train.network_dim": "dim",
    "train.network_alpha": "alpha",
    "train.network_dropout": "dropout",
    "train.conv_dim": "convdim",
    "train.conv_alpha": "convalpha",
    "train.train_batch_size": "batch",
    "train.num_epochs": "epochs",
    "train.max_steps": "steps",
    "train.resolution": "res",
    "train.seed": "seed",
    "train.clip_skip": "clipskip",
    "train.lr_scheduler": "sched",
    "train.lr_scheduler_num_cycles": "cycles",
    "train.lr_warmup_ratio": "warmup",
    "train.optimizer_type": "opt",
    "train.optimizer_args": "optargs",
    "train.min_snr_gamma": "snr",
    "train.noise_offset": "noise",
    "train.mixed_precision": "prec",
    "layout.repeats": "repeats",
    "prune.trigger": "trigger",
    "prune.enabled": "prune",
    "scrape.limit": "limit",
}
"""Setting -> its word in a name, near to what people write. Other settings keep their own."""
LONGEST_VALUE = 24
LONGEST = 100
"""Characters of one value, and of all that differs; the rest becomes a few digits of its hash."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._+]+")


def differing(variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all of `variants`, in order of appearance.

    Each variant maps dotted names (`train.unet_lr`) to the values that its bake has.
    """
    names = dict.fromkeys(name for variant in variants for name in variant)
    return [n for n in names if len({_as_json(v.get(n)) for v in variants}) > 1]


def said(settings: Mapping[str, Any]) -> str:
    """`{"train.unet_lr": 0.002, "train.network_dim": 8}` as `lr0.002-dim8`; "" for no settings."""
    words = {name: SHORT.get(name, name.rpartition(".")[2]) for name in settings}
    twice = {word for word, count in Counter(words.values()).items() if count > 1}
    pieces = [
        _piece(_safe(name) if words[name] in twice else words[name], value)
        for name, value in settings.items()
    ]
    return _cut("-".join(pieces), LONGEST)


def joined(*pieces: str) -> str:
    """`pieces` that are not empty, with `-` between them."""
    return "-".join(filter(None, pieces))


def file_stem(bake: str, epoch: int) -> str:
    """The name of a LoRA file that leaves, without extension: `sylvie-dim8-e03`."""
    return unreserved(joined(bake, f"e{epoch:02d}"))


def dataset_folder(names: Iterable[str]) -> str:
    """The folder of a page with bakes of these datasets: `mirael`, or `mirael,sylvie` for two.

    A dataset's own name has no comma, so no two pages of different datasets share a folder.
    """
    text = ",".join(sorted(set(names)))
    return unreserved(text if len(text) <= LONGEST else f"{text[:80]},{_hash(text)}")


def _piece(word: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{word}{value:g}" if isinstance(value, float) else f"{word}{value}"
    return f"{word}-{_cut(_safe(_text(value)), LONGEST_VALUE)}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return PurePosixPath(value.replace("\\", "/")).name or value  # of a path, its last part
    return _as_json(value)


def _safe(text: str) -> str:
    """`text` with `_` for what is not safe; if nothing of it is, a few digits of its hash."""
    return _UNSAFE.sub("_", text).strip("_.") or _hash(text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 7]}-{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
