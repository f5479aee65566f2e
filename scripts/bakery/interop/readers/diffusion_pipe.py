"""diffusion-pipe's two TOML files in sd-scripts' words: the training's, and the dataset's that it names.

A key that is missing has diffusion-pipe's default. Source: train.py, utils/dataset.py, models/sdxl.py,
models/cosmos_predict2.py and docs/supported_models.md of tdrussell's diffusion-pipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig, Subset, table, tables

DEFAULTS: dict[str, Any] = kohya_terms.SD_SCRIPTS_DEFAULTS | {
    "network_dim": 16, "network_alpha": 16, "learning_rate": 1e-4, "mixed_precision": "bf16",
    "save_precision": "bf16", "save_every_n_epochs": 1, "caption_extension": ".txt", "seed": 0,
    "max_train_epochs": 1, "max_data_loader_n_workers": 0,
}  # fmt: skip
_NAMES = {
    "epochs": "max_train_epochs", "max_steps": "max_train_steps",
    "micro_batch_size_per_gpu": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm", "warmup_steps": "lr_warmup_steps",
    "save_every_n_epochs": "save_every_n_epochs", "save_dtype": "save_precision",
    "output_dir": "output_dir",
}  # fmt: skip
_MODEL = {
    "dtype": "mixed_precision", "vae_path": "vae", "unet_lr": "unet_lr",
    "text_encoder_1_lr": "text_encoder_lr", "min_snr_gamma": "min_snr_gamma",
    "v_pred": "v_parameterization", "checkpoint_path": "pretrained_model_name_or_path",
}  # fmt: skip
_FLOW = {"transformer_path": "pretrained_model_name_or_path", "vae_path": "vae",
         "dtype": "mixed_precision", "qwen_path": "qwen3", "llm_path": "qwen3"}  # fmt: skip
_DRAWN = ("timestep_sample_method", "sigmoid_scale", "shift", "flux_shift")
_KINDS = {"sdxl": _MODEL, "anima": _FLOW}
"""What [model] type says of models that are baked here -> the names of its settings."""
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_NOTHING = {
    "pipeline_stages", "partition_method", "partition_split", "steps_per_print", "logging_steps",
    "caching_batch_size", "map_num_proc", "compile", "blocks_to_swap", "video_clip_mode",
    "reentrant_activation_checkpointing", "x_axis_examples", "checkpoint_every_n_minutes",
    "checkpoint_every_n_epochs", "monitoring", "disable_block_swap_for_eval",
}  # fmt: skip
"""How and how fast it runs, and what it shows."""


def recognised(raw: dict[str, Any]) -> bool:
    """Whether this is either of the two."""
    kind = raw.get("model")
    return _is_dataset(raw) or (
        isinstance(kind, dict)
        and "type" in kind
        and bool({"optimizer", "adapter", "dataset"} & set(raw))
    )


def _is_dataset(raw: dict[str, Any]) -> bool:
    return "directory" in raw and not {"model", "optimizer"} & set(raw)


def read(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Take over the settings of one file. Raises `BakeryError` where a table must be."""
    source.fall_back(DEFAULTS)
    if _is_dataset(raw):
        _dataset(source, raw, path)
        return
    for word, name in _NAMES.items():
        if raw.get(word) is not None:
            source.say(word, raw[word], {word: name})
    if raw.get("activation_checkpointing"):
        source.say(
            "activation_checkpointing", True, {"activation_checkpointing": "gradient_checkpointing"}
        )
    schedule = str(raw.get("lr_scheduler", "constant"))
    source.say("lr_scheduler", _SCHEDULES.get(schedule, schedule))
    model = table(raw.get("model"), path, "model")
    _model(source, model)
    _adapter(source, raw, path)
    _optimizer(source, table(raw.get("optimizer"), path, "optimizer"))
    if raw.get("dataset"):
        source.say("dataset", raw["dataset"], {"dataset": "dataset_config"})
    known = {
        *_NAMES,
        "activation_checkpointing",
        "lr_scheduler",
        "model",
        "adapter",
        "optimizer",
        "dataset",
    }
    for word, value in raw.items():
        if word in _NOTHING or word.startswith("eval_"):
            source.idle.append(word)
        elif word not in known and value not in (False, None, "", []):
            source.lost.append(plain_values.entry(word, value))


def _model(source: KohyaConfig, model: dict[str, Any]) -> None:
    kind = str(model.get("type"))
    names = _KINDS.get(kind, _FLOW)
    flows = names is _FLOW and kind in _KINDS
    told = {"type", *(_DRAWN if flows else ())}
    if model.get("text_encoder_2_lr") == model.get("text_encoder_1_lr"):
        told.add("text_encoder_2_lr")
    if kind not in _KINDS:
        source.other_model(f"model.type {kind}")
    for word, value in model.items():
        if word in names and value is not None:
            source.say(f"model.{word}", value, {f"model.{word}": names[word]})
        elif word not in told and value not in (False, None, "", []):
            source.lost.append(plain_values.entry(f"model.{word}", value))
    if not model.get("dtype"):
        source.arguments["mixed_precision"] = "bf16"
    if flows:
        _flow(source, model)


def _flow(source: KohyaConfig, model: dict[str, Any]) -> None:
    """How t is drawn: a sigmoid of normal numbers, or evenly, and then shifted."""
    source.arguments |= {"network_module": flow_terms.MODULE, "network_train_unet_only": True}
    words = {"timestep_sample_method": "timestep_sampling"}
    even = model.get("timestep_sample_method", "logit_normal") == "uniform"
    scale = plain_values.number(model.get("sigmoid_scale", 1.0)) or 1.0
    shift = plain_values.number(model.get("shift"))
    drawn = "uniform" if even else "sigmoid"
    if shift and shift != 1:
        drawn = "sigma" if even else "shift"
        source.arguments["discrete_flow_shift"] = float(shift)
    elif model.get("flux_shift"):
        drawn = "flux_shift"
    source.say("timestep_sample_method", drawn, words)
    source.arguments["sigmoid_scale"] = float(scale)


def _adapter(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """The rank, which is the alpha as well; no adapter is a full fine-tuning."""
    adapter = table(raw.get("adapter"), path, "adapter")
    if not adapter:
        source.notes.append(
            "the file has no [adapter], so it is a full fine-tuning: a LoRA is baked"
        )
        return
    kind = adapter.get("type", "lora")
    if kind != "lora":
        source.notes.append(f"adapter.type {kind} is another kind of network: a LoRA is baked")
    if adapter.get("rank") is not None:
        source.say("adapter.rank", adapter["rank"], {"adapter.rank": "network_dim"})
        source.say("adapter.rank", adapter["rank"], {"adapter.rank": "network_alpha"})
    if adapter.get("dropout"):
        source.say("adapter.dropout", adapter["dropout"], {"adapter.dropout": "network_dropout"})
    source.lost += [
        plain_values.entry(f"adapter.{word}", value)
        for word, value in adapter.items()
        if word not in ("type", "rank", "dropout", "dtype") and value
    ]


def _optimizer(source: KohyaConfig, given: dict[str, Any]) -> None:
    theirs = str(given.get("type", "adamw"))
    plain = {"adamw_optimi": "AdamW", "adamw": "AdamW", "adamw8bitkahan": "AdamW8bit"}
    source.say(
        "optimizer.type", plain.get(theirs.lower(), theirs), {"optimizer.type": "optimizer_type"}
    )
    if given.get("lr") is not None:
        source.say("optimizer.lr", given["lr"], {"optimizer.lr": "learning_rate"})
    arguments = {k: given[k] for k in ("betas", "weight_decay", "eps") if given.get(k) is not None}
    if arguments:
        source.say("optimizer", arguments, {"optimizer": "optimizer_args"})
    source.lost += [
        plain_values.entry(f"optimizer.{word}", value)
        for word, value in given.items()
        if word not in ("type", "lr", *arguments) and value
    ]


def _dataset(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    folders = tables(raw.get("directory"), path, "directory")
    first = {**raw, **(folders[0] if folders else {})}
    several = first.get("resolutions") or [512]
    found = [sides for one in several if (sides := plain_values.sides(one))] or [[512, 512]]
    size = max(found, key=lambda sides: sides[0] * sides[1])
    if len(found) > 1:
        source.notes.append(f"resolutions {several} are all trained there: the largest is taken")
    source.size("resolutions", size)
    source.say(
        "enable_ar_bucket",
        bool(first.get("enable_ar_bucket")),
        {"enable_ar_bucket": "enable_bucket"},
    )
    if first.get("enable_ar_bucket"):
        source.notes.append("bucket limits are half and twice the resolution, not ratios of sides")
    if first.get("shuffle_tags") or first.get("cache_shuffle_num"):
        word = "shuffle_tags" if first.get("shuffle_tags") else "cache_shuffle_num"
        source.say(word, True, {word: "shuffle_caption"})
    known = {"directory", "resolutions", "enable_ar_bucket", "min_ar", "max_ar", "num_ar_buckets",
             "path", "num_repeats", "shuffle_tags", "cache_shuffle_num", "frame_buckets"}  # fmt: skip
    for word, value in first.items():
        if word not in known and value not in (False, None, "", []):
            source.lost.append(plain_values.entry(word, value))
    for folder in folders:
        repeats = folder.get("num_repeats", raw.get("num_repeats"))
        source.subsets.append(
            Subset(plain_values.text_of(folder.get("path")), plain_values.whole(repeats, 1),
                   caption_extension=".txt")
        )  # fmt: skip
        if folder.get("resolutions") not in (None, first.get("resolutions")):
            source.notes.append(
                f"resolutions {folder['resolutions']} of {folder.get('path')} are left out, as one bake "
                "has one resolution"
            )
