"""Values as other programs write them: numbers as text, lists of one, Windows' paths, secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakery.settings import credentials

INTEGERS = frozenset({
    "network_dim", "train_batch_size", "gradient_accumulation_steps", "max_train_epochs",
    "max_train_steps", "save_every_n_epochs", "keep_tokens", "caption_dropout_every_n_epochs",
    "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "clip_skip", "max_token_length",
    "seed", "max_data_loader_n_workers", "lr_scheduler_num_cycles", "num_repeats",
})  # fmt: skip
FLOATS = frozenset({
    "network_alpha", "network_dropout", "scale_weight_norms", "learning_rate", "unet_lr",
    "lr_scheduler_power", "caption_dropout_rate", "caption_tag_dropout_rate", "prior_loss_weight",
    "min_snr_gamma", "noise_offset", "max_grad_norm", "discrete_flow_shift", "sigmoid_scale",
    "logit_mean", "logit_std", "mode_scale",
})  # fmt: skip
FLAGS = frozenset({
    "enable_bucket", "shuffle_caption", "flip_aug", "random_crop", "v_parameterization",
    "zero_terminal_snr", "network_train_unet_only", "network_train_text_encoder_only",
    "gradient_checkpointing", "torch_compile", "persistent_data_loader_workers",
    "enable_wildcard", "use_8bit_adam", "use_lion",
})  # fmt: skip
TEXTS = frozenset({
    "pretrained_model_name_or_path", "vae", "train_data_dir", "reg_data_dir", "output_name",
    "output_dir", "caption_extension", "class_tokens", "optimizer_type", "lr_scheduler",
    "lr_scheduler_type", "network_module", "mixed_precision", "save_precision", "dynamo_backend",
    "log_with", "logging_dir", "dataset_config", "keep_tokens_separator", "caption_separator",
    "secondary_separator", "caption_prefix", "caption_suffix", "timestep_sampling",
    "weighting_scheme", "qwen3", "t5_tokenizer_path", "llm_adapter_path",
})  # fmt: skip
EMPTY = (None, "", "none", "null")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_DRIVE = re.compile(r"\s*[A-Za-z]:[\\/\n\t\r\b\f\v\a]")
_SECRET = re.compile(r"(.*[-_])?(key|token|secret|password|passwd|credentials?)", re.IGNORECASE)
_TOKEN = re.compile(r"\b(hf_|sk-|ghp_)[A-Za-z0-9_-]{16,}")


_DECIMAL_COMMA = re.compile(r"[+-]?(?:0?,\d+|\d,\d+(?=e))(?:e[+-]?\d+)?", re.IGNORECASE)
"""`0,0001` and `1,5e-4`, as some keyboards have it; `1,000` may be a thousand, and is no number here."""
_MANGLED = str.maketrans(
    {"\n": "/n", "\t": "/t", "\r": "/r", "\b": "/b", "\f": "/f", "\v": "/v", "\a": "/a"}
)
"""What `C:\\new` in double quotes became: in a path that begins with a drive it can be nothing else."""


def number(value: Any) -> float | int | None:
    """The number that `value` is or spells, None where it is none; whole ones are int."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        text = value.strip().replace("_", "x")
        if _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        try:
            value = float(text)
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        if not math.isfinite(value):
            return None
    except OverflowError:
        return None
    return int(value) if value == int(value) else value


def whole(value: Any, otherwise: int) -> int:
    """`value` as a whole number, `otherwise` where it is no number."""
    found = number(value)
    return otherwise if found is None else round(found)


def flag(value: Any) -> bool | None:
    """The truth of true, "True", 1 ..., None where it is none of these."""
    if isinstance(value, str):
        value = {"true": True, "false": False, "yes": True, "no": False}.get(
            value.strip().lower(), number(value)
        )
    return bool(value) if isinstance(value, bool | int | float) else None


def sides(value: Any) -> list[int] | None:
    """Width and height of `512`, `"512,768"`, `"512x768"` or `[512, 768]`; None for anything else."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = [part for part in re.split(r"[,x× ]+", value.strip().strip("()[]")) if part]
    read = [number(part) for part in (value if isinstance(value, list | tuple) else [value])]
    parts = [part for part in read if part is not None and 1 <= part < 1e6]
    if not parts or len(parts) < len(read):
        return None
    width, height = (*parts, *parts)[:2]
    return [round(width), round(height)]


def steps_or_share(value: Any) -> int | float | None:
    """A warm-up: whole numbers from 1 on are steps, less or per cent are a share of all steps."""
    if isinstance(value, str) and value.strip().endswith("%"):
        share = number(value.strip()[:-1])
        return None if share is None else float(share) / 100
    found = number(value)
    if found is None or found < 0:
        return None
    return (
        int(found) if found >= 1 and not (found == 1 and isinstance(value, float)) else float(found)
    )


def text_of(value: Any) -> str:
    """`value` as text that a YAML file can hold; a list's first entry. A path has its `\\n` back."""
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    text = "" if value is None else str(value)
    return printable(text.strip().translate(_MANGLED) if _DRIVE.match(text) else text)


def printable(text: str) -> str:
    """`text` without characters that YAML or UTF-8 cannot hold; line breaks stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def path_of(value: Any) -> str:
    """A path with slashes, whatever system wrote it; `~` is the home folder."""
    text = text_of(value).strip()
    if "\\" in text and (_WINDOWS.match(text) or not Path(text).exists()):
        text = text.replace("\\", "/")
    if text == "~" or text.startswith("~/"):
        text = Path(text).expanduser().as_posix()
    return text.rstrip("/") if len(text.strip("/")) > 2 else text


def is_secret(word: str, value: Any) -> bool:
    """Whether a setting of another program holds what must never be written down."""
    if isinstance(value, bool) or value in (None, "", 0) or word in INTEGERS:
        return False
    texts = [str(value)] if not isinstance(value, Mapping) else [str(v) for v in value.values()]
    named = _SECRET.fullmatch(word.rpartition(".")[2]) is not None
    return (
        named
        or bool(credentials.in_options({word: value}))
        or any(credentials.in_address(text) or _TOKEN.search(text) for text in texts)
    )


def entry(word: str, value: Any) -> str:
    """A line for a setting that is not carried over; a secret's value stays out of it."""
    if is_secret(word, value):
        return f"{word} (a secret, not written here)"
    return printable(hide(f"{word} = {value!r}"))


def hide(text: str) -> str:
    """`text` without what looks like an account or token."""
    return _TOKEN.sub("***", credentials.hide(text))
