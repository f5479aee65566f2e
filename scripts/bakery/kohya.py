"""The LoRA file as kohya's scripts write it: tensors, metadata and the hashes of both worlds.

`write` gives equal bytes for equal tensors and metadata, so nothing that changes from run to run
(ss_training_started_at, ss_session_id, modelspec.date ...) goes into a file. `sshs_model_hash`
covers the tensors alone: it is the fingerprint of a bake, and Civitai's AutoV3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bakery.base import Base
from bakery.config import Train
from bakery.dataset import Dataset, Folders
from bakery.errors import BakeryError, first_line
from bakery.schedules import Plan

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""save_precision in kohya's words."""

BASE_VERSIONS = {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}
"""What A1111 tells the families apart by."""
ARCHITECTURES = {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}

_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


def text(value: object) -> str:
    """A metadata value; the format allows only strings. Structures become JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def describe(
    settings: Train,
    *,
    name: str,
    base: Base,
    folders: Folders,
    data: Dataset,
    plan: Plan,
    extra: Mapping[str, object],
) -> dict[str, str]:
    """The metadata all epochs of a bake share, under the names that other programs read.

    `extra` is what the caller wants kept with the weights (`config`, `trigger` ...), each as
    `bakery_<key>`; `trigger` also becomes modelspec.trigger_phrase.
    """
    values: dict[str, object] = {f"bakery_{key}": value for key, value in extra.items()}
    values |= _settings(settings, plan)
    values |= _dataset(folders, data)
    values |= {
        "ss_output_name": name,
        "ss_base_model_version": BASE_VERSIONS[base.kind],
        "ss_v2": False,
        "ss_sd_model_name": Path(settings.base).name,
        "ss_zero_terminal_snr": bool(base.noise_scheduler.config.rescale_betas_zero_snr),
        # https://github.com/Stability-AI/ModelSpec 1.0.1
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{ARCHITECTURES[base.kind]}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.resolution": f"{settings.resolution}x{settings.resolution}",
        "modelspec.prediction_type": "epsilon" if base.prediction_type == "epsilon" else "v",
        "modelspec.encoder_layer": 2 if base.kind == "sdxl" else settings.clip_skip,
    }
    if extra.get("trigger"):
        values["modelspec.trigger_phrase"] = extra["trigger"]
    return {key: text(value) for key, value in values.items()}


def _settings(settings: Train, plan: Plan) -> dict[str, object]:
    bucketed = settings.enable_bucket
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": settings.network_dim,
        "ss_network_alpha": settings.network_alpha or float(settings.network_dim),
        "ss_learning_rate": settings.learning_rate,
        "ss_unet_lr": settings.rates["unet_lr"],
        "ss_text_encoder_lr": settings.rates["text_encoder_lr"],
        "ss_lr_scheduler": settings.lr_scheduler,
        "ss_lr_warmup_steps": plan.warmup,
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_max_grad_norm": settings.max_grad_norm,
        "ss_max_train_steps": plan.total,
        "ss_num_epochs": plan.epochs,
        "ss_num_batches_per_epoch": plan.steps_per_epoch,
        "ss_batch_size_per_device": settings.train_batch_size,
        "ss_total_batch_size": settings.train_batch_size,
        "ss_gradient_accumulation_steps": 1,
        "ss_gradient_checkpointing": False,
        "ss_resolution": (settings.resolution, settings.resolution),
        "ss_enable_bucket": bucketed,
        "ss_min_bucket_reso": settings.min_bucket_reso if bucketed else None,
        "ss_max_bucket_reso": settings.max_bucket_reso if bucketed else None,
        "ss_bucket_no_upscale": False,
        "ss_cache_latents": True,
        "ss_shuffle_caption": settings.shuffle_caption,
        "ss_keep_tokens": settings.keep_tokens,
        "ss_clip_skip": settings.clip_skip,
        "ss_max_token_length": settings.max_token_length,
        "ss_mixed_precision": settings.mixed_precision,
        "ss_seed": settings.seed,
    }


def _dataset(folders: Folders, data: Dataset) -> dict[str, object]:
    shown = [item.repeats for item in data.items]
    errors = [fit.aspect_error for fit in data.fits]
    buckets = {
        str(number): {"resolution": size, "count": count}
        for number, (size, count) in enumerate(data.bucket_counts().items())
    }
    return {
        "ss_num_train_images": sum(shown),
        "ss_num_reg_images": 0,
        "ss_dataset_dirs": folders.directories(),
        "ss_tag_frequency": folders.tag_frequency(),
        "ss_bucket_info": {
            "buckets": buckets,
            "mean_img_ar_error": sum(errors) / len(errors),
        },
    }


def write(path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Write a LoRA file atomically, hashes added to its metadata; returns sshs_model_hash."""
    content, model_hash = pack(state, metadata)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return model_hash


def pack(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> tuple[bytes, str]:
    """(the whole file, sshs_model_hash)."""
    plain = save(dict(state))
    start = 8 + int.from_bytes(plain[:8], "little")
    layout, data = json.loads(plain[8:start]), plain[start:]
    model_hash = sha256(data).hexdigest()
    known = {
        **metadata,
        "sshs_model_hash": model_hash,
        "sshs_legacy_hash": "0" * 8,
        "modelspec.hash_sha256": f"0x{model_hash}",
    }
    # The legacy hash reads bytes from 1 MiB on, behind any usual header. Its value is as long as
    # its placeholder, so that writing it moves nothing.
    draft = _header(layout, known) + data
    if len(draft) - len(data) <= _LEGACY_START:
        known["sshs_legacy_hash"] = legacy_hash(draft)
    else:  # a header so long would have to contain the hash of itself
        del known["sshs_legacy_hash"]
    return _header(layout, known) + data, model_hash


def legacy_hash(content: bytes) -> str:
    """The old short hash of a file: 8 hex digits over 64 KiB from 1 MiB on."""
    window = content[_LEGACY_START : _LEGACY_START + _LEGACY_LENGTH]
    return sha256(window).hexdigest()[:8]


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of a LoRA file; `BakeryError` if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: bake it, or check the path") from None
    except (SafetensorError, OSError) as error:
        raise BakeryError(
            f"{path} is damaged or not a safetensors file ({first_line(error)}): "
            "remove it and bake it again"
        ) from None


def _header(layout: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON of a safetensors file, metadata sorted.

    safetensors itself writes metadata in an order that differs from run to run.
    """
    document = {"__metadata__": dict(sorted(metadata.items())), **layout}
    header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
