"""The metadata that kohya's scripts write into a LoRA file: ss_*, modelspec.*, and our own
bakery_*.

Nothing that changes from run to run is included (ss_training_started_at, ss_session_id,
modelspec.date ...), so that equal work gives equal bytes. Names are those of train_network.py and
library/sai_model_spec.py of kohya-ss/sd-scripts; `benchmarks/kohya/metadata.py` compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from bakery.dataset.repeat_folders import Dataset, Folders
from bakery.families.family import Family, Model
from bakery.interop import flow_terms
from bakery.settings.train import Train
from bakery.training.schedules import StepCounts


def text(value: object) -> str:
    """A metadata value; the format allows only strings. Structures become JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def describe(
    settings: Train,
    *,
    name: str,
    base: Model,
    folders: Folders,
    data: Dataset,
    counts: StepCounts,
    extra: Mapping[str, object],
    optimizer: str,
) -> dict[str, str]:
    """The metadata all epochs of a bake share, under the names that other programs read.

    `extra` is what the caller wants to store with the weights (`config`, `trigger` ...), each as
    `bakery_<key>`; `trigger` also becomes modelspec.trigger_phrase. `optimizer` is its full name.
    """
    values: dict[str, object] = {f"bakery_{key}": value for key, value in extra.items()}
    values |= _settings(settings, counts, base.family)
    if base.family.follows_flow:  # how t is drawn
        values |= {f"ss_{name}": value for name, value in flow_terms.metadata(settings).items()}
    # what does nothing with the family: kohya's scripts leave it unset
    values |= {f"ss_{name}": None for name in base.family.ignored_by_scripts}
    values |= _learning(settings, optimizer)
    values |= _dataset(folders, data, settings.keep_tokens_separator)
    values["ss_datasets"] = [_detailed(settings, folders, values)]
    values |= {
        "ss_output_name": name,
        "ss_training_comment": None,
        # https://github.com/Stability-AI/ModelSpec 1.0.1
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.resolution": f"{settings.resolution}x{settings.resolution}",
    }
    values |= base.describe()
    if extra.get("trigger"):
        values["modelspec.trigger_phrase"] = extra["trigger"]
    return {key: text(value) for key, value in values.items()}


def _detailed(settings: Train, folders: Folders, values: Mapping[str, object]) -> dict[str, object]:
    """The entry of ss_datasets, which kohya's scripts write besides when a dataset TOML is given."""
    same = (
        "batch_size_per_device", "num_train_images", "num_reg_images", "resolution",
        "enable_bucket", "min_bucket_reso", "max_bucket_reso", "tag_frequency", "bucket_info",
    )  # fmt: skip
    subsets = [
        {
            "img_count": found["img_count"],
            "num_repeats": found["n_repeats"],
            "color_aug": False,
            "flip_aug": settings.flip_aug,
            "random_crop": settings.random_crop,
            "shuffle_caption": settings.shuffle_caption,
            "keep_tokens": settings.keep_tokens,
            "keep_tokens_separator": settings.keep_tokens_separator or None,
            "secondary_separator": None,
            "enable_wildcard": folders.with_candidates,
            "caption_prefix": None,
            "caption_suffix": None,
            "resize_interpolation": None,
            "image_dir": folder,
            "class_tokens": folder.partition("_")[2],
            "is_reg": is_reg,
        }
        for is_reg in (False, True)
        for folder, found in folders.directories(is_reg).items()
    ]
    return {
        "is_dreambooth": True,
        "resize_interpolation": None,
        "subsets": subsets,
    } | {name: values[f"ss_{name}"] for name in same}


def _settings(settings: Train, counts: StepCounts, family: Family) -> dict[str, object]:
    bucketed = settings.enable_bucket
    return {
        "ss_network_module": family.network_module,
        "ss_network_dim": settings.network_dim,
        "ss_network_alpha": settings.network_alpha or float(settings.network_dim),
        "ss_network_dropout": settings.network_dropout or None,
        "ss_scale_weight_norms": settings.scale_weight_norms,
        "ss_lr_scheduler": settings.lr_scheduler,
        "ss_lr_warmup_steps": counts.warmup,
        "ss_max_train_steps": counts.total,
        "ss_num_epochs": counts.epochs,
        "ss_num_batches_per_epoch": counts.batches_per_epoch,
        "ss_batch_size_per_device": settings.train_batch_size,
        "ss_total_batch_size": settings.train_batch_size * counts.accumulation,
        "ss_gradient_accumulation_steps": counts.accumulation,
        "ss_gradient_checkpointing": settings.gradient_checkpointing,
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
        "ss_full_fp16": False,
        "ss_fp8_base": False,
        "ss_lowram": False,
        "ss_seed": settings.seed,
    } | ({"ss_network_args": network_args(settings)} if settings.conv_dim else {})


def network_args(settings: Train) -> dict[str, str]:
    """What kohya's scripts take as --network_args and keep as ss_network_args."""
    if settings.conv_dim is None:
        return {}
    alpha = 1.0 if settings.conv_alpha is None else settings.conv_alpha
    return {"conv_dim": str(settings.conv_dim), "conv_alpha": str(alpha)}


def _learning(settings: Train, optimizer: str) -> dict[str, object]:
    """Settings of the loss and the optimizer steps; None if a setting is off, as in kohya's
    scripts."""
    return {
        "ss_learning_rate": settings.learning_rate,
        "ss_unet_lr": settings.rates["unet_lr"],
        "ss_text_encoder_lr": settings.rates["text_encoder_lr"],
        "ss_optimizer": optimizer,
        "ss_max_grad_norm": settings.max_grad_norm,
        "ss_min_snr_gamma": settings.min_snr_gamma,
        "ss_noise_offset": settings.noise_offset or None,
        "ss_noise_offset_random_strength": False,
        "ss_adaptive_noise_scale": None,
        "ss_multires_noise_iterations": None,
        "ss_multires_noise_discount": None,
        "ss_ip_noise_gamma": None,
        "ss_debiased_estimation": False,
        "ss_loss_type": "l2",
        "ss_prior_loss_weight": settings.prior_loss_weight,
        "ss_caption_dropout_rate": settings.caption_dropout_rate,
        "ss_caption_dropout_every_n_epochs": settings.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": settings.caption_tag_dropout_rate,
        "ss_flip_aug": settings.flip_aug,
        "ss_random_crop": settings.random_crop,
        "ss_color_aug": False,
        "ss_face_crop_aug_range": None,
    }


def _dataset(folders: Folders, data: Dataset, separator: str) -> dict[str, object]:
    reg = folders.directories(is_reg=True)
    errors = [fit.aspect_error for fit in data.fits]
    buckets = {
        str(number): {"resolution": size, "count": count}
        for number, (size, count) in enumerate(data.bucket_counts().items())
    }
    return {
        "ss_num_train_images": sum(item.repeats for item in data.items if not item.is_reg),
        "ss_num_reg_images": sum(found["n_repeats"] * found["img_count"] for found in reg.values()),
        "ss_dataset_dirs": folders.directories(),
        "ss_reg_dataset_dirs": reg,
        "ss_tag_frequency": folders.tag_frequency(separator),
        "ss_bucket_info": {
            "buckets": buckets,
            "mean_img_ar_error": sum(errors) / len(errors),
        },
    }
