"""The dictionary between our Train section and what kohya's scripts and their front ends call things.

Three languages are read: that of the guide's script (`net_dim`, the flat JSON of save_json and
load_json), that of LoRA_Easy_Training_Scripts' TOML, and sd-scripts' own arguments, into which the
other two are turned first. `to_kohya` and `to_ours` are each other's inverse.

Sources: sd-scripts 0.10.1 (train_network.py, library/train_util.py, library/config_util.py) and
derrian-distro's LoRA_Easy_Training_Scripts (ArgsList.py of early 2023; its backend of 2025).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from bakery.interop import flow_terms, plain_values
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import FLOW, Train

NAMES = {
    "base": "pretrained_model_name_or_path",
    "num_epochs": "max_train_epochs",
    "max_steps": "max_train_steps",
    "lr_warmup_ratio": "lr_warmup_steps",
}
"""Ours -> sd-scripts', where they differ; a float number of warm-up steps is a share there, too."""

IN_DATASET = (
    "shuffle_caption", "keep_tokens", "keep_tokens_separator", "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate", "resolution", "enable_bucket", "min_bucket_reso", "max_bucket_reso",
    "bucket_reso_steps", "flip_aug", "random_crop",
)  # fmt: skip
"""What the dataset TOML says in its `[general]` section, under the same names."""

IN_NETWORK_ARGS = ("conv_dim", "conv_alpha")
"""What is handed to the network module as `network_args = ["conv_dim=8"]`."""

OURS_ALONE = frozenset(
    {"fuse", "save_format", "text_variants", "output_preservation", "output_preservation_share"}
)
"""What sd-scripts has not: it bakes one at a time, has a `save_model_as` of its own, shuffles anew
in each showing, and shows nothing without the trigger."""

_NEXT_NAME = re.compile(r"\s+(?=[A-Za-z_]\w*=)")
ARGUMENTS_OF = {"lr_scheduler_args", "network_args", "optimizer_args"}
"""Arguments that hold further ones by name."""

HEEDING_RATES = ("scale_parameter", "relative_step", "warmup_init")
"""Arguments of Adafactor that are all false where it heeds rates: so in OneTrainer and ai-toolkit, not
in sd-scripts."""

ZERO_IS_LEFT_OUT = {"network_dropout", "noise_offset", "max_steps"}

SD_SCRIPTS_DEFAULTS: dict[str, Any] = {
    "network_dim": 4, "network_alpha": 1.0, "learning_rate": 2e-6, "lr_scheduler": "constant",
    "lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1.0, "lr_warmup_steps": 0.0,
    "optimizer_type": "AdamW", "train_batch_size": 1, "gradient_accumulation_steps": 1,
    "resolution": 512, "enable_bucket": False, "min_bucket_reso": 256, "max_bucket_reso": 1024,
    "bucket_reso_steps": 64, "shuffle_caption": False, "keep_tokens": 0, "clip_skip": 1,
    "max_token_length": 75, "max_grad_norm": 1.0, "prior_loss_weight": 1.0,
    "mixed_precision": "no", "save_precision": "float", "save_every_n_epochs": 999_999,
    "max_data_loader_n_workers": 8, "persistent_data_loader_workers": False,
}  # fmt: skip
"""What sd-scripts does where a file says nothing. 999999: only the last epoch is saved."""

GUIDE_DEFAULTS: dict[str, Any] = SD_SCRIPTS_DEFAULTS | {
    "network_dim": 32, "network_alpha": 16.0, "learning_rate": 1e-4, "lr_scheduler": "cosine",
    "optimizer_type": "AdamW8bit", "enable_bucket": True, "min_bucket_reso": 320,
    "max_bucket_reso": 960, "clip_skip": 2, "max_token_length": 150, "mixed_precision": "fp16",
    "save_precision": "fp16", "seed": 23, "max_train_epochs": 1, "max_data_loader_n_workers": 1,
    "persistent_data_loader_workers": True, "caption_extension": ".txt",
}  # fmt: skip
"""What the guide's script does where its JSON says nothing."""

GUIDE_NAMES = {
    "base_model": "pretrained_model_name_or_path",
    "img_folder": "train_data_dir",
    "reg_img_folder": "reg_data_dir",
    "output_folder": "output_dir",
    "change_output_name": "output_name",
    "net_dim": "network_dim",
    "alpha": "network_alpha",
    "scheduler": "lr_scheduler",
    "cosine_restarts": "lr_scheduler_num_cycles",
    "scheduler_power": "lr_scheduler_power",
    "warmup_lr_ratio": "lr_warmup_steps",
    "lr_warmup": "lr_warmup_steps",
    "batch_size": "train_batch_size",
    "num_epochs": "max_train_epochs",
    "epoch": "max_train_epochs",
    "max_steps": "max_train_steps",
    "save_at_n_epochs": "save_every_n_epochs",
    "train_resolution": "resolution",
    "max_resolution": "resolution",
    "buckets": "enable_bucket",
    "min_bucket_resolution": "min_bucket_reso",
    "max_bucket_resolution": "max_bucket_reso",
    "shuffle_captions": "shuffle_caption",
    "max_clip_token_length": "max_token_length",
    "test_seed": "seed",
    "num_workers": "max_data_loader_n_workers",
    "persistent_workers": "persistent_data_loader_workers",
    "gradient_acc_steps": "gradient_accumulation_steps",
    "unet_only": "network_train_unet_only",
    "text_only": "network_train_text_encoder_only",
    "log_dir": "logging_dir",
    "save_as": "save_model_as",
    "no_meta": "no_metadata",
    "lora_model_for_resume": "network_weights",
    "load_previous_save_state": "resume",
}
"""The guide's words -> sd-scripts'; it reads some of kohya_ss' words as well."""

EASY_NAMES = {"warmup_ratio": "lr_warmup_steps", "batch_size": "train_batch_size"}
"""LoRA_Easy_Training_Scripts' words -> sd-scripts', where they differ."""

ANOTHER_WAY = {
    "cache_latents": "latents are always computed once",
    "cache_latents_to_disk": "latents are always computed once",
    "vae_batch_size": "latents are always computed once",
    "vae_chunk_size": "latents are always computed once",
    "vae_disable_cache": "latents are always computed once",
    "qwen_image_vae_2d": "latents are always computed once",
    "cache_text_encoder_outputs": "what a frozen text encoder says is always computed once",
    "cache_text_encoder_outputs_to_disk": "what a frozen text encoder says is always computed once",
    "text_encoder_batch_size": "what a frozen text encoder says is always computed once",
    "xformers": "attention is torch's own",
    "sdpa": "attention is torch's own",
    "mem_eff_attn": "attention is torch's own",
    "attn_mode": "attention is torch's own",
    "split_attn": "attention is torch's own",
    "output_dir": "LoRAs lie in results/train/",
    "logging_dir": "event files lie in the bake's folder",
    "log_prefix": "event files lie in the bake's folder",
    "sdxl": "the kind of a model is read from its file",
    "sample_prompts": "every epoch is drawn, with the prompts of the sample section",
    "sample_sampler": "every epoch is drawn, with the sampler of the sample section",
    "sample_every_n_epochs": "every saved epoch is drawn",
    "sample_every_n_steps": "every saved epoch is drawn",
    "save_state": "an epoch's state is kept as far as resuming needs it",
    "resume": "a bake that was stopped goes on by itself",
    "lowram": "not needed",
    "highvram": "not needed",
    "no_half_vae": "SDXL's VAE is always in float32; with SD 1.5 mixed_precision bf16 or no does it",
    "tag_occurrence": "tags are counted in results/prune/*/prune.csv",
    "tag_occurrence_txt_file": "tags are counted in results/prune/*/prune.csv",
    "sort_tag_occurrence_alphabetically": "tags are counted in results/prune/*/prune.csv",
    "save_json_folder": "the config is kept with every bake",
    "save_json_name": "the config is kept with every bake",
    "save_toml": "the config is kept with every bake",
    "save_toml_location": "the config is kept with every bake",
    "load_json_path": "this file is what was loaded",
    "training_comment": "the trigger and the config are in the LoRA's metadata",
}
"""Settings of theirs that ask for something which is done here another way, or anyway."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "network_module": (
        "networks.lora", "sd_scripts.networks.lora", flow_terms.MODULE,
        f"sd_scripts.{flow_terms.MODULE}",
    ),
    "save_model_as": ("safetensors",),
    "loss_type": ("l2",),
    "huber_schedule": ("snr",),
    "huber_c": (0.1,),
    "min_timestep": (0,),
    "max_timestep": (1000,),
    "token_warmup_min": (1,),
    "token_warmup_step": (0,),
    "multires_noise_discount": (0.3,),
    "caption_separator": (",",),
    "prior_loss_weight": (1.0,),
    "use_8bit_adam": (True,),
    "train_mode": ("lora",),
    "console_log_simple": (True, False),
    "qwen3_max_token_length": (512,),
    "t5_max_token_length": (512,),
    "mode_scale": (1.29,),
    "attn_mode": ("torch",),
}  # fmt: skip
"""Values of settings we lack that ask for what happens here anyway."""


def kohya_name(ours: str) -> str:
    """What sd-scripts calls our setting."""
    return NAMES.get(ours, ours)


def to_kohya(settings: Train) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arguments of train_network.py, `[general]` of a dataset TOML); what is None is left out.

    sd-scripts has no rex: cosine is written.
    In neither are reg_data_dir, as regularization folders are subsets of the dataset, and `OURS_ALONE`.
    """
    apart = {"reg_data_dir", *OURS_ALONE, *FLOW}
    values = settings.model_dump(mode="json", exclude=apart) | flow_terms.to_kohya(settings)
    general = {name: values.pop(name) for name in IN_DATASET}
    if not general["keep_tokens_separator"]:
        del general["keep_tokens_separator"]
    network_args = [
        f"{name}={value}" for name in IN_NETWORK_ARGS if (value := values.pop(name)) is not None
    ]
    if values["max_steps"]:
        values.pop("num_epochs")  # sd-scripts would heed it and not max_train_steps
    if values["max_token_length"] == 75:
        values.pop("max_token_length")  # sd-scripts' word for 75 is to say nothing
    values["optimizer_type"] = OPTIMIZERS[settings.optimizer_type].kohya or settings.optimizer_type
    steps = values.pop("lr_warmup_steps")
    values["lr_warmup_ratio"] = steps or float(values["lr_warmup_ratio"])  # whole numbers are steps
    if values["lr_scheduler"] == "rex":
        values["lr_scheduler"] = "cosine"
    optimizer_args = [f"{name}={value!r}" for name, value in values.pop("optimizer_args").items()]
    arguments = {
        kohya_name(name): value
        for name, value in values.items()
        if value is not None and not (name in ZERO_IS_LEFT_OUT and not value)
    }
    arguments["network_module"] = "networks.lora"
    if network_args:
        arguments["network_args"] = network_args
    if optimizer_args:
        arguments["optimizer_args"] = optimizer_args
    return arguments, general


def to_ours(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The Train section of flat sd-scripts arguments; keys that Train does not know are left out.

    Whole numbers of warm-up steps must have become a share before.
    """
    flows = flow_terms.flows(arguments)
    values = {k: v for k, v in arguments.items() if not (flows and k in flow_terms.IDLE)}
    network_args = pairs(values.get("network_args"))
    values |= {
        name: found
        for name in IN_NETWORK_ARGS
        if (found := plain_values.number(network_args.get(name))) is not None
    }
    if values.get("conv_dim", 1) <= 0:
        values.pop("conv_dim")
        values.pop("conv_alpha", None)
    if "optimizer_args" in values:
        given = pairs(values["optimizer_args"])
        # names stand in one line, there as here
        names = (" ".join(plain_values.printable(name).split()) for name in given)
        values["optimizer_args"] = dict(zip(names, given.values(), strict=True))
    if str(values.get("optimizer_type", "x")) == "":
        values["optimizer_type"] = "AdamW"
    rates = values.get("text_encoder_lr")
    if isinstance(rates, list | tuple):  # one for each text encoder
        values["text_encoder_lr"] = rates[0] if rates else None
    size = values.get("resolution")
    if size is not None:
        values["resolution"] = side(size)
    known = {
        kohya_name(n): n
        for n in Train.model_fields
        if n not in ("lr_warmup_steps", *OURS_ALONE, *FLOW)
    }
    ours = {known[key]: value for key, value in values.items() if key in known}
    return ours | (flow_terms.to_ours(values)[0] if flows else {})


def rates_told(word: str, rates: list[Any] | tuple[Any, ...]) -> list[str]:
    """A note where the text encoders have several rates; ours share the first."""
    if len({plain_values.number(rate) for rate in rates}) < 2:
        return []
    said = ", ".join(plain_values.text_of(rate) for rate in rates)
    return [f"{word} names {said}: all text encoders share one rate here, the first"]


def pairs(given: Any) -> dict[str, Any]:
    """`["weight_decay=0.1", "betas=0.9,0.99"]`, or the same as a table, with Python's values."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        words = [
            word for item in given for word in _NEXT_NAME.split(str(item).replace('"', "").strip())
        ]
        given = dict(word.partition("=")[::2] for word in words)
    if not isinstance(given, Mapping):
        return {}
    return {str(name): _literal(value) for name, value in given.items() if name}


def side(resolution: Any) -> int:
    """Side of the square with the area of `512`, `"512,768"` or `[512, 768]`, to a multiple of 8."""
    width, height = plain_values.sides(resolution) or (512, 512)
    return width if width == height else round(math.sqrt(width * height) / 8) * 8


def warmup_share(steps: int, total: int) -> float:
    """The smallest ratio r >= steps / total with int(total * r) == steps."""
    share = min(steps / total, 1.0)
    while int(total * share) < min(steps, total):
        share = math.nextafter(share, 2.0)
    return share


def _literal(value: Any) -> Any:
    """A Python value that YAML has, too."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, list | tuple):
        return [_literal(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
