"""What a LoRA file of sd-scripts says of its training, as sd-scripts' arguments.

Read are the file's own header, and JSON with the same `ss_` names, as model managers and web UIs save
it. Source: the metadata that sd-scripts' train_network.py writes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig, Subset
from bakery.io import weight_files
from bakery.io.errors import BakeryError

_PREFIX = "ss_"
_HOLDERS = ("__metadata__", "metadata", "ss_metadata", "trainingDetails", "training_data")
"""Keys under which JSON of other programs has the metadata."""
_NAMES = {
    "ss_sd_model_name": "pretrained_model_name_or_path", "ss_vae_name": "vae",
    "ss_num_epochs": "max_train_epochs", "ss_batch_size_per_device": "train_batch_size",
    "ss_debiased_estimation": "debiased_estimation_loss",
}  # fmt: skip
_SAME = (
    "output_name", "learning_rate", "text_encoder_lr", "unet_lr", "gradient_checkpointing",
    "gradient_accumulation_steps", "lr_warmup_steps", "lr_scheduler", "network_module", "network_dim",
    "network_alpha", "network_dropout", "mixed_precision", "clip_skip", "max_token_length", "seed",
    "noise_offset", "multires_noise_iterations", "multires_noise_discount", "adaptive_noise_scale",
    "zero_terminal_snr", "max_grad_norm", "caption_dropout_rate", "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate", "face_crop_aug_range", "prior_loss_weight", "min_snr_gamma",
    "scale_weight_norms", "ip_noise_gamma", "loss_type", "huber_schedule", "huber_c", "resolution",
    "color_aug", "flip_aug", "random_crop", "shuffle_caption", "enable_bucket", "min_bucket_reso",
    "max_bucket_reso", "keep_tokens", "keep_tokens_separator", "bucket_no_upscale", "v2",
    "validation_split", "validation_seed", *flow_terms.DEFAULTS,
)  # fmt: skip
_SUBSET = ("shuffle_caption", "keep_tokens", "keep_tokens_separator", "caption_dropout_rate",
           "caption_tag_dropout_rate", "flip_aug", "random_crop", "secondary_separator",
           "enable_wildcard")  # fmt: skip
_DATASET = ("resolution", "enable_bucket", "min_bucket_reso", "max_bucket_reso",
            "batch_size_per_device")  # fmt: skip
_SIGNS = {"ss_network_module", "ss_network_dim", "ss_learning_rate"}
"""One of these is in what a LoRA says of its training."""
_OPTIMIZER = re.compile(r"(?P<name>[\w.]+)\s*(?:\((?P<arguments>.*)\))?\s*$", re.DOTALL)
_BETWEEN = re.compile(r",(?=[A-Za-z_]\w*=)")


def recognised(raw: dict[str, Any]) -> bool:
    """Whether a table is such metadata, or holds it."""
    return _held(raw) is not None


def _held(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The table with the `ss_` names."""
    for one in (raw, *(raw.get(key) for key in _HOLDERS)):
        if isinstance(one, dict) and _SIGNS & set(one):
            return one
    return None


def header(path: Path) -> dict[str, Any]:
    """The metadata of a LoRA file. Raises `BakeryError` for one without, or that is damaged."""
    raw = weight_files.metadata(path, "download it again, or give the config file")
    if not recognised(raw):
        raise BakeryError(
            f"{path} does not say how it was trained: its metadata have no ss_ names of sd-scripts; "
            "give the config file that it was trained with"
        )
    return {name: value for name, value in raw.items() if name.startswith(_PREFIX)}


def read(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Take over what the metadata say."""
    source.fall_back(kohya_terms.SD_SCRIPTS_DEFAULTS | {"caption_extension": ".txt"})
    held = {word: _value(value) for word, value in (_held(raw) or {}).items()}
    names = {f"{_PREFIX}{name}": name for name in _SAME} | _NAMES
    for word, name in names.items():
        if held.get(word) is not None:
            source.say(word, held[word], {word: name})
    _optimizer(source, held.get("ss_optimizer"))
    if isinstance(found := held.get("ss_network_args"), dict):
        source.say("ss_network_args", found, {"ss_network_args": "network_args"})
    warmup, steps = (
        plain_values.whole(held.get(f"ss_{word}_steps"), 0) for word in ("lr_warmup", "max_train")
    )
    if warmup > 0 and steps > 0:
        source.arguments["lr_warmup_steps"] = kohya_terms.warmup_share(warmup, steps)
    version = str(held.get("ss_base_model_version") or "")
    if version.endswith("_v"):
        source.say("ss_base_model_version", True, {"ss_base_model_version": "v_parameterization"})
    if version and not version.startswith(("sd_v1", "sd_1.5", "sdxl", "anima")):
        source.other_model(f"ss_base_model_version {version}")
    _datasets(source, held)
    source.notes.append(
        f"{path.name} says what it was trained with, not where: set train.base and scrape.folders to "
        "your own paths"
    )


def _value(value: Any) -> Any:
    """Metadata are texts: Python's None, True and False, and JSON."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("None", ""):
        return None
    if text[:1] in "{[":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return {"True": True, "False": False}.get(text, text)


def _optimizer(source: KohyaConfig, said: Any) -> None:
    """A class with its module, and arguments: AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))."""
    match = _OPTIMIZER.fullmatch(said) if isinstance(said, str) else None
    if match is None:
        return
    source.say("ss_optimizer", match["name"].rpartition(".")[2], {"ss_optimizer": "optimizer_type"})
    given = [piece.strip() for piece in _BETWEEN.split(match["arguments"] or "") if piece.strip()]
    if given:
        arguments = dict(piece.partition("=")[::2] for piece in given)
        source.say("ss_optimizer", arguments, {"ss_optimizer": "optimizer_args"})
        source.words["optimizer_type"] = "ss_optimizer"


def _datasets(source: KohyaConfig, held: dict[str, Any]) -> None:
    """Folders with their repeats: of the dataset TOML, or of repeat folders."""
    listed = held.get("ss_datasets")
    sets = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    for number, dataset in enumerate(sets):
        for name in _DATASET if not number else ():
            if dataset.get(name) is not None:
                word = f"ss_datasets.{name}"
                ours = "train_batch_size" if name.startswith("batch") else name
                source.say(word, dataset[name], {word: ours})
        for subset in dataset.get("subsets") or []:
            if isinstance(subset, dict):
                _subset(source, subset)
    if len(sets) > 1:
        source.notes.append("ss_datasets are several: size and batch of the first are taken")
    folders = held.get("ss_dataset_dirs")
    if not source.subsets and isinstance(folders, dict):
        for name, one in folders.items():
            repeats = one.get("n_repeats") if isinstance(one, dict) else 1
            source.subsets.append(Subset(str(name), plain_values.whole(repeats, 1)))


def _subset(source: KohyaConfig, subset: dict[str, Any]) -> None:
    name = plain_values.text_of(subset.get("image_dir") or subset.get("metadata_file"))
    is_reg = bool(subset.get("is_reg"))
    first = not any(not one.is_reg for one in source.subsets) and not is_reg
    for word in _SUBSET if first else ():
        if subset.get(word) is not None:
            source.say(f"ss_datasets.{word}", subset[word], {f"ss_datasets.{word}": word})
    source.subsets.append(
        Subset(name, plain_values.whole(subset.get("num_repeats"), 1),
               plain_values.text_of(subset.get("class_tokens")), is_reg)
    )  # fmt: skip
