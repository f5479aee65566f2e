"""ai-toolkit's YAML in sd-scripts' words; a key that is missing has ai-toolkit's default.

Source: toolkit/config_modules.py, optimizer.py and scheduler.py of ostris' ai-toolkit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig, Subset, table, tables

DEFAULTS: dict[str, Any] = kohya_terms.SD_SCRIPTS_DEFAULTS | {
    "network_dim": 4, "network_alpha": 1.0, "learning_rate": 1e-6, "optimizer_type": "AdamW",
    "max_train_steps": 1000, "mixed_precision": "no", "save_precision": "fp16", "seed": 42,
    "enable_bucket": True, "caption_extension": ".txt", "gradient_checkpointing": True,
    "min_bucket_reso": 256, "max_bucket_reso": 1024, "save_every_n_epochs": 1,
    "text_encoder_lr": 0.0, "max_data_loader_n_workers": 0,
}  # fmt: skip
_TRAIN = {
    "batch_size": "train_batch_size", "steps": "max_train_steps", "lr": "learning_rate",
    "unet_lr": "unet_lr", "optimizer": "optimizer_type", "optimizer_params": "optimizer_args",
    "lr_scheduler": "lr_scheduler", "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_accumulation": "gradient_accumulation_steps", "min_snr_gamma": "min_snr_gamma",
    "snr_gamma": "min_snr_gamma", "noise_offset": "noise_offset", "dtype": "mixed_precision",
    "gradient_checkpointing": "gradient_checkpointing", "max_grad_norm": "max_grad_norm",
    "reg_weight": "prior_loss_weight", "seed": "seed",
}  # fmt: skip
_PRESERVED = "diff_output_preservation"
_NETWORK = {"linear": "network_dim", "rank": "network_dim", "alpha": "network_alpha",
            "linear_alpha": "network_alpha", "dropout": "network_dropout"}  # fmt: skip
_DATASET = {"shuffle_tokens": "shuffle_caption", "keep_tokens": "keep_tokens", "flip_x": "flip_aug",
            "caption_dropout_rate": "caption_dropout_rate", "buckets": "enable_bucket",
            "token_dropout_rate": "caption_tag_dropout_rate", "random_crop": "random_crop"}  # fmt: skip
_FOLDER = {"folder_path", "dataset_path", "caption_ext", "num_repeats", "is_reg", "resolution",
           "default_caption", "trigger_word", "cache_latents_to_disk", "cache_latents"}  # fmt: skip
_EPS = {"adamw", "adam", "adamw8bit", "prodigy", "adam8bit"}
_OTHERS = ("is_flux", "is_v2", "is_v3", "is_pixart", "is_lumina2", "is_auraflow", "arch")
_FLOWS = ("anima",)
"""What its arch says of models that follow a flow and are baked here."""
_T = {"linear": "uniform", "sigmoid": "sigmoid", "shift": "shift", "weighted": "uniform"}
"""Its timestep_type -> timestep_sampling."""
_SHIFT = 3.0
"""Of its sampler's schedule, from which timestep_type shift draws evenly."""


def recognised(raw: dict[str, Any]) -> bool:
    """Whether this is such a config."""
    config = raw.get("config")
    return isinstance(config, dict) and "process" in config


def read(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Take over the settings of the first process. Raises `BakeryError` for odd structure."""
    source.fall_back(DEFAULTS)
    config = table(raw["config"], path, "config")
    steps = tables(config.get("process"), path, "config.process")
    if len(steps) > 1:
        source.notes.append(f"the file has {len(steps)} processes: the first is read")
    process = steps[0] if steps else {}
    if config.get("name"):
        source.say("name", config["name"], {"name": "output_name"})
    source.trigger = plain_values.text_of(process.get("trigger_word")).strip()
    kind = process.get("type", "sd_trainer")
    if kind not in ("sd_trainer", "ui_trainer", "diffusion_trainer"):
        source.notes.append(f"the process {kind} is no training of a LoRA: one is baked")
    train = table(process.get("train"), path, "train")
    model = table(process.get("model"), path, "model")
    flows = str(model.get("arch")).lower() in _FLOWS
    _train(source, train, flows)
    _network(source, table(process.get("network"), path, "network"))
    _model(source, model)
    save = table(process.get("save"), path, "save")
    if save.get("dtype") is not None:
        source.say("save.dtype", save["dtype"], {"save.dtype": "save_precision"})
    if save.get("save_every") is not None:
        source.lost.append(f"save_every = {save['save_every']!r} steps (every epoch is saved)")
    source.lost += [plain_values.entry(f"save.{k}", v) for k, v in save.items()
                    if k not in ("dtype", "save_every") and v]  # fmt: skip
    for number, dataset in enumerate(tables(process.get("datasets"), path, "datasets")):
        _dataset(source, dataset, number == 0)
    if process.get("sample"):
        source.notes.append("sample: every epoch is drawn, with the prompts of the sample section")
    known = {"type", "trigger_word", "train", "network", "model", "save", "datasets", "sample"}
    source.lost += [plain_values.entry(k, v) for k, v in process.items()
                    if k not in known and v and k not in ("device", "training_folder")]  # fmt: skip


def _train(source: KohyaConfig, train: dict[str, Any], flows: bool) -> None:
    for word, value in train.items():
        if value is None:
            continue
        if word in _TRAIN:
            source.say(word, value, _TRAIN)
        elif word.startswith(_PRESERVED) and plain_values.flag(train.get(_PRESERVED)):
            source.say(word, value)
        elif word not in (
            "train_unet",
            "train_text_encoder",
            "text_encoder_lr",
            "noise_scheduler",
            "timestep_type" if flows else "noise_scheduler",
        ) and (value not in (False, "", 0, {}, [])):
            source.lost.append(plain_values.entry(f"train.{word}", value))
    if plain_values.flag(train.get("train_unet")) is False:
        source.say("train_unet", 0.0, {"train_unet": "unet_lr"})
    if plain_values.flag(train.get("train_text_encoder")):
        rate = train.get("text_encoder_lr", train.get("lr", 1e-6))
        source.say("text_encoder_lr", rate)
    elif "train_text_encoder" in train:
        source.say("train_text_encoder", 0.0, {"train_text_encoder": "text_encoder_lr"})
    theirs = plain_values.text_of(train.get("optimizer") or "adamw").lower()
    given = kohya_terms.pairs(train.get("optimizer_params"))
    if theirs in _EPS:
        given = {"eps": 1e-6, **given}
        source.notes.append(f"eps 1e-6 is what ai-toolkit gives {theirs}")
    if theirs == "adafactor":
        given = dict.fromkeys(kohya_terms.HEEDING_RATES, False) | given
    source.arguments["optimizer_args"] = given
    rate = plain_values.number(source.arguments.get("learning_rate"))
    if theirs.startswith(("prodigy", "dadapt")) and rate is not None and rate < 0.1:
        source.arguments["learning_rate"] = 1.0
        source.notes.append(f"lr {rate:g} with {theirs} is 1 there, and so here")
    if flows:
        _flow(source, train)
    elif train.get("noise_scheduler") == "flowmatch":
        source.notes.append("noise_scheduler flowmatch is for models of another kind than these")
    if str(train.get("lr_scheduler")) == "cosine_with_restarts":
        source.arguments["lr_scheduler"] = "cosine"
        source.notes.append("lr_scheduler cosine_with_restarts has one period there: cosine")


def _flow(source: KohyaConfig, train: dict[str, Any]) -> None:
    """How t is drawn, in sd-scripts' words."""
    source.arguments |= {"network_module": flow_terms.MODULE, "network_train_unet_only": True}
    theirs = str(train.get("timestep_type") or "sigmoid").lower()
    nearest = _T.get(theirs, "sigmoid")
    if theirs == "weighted":
        source.notes.append(
            "timestep_type weighted draws evenly and weighs t; here all weigh alike"
        )
    elif theirs not in _T:
        source.notes.append(f"timestep_type {theirs} is not here: sigmoid is taken")
    if nearest == "shift":  # every step of the sampler's schedule is as likely
        source.say("timestep_type", "sigma", {"timestep_type": "timestep_sampling"})
        source.arguments["discrete_flow_shift"] = _SHIFT
    else:
        source.say("timestep_type", nearest, {"timestep_type": "timestep_sampling"})


def _network(source: KohyaConfig, network: dict[str, Any]) -> None:
    kind = str(network.get("type", "lora")).lower()
    if kind not in ("lora", "locon"):
        source.notes.append(f"network type {kind} is another kind of network: a LoRA is baked")
    for word in ("linear", "rank", "alpha", "linear_alpha", "dropout"):  # the later one wins
        if network.get(word) is not None:
            source.say(word, network[word], _NETWORK)
    conv = plain_values.whole(network.get("conv"), 0)
    if conv > 0:
        alpha = plain_values.number(network.get("conv_alpha"))
        source.say("conv", {"conv_dim": conv, "conv_alpha": conv if alpha is None else alpha},
                   {"conv": "network_args"})  # fmt: skip
    known = {*_NETWORK, "type", "conv", "conv_alpha"}
    source.lost += [plain_values.entry(f"network.{k}", v) for k, v in network.items()
                    if k not in known and v]  # fmt: skip


def _model(source: KohyaConfig, model: dict[str, Any]) -> None:
    if model.get("name_or_path"):
        source.say("name_or_path", model["name_or_path"],
                   {"name_or_path": "pretrained_model_name_or_path"})  # fmt: skip
    if model.get("vae_path"):
        source.say("vae_path", model["vae_path"], {"vae_path": "vae"})
    if model.get("is_v_pred"):
        source.say("is_v_pred", True, {"is_v_pred": "v_parameterization"})
    for word in _OTHERS:
        value = model.get(word)
        if value and not (
            word == "arch" and str(value).lower() in ("sd1", "sd15", "xl", "sd", *_FLOWS)
        ):
            source.other_model(f"model.{word} {value}")
    known = {"name_or_path", "vae_path", "is_v_pred", "is_xl", *_OTHERS}
    source.lost += [plain_values.entry(f"model.{k}", v) for k, v in model.items()
                    if k not in known and v]  # fmt: skip


def _dataset(source: KohyaConfig, dataset: dict[str, Any], first: bool) -> None:
    place = plain_values.text_of(dataset.get("folder_path") or dataset.get("dataset_path"))
    extension = plain_values.text_of(dataset.get("caption_ext") or "txt").lstrip(".")
    source.subsets.append(
        Subset(place, plain_values.whole(dataset.get("num_repeats"), 1),
               plain_values.text_of(dataset.get("default_caption") or ""),
               bool(plain_values.flag(dataset.get("is_reg"))), f".{extension}")
    )  # fmt: skip
    source.trigger = source.trigger or plain_values.text_of(dataset.get("trigger_word")).strip()
    for word, value in dataset.items():
        if value is None or word in _FOLDER:
            continue
        if word in _DATASET and first:
            source.say(word, value, _DATASET)
        elif value not in (False, "", 0, [], {}) and (word not in _DATASET or not first):
            source.lost.append(plain_values.entry(f"datasets.{word}", value))
    _sizes(source, dataset.get("resolution", 512), place, first)


def _sizes(source: KohyaConfig, sizes: Any, place: str, first: bool) -> None:
    """The resolution of a dataset: the first one's is the bake's."""
    several = sizes if isinstance(sizes, list) else [sizes]
    size = max((side for side in map(plain_values.sides, several) if side), default=None)
    if size is None:
        source.lost.append(f"{plain_values.entry('resolution', sizes)} of {place} (cannot be read)")
    elif not first:
        if size != source.arguments.get("resolution"):
            source.notes.append(
                f"resolution {max(size)} of {place} is left out, as one bake has one resolution"
            )
    else:
        if len(several) > 1:
            source.notes.append(f"resolution {several} are several: the largest is taken")
        source.say("resolution", size)
        source.arguments |= {"min_bucket_reso": max(64, size[0] // 128 * 64),
                             "max_bucket_reso": 2 * max(size)}  # fmt: skip
