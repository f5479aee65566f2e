"""OneTrainer's JSON (a preset or a saved config) in sd-scripts' words.

A key that is missing has OneTrainer's own default. Source: modules/util/config/TrainConfig.py,
ConceptConfig.py and lr_scheduler_util.py of Nerogar's OneTrainer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig, Subset, beside, table, tables
from bakery.io import regular_files

SIGNS = frozenset({"training_method", "base_model_name", "concept_file_name", "model_type",
                   "learning_rate_scheduler", "lora_rank", "output_model_destination"})  # fmt: skip
DEFAULTS: dict[str, Any] = kohya_terms.SD_SCRIPTS_DEFAULTS | {
    "network_dim": 16, "network_alpha": 1.0, "learning_rate": 3e-6, "lr_warmup_steps": 200,
    "lr_scheduler": "constant_with_warmup", "max_train_epochs": 100, "enable_bucket": True,
    "mixed_precision": "fp16", "save_precision": "float", "caption_extension": ".txt", "seed": 42,
    "gradient_checkpointing": True, "max_data_loader_n_workers": 0,
    "pretrained_model_name_or_path": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}  # fmt: skip
NAMES = {
    "base_model_name": "pretrained_model_name_or_path",
    "lora_rank": "network_dim",
    "lora_alpha": "network_alpha",
    "dropout_probability": "network_dropout",
    "learning_rate": "learning_rate",
    "learning_rate_cycles": "lr_scheduler_num_cycles",
    "learning_rate_warmup_steps": "lr_warmup_steps",
    "epochs": "max_train_epochs",
    "batch_size": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "aspect_ratio_bucketing": "enable_bucket",
    "clip_grad_norm": "max_grad_norm",
    "offset_noise_weight": "noise_offset",
    "rescale_noise_scheduler_to_zero_terminal_snr": "zero_terminal_snr",
    "seed": "seed",
    "dataloader_threads": "max_data_loader_n_workers",
}
_SCHEDULERS = {"CONSTANT": "constant_with_warmup", "LINEAR": "linear", "COSINE": "cosine",
               "COSINE_WITH_RESTARTS": "cosine_with_restarts", "REX": "rex",
               "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
               "ADAFACTOR": "constant"}  # fmt: skip
_OPTIMIZERS = {"ADAMW": "AdamW", "ADAMW_8BIT": "AdamW8bit", "ADAFACTOR": "Adafactor",
               "LION": "Lion", "PRODIGY": "Prodigy", "SCHEDULE_FREE_ADAMW": "AdamWScheduleFree",
               "DADAPT_ADAM": "DAdaptAdam", "CAME": "CAME",
               "PRODIGY_PLUS_SCHEDULE_FREE": "ProdigyPlusScheduleFree"}  # fmt: skip
_ARGUMENTS = {
    "AdamW": ("weight_decay", "eps", "amsgrad"),
    "AdamW8bit": ("weight_decay", "eps"),
    "Adafactor": ("weight_decay", "clip_threshold", "decay_rate", "scale_parameter",
                  "relative_step", "warmup_init"),
    "Lion": ("weight_decay",),
    "Prodigy": ("weight_decay", "eps", "d0", "d_coef", "decouple", "safeguard_warmup",
                "use_bias_correction"),
    "AdamWScheduleFree": ("weight_decay", "eps", "r"),
    "DAdaptAdam": ("weight_decay", "eps", "d0", "growth_rate"),
    "CAME": ("weight_decay", "eps1", "eps2"),
    "ProdigyPlusScheduleFree": ("weight_decay", "eps", "d0", "d_coef"),
}  # fmt: skip
_PRECISIONS = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "no", "TFLOAT_32": "no"}
_READ_APART = {
    "resolution", "optimizer", "learning_rate_scheduler", "unet", "text_encoder", "text_encoder_2",
    "train_dtype", "output_dtype", "loss_weight_fn", "loss_weight_strength", "concepts",
    "concept_file_name", "output_model_destination", "training_method", "model_type", "peft_type",
    "clip_skip", "text_encoder_layer_skip", "gradient_checkpointing", "save_every",
    "save_every_unit", "vae", "lora_decompose", "__version", "latent_caching",
}  # fmt: skip
_OF_FLOW = {
    "timestep_distribution", "noising_bias", "noising_weight", "timestep_shift",
    "dynamic_timestep_shifting", "layer_filter", "layer_filter_preset", "output_model_format",
    "transformer",
}  # fmt: skip
"""Read for a flow model, and without a likeness for others."""
_TARGETS = {"attn1", "attn2", "ff"}
"""Layers of a flow model that get an adapter here."""


def read(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Take over OneTrainer's settings. Raises `BakeryError` for what is no table where one must be."""
    source.fall_back(DEFAULTS)
    for word, name in NAMES.items():
        if raw.get(word) is not None:
            source.say(word, raw[word], {word: name})
    flows = _kind(source, raw)
    if flows:
        _flow(source, raw)
    _parts(source, raw, path, flows)
    _optimizer(source, raw)
    _schedule(source, raw)
    _sizes(source, raw)
    _saving(source, raw)
    _concepts(source, raw, path)
    if str(raw.get("loss_weight_fn")).upper() == "MIN_SNR_GAMMA":
        source.say("loss_weight_strength", raw.get("loss_weight_strength", 5.0),
                   {"loss_weight_strength": "min_snr_gamma"})  # fmt: skip
    elif str(raw.get("loss_weight_fn") or "CONSTANT").upper() != "CONSTANT":
        source.lost.append(plain_values.entry("loss_weight_fn", raw["loss_weight_fn"]))
    read_apart = _READ_APART | (_OF_FLOW if flows else set())
    unread = [word for word in raw if word not in NAMES and word not in read_apart]
    secrets = [
        word for word in unread if word == "secrets" or plain_values.is_secret(word, raw[word])
    ]
    if secrets:
        source.lost.append(f"{', '.join(secrets)} (secrets, not written here)")
    rest = [word for word in unread if word not in secrets and raw[word] not in _OFF]
    if rest:
        source.lost.append(f"{len(rest)} settings without a likeness here: {', '.join(rest)}")


_OFF: tuple[object, ...] = (None, False, "", 0, [], {}, "NONE", "OFF", "NEVER")


def _kind(source: KohyaConfig, raw: dict[str, Any]) -> bool:
    """Tell of what is no LoRA for a model known here; returns whether the model follows a flow."""
    method = raw.get("training_method", "FINE_TUNE")
    if method != "LORA":
        source.notes.append(f"training_method {method} is no LoRA: one is baked")
    kind = raw.get("peft_type", "LORA")
    if kind != "LORA":
        source.notes.append(f"peft_type {kind} is another kind of network: a LoRA is baked")
    if raw.get("lora_decompose"):
        source.lost.append("lora_decompose = True")
    model = str(raw.get("model_type", "STABLE_DIFFUSION_15"))
    if not model.startswith(("STABLE_DIFFUSION_15", "STABLE_DIFFUSION_XL", "ANIMA")):
        source.other_model(f"model_type {model}")
    return model == "ANIMA"


def _flow(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """How t is drawn, and which layers are trained, in sd-scripts' words.

    There every distribution is shifted; with sd-scripts only `sigma` and `shift` are.
    """
    source.arguments |= {"network_module": flow_terms.MODULE, "network_train_unet_only": True}
    theirs = str(raw.get("timestep_distribution") or "UNIFORM").upper()
    shift = float(plain_values.number(raw.get("timestep_shift", 1.0)) or 1.0)
    words = {"timestep_distribution": "timestep_sampling"}
    if theirs not in ("UNIFORM", "LOGIT_NORMAL"):
        source.notes.append(f"timestep_distribution {theirs} is not here: an even one is taken")
    scheme = "logit_normal" if theirs == "LOGIT_NORMAL" else "uniform"
    source.say("timestep_distribution", "sigma", words)
    source.arguments |= {"discrete_flow_shift": shift, "weighting_scheme": scheme}
    if scheme == "logit_normal":
        mean, more = (plain_values.number(raw.get(f"noising_{w}")) or 0 for w in ("bias", "weight"))
        # sd-scripts counts its steps from the noise
        source.arguments |= {"logit_mean": -float(mean), "logit_std": 1.0 + float(more)}
    if plain_values.flag(raw.get("dynamic_timestep_shifting")):
        source.lost.append("dynamic_timestep_shifting = True")
    layers = {part.strip() for part in str(raw.get("layer_filter") or "").split(",")} - {""}
    if layers and layers != _TARGETS:
        source.notes.append(
            f"layer_filter {', '.join(sorted(layers))}: attention and feed-forward are trained here"
        )


def _parts(source: KohyaConfig, raw: dict[str, Any], path: Path, flows: bool) -> None:
    """Each part has a rate of its own, or the general one, or is not trained."""
    parts = {"unet": "unet_lr", "text_encoder": "text_encoder_lr"}
    for key, name in {"transformer": "unet_lr"}.items() if flows else parts.items():
        part = table(raw.get(key), path, key)
        rate = part.get("learning_rate")
        if part.get("train") is False:
            source.say(f"{key}.train", 0.0, {f"{key}.train": name})
        elif rate is not None:
            source.say(f"{key}.learning_rate", rate, {f"{key}.learning_rate": name})
        if part.get("train") is not False:
            never = 30 if key == "text_encoder" else 0
            stop = plain_values.whole(part.get("stop_training_after", never), 0)
            if 0 < stop < plain_values.whole(raw.get("epochs"), 100):
                source.lost.append(f"{key}.stop_training_after = {stop}")
    _second_text_encoder(source, raw, path)
    skip = plain_values.number(raw.get("text_encoder_layer_skip", raw.get("clip_skip"))) or 0
    if skip:
        source.say("text_encoder_layer_skip", 1 + skip, {"text_encoder_layer_skip": "clip_skip"})
    own = table(raw.get("transformer"), path, "transformer").get("model_name")
    if flows and own:
        source.notes.append(
            f"transformer.model_name {own}: name it in train.base as its checkpoint"
        )
    vae = table(raw.get("vae"), path, "vae").get("model_name")
    if vae:
        source.say("vae.model_name", vae, {"vae.model_name": "vae"})


def _second_text_encoder(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """SDXL's second one goes with the first here, which is told where the file has it otherwise."""
    first, second = (table(raw.get(k), path, k) for k in ("text_encoder", "text_encoder_2"))
    if "XL" not in str(raw.get("model_type")).upper():
        return
    for word, usual in (("train", True), ("learning_rate", None)):
        value = second.get(word, usual)
        if second and value != first.get(word, usual):
            if word == "learning_rate" and False in (first.get("train"), second.get("train")):
                continue
            source.notes.append(
                f"text_encoder_2.{word} is {value}: both text encoders are trained alike here, as "
                "text_encoder says"
            )


def _optimizer(source: KohyaConfig, raw: dict[str, Any]) -> None:
    given = raw.get("optimizer")
    given = given if isinstance(given, dict) else {"optimizer": given}
    theirs = plain_values.text_of(given.get("optimizer")) or "ADAMW"
    name = _OPTIMIZERS.get(theirs.upper(), theirs)
    source.say("optimizer", name, {"optimizer": "optimizer_type"})
    known = _ARGUMENTS.get(name, ())
    arguments = {word: given[word] for word in known if given.get(word) not in (None, "")}
    if name == "Adafactor":  # what its window fills in: the rates count
        arguments = dict.fromkeys(kohya_terms.HEEDING_RATES, False) | arguments
    betas = [plain_values.number(given.get(f"beta{i}")) for i in (1, 2, 3)]
    count = {"Adafactor": 0, "CAME": 3}.get(name, 2)
    if known and count and None not in betas[:count]:
        arguments["betas"] = betas[:count]
    if arguments:
        source.say("optimizer", arguments, {"optimizer": "optimizer_args"})
        source.words["optimizer_type"] = "optimizer"
    rest = {
        k: v for k, v in given.items() if k not in (*known, "optimizer", "beta1", "beta2", "beta3")
    }
    source.lost += [
        plain_values.entry(f"optimizer.{k}", v)
        for k, v in rest.items()
        if v not in (None, False, "")
    ]


def _schedule(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """The warm-up goes with every schedule there, so CONSTANT is our constant_with_warmup."""
    theirs = plain_values.text_of(raw.get("learning_rate_scheduler")) or "CONSTANT"
    name = _SCHEDULERS.get(theirs.upper(), theirs)
    source.say("learning_rate_scheduler", name, {"learning_rate_scheduler": "lr_scheduler"})
    if theirs.upper() == "COSINE_WITH_RESTARTS":
        source.notes.append("COSINE_WITH_RESTARTS swings back up there; here it starts again")
    if plain_values.number(raw.get("learning_rate_min_factor")):
        source.lost.append(f"learning_rate_min_factor = {raw['learning_rate_min_factor']!r}")


def _sizes(source: KohyaConfig, raw: dict[str, Any]) -> None:
    text = plain_values.text_of(raw.get("resolution", "512"))
    several = [part for part in text.split(",") if part.strip()]
    found = [sides for part in several if (sides := plain_values.sides(part))]
    if not found:
        if raw.get("resolution") is not None:
            source.lost.append(f"{plain_values.entry('resolution', text)} (cannot be read)")
        found = [[512, 512]]
    if len(found) > 1:
        source.notes.append(f"resolution {text} are several: the first is taken")
    source.size("resolution", found[0])
    source.notes.append("bucket limits are half and twice the resolution, about as OneTrainer's")


def _saving(source: KohyaConfig, raw: dict[str, Any]) -> None:
    for word, name in (("train_dtype", "mixed_precision"), ("output_dtype", "save_precision")):
        value = raw.get(word)
        if value is not None:
            ours = _PRECISIONS.get(str(value).upper(), str(value))
            source.say(word, "float" if (name, ours) == ("save_precision", "no") else ours,
                       {word: name})  # fmt: skip
    if raw.get("gradient_checkpointing") is not None:
        on = str(raw["gradient_checkpointing"]).upper() not in ("OFF", "FALSE")
        source.say("gradient_checkpointing", on)
    target = plain_values.path_of(raw.get("output_model_destination"))
    if target:
        source.say("output_model_destination", Path(target).stem,
                   {"output_model_destination": "output_name"})  # fmt: skip
    unit = str(raw.get("save_every_unit", "NEVER")).upper()
    if unit == "EPOCH" and plain_values.whole(raw.get("save_every"), 0) > 0:
        source.say("save_every", raw["save_every"], {"save_every": "save_every_n_epochs"})
    elif unit not in ("NEVER", "EPOCH"):
        source.lost.append(f"save_every = {raw.get('save_every')!r} {unit}")


def _concepts(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """The concepts in the file, or in the file that it names, looked for beside it, too."""
    given = raw.get("concepts")
    name = plain_values.path_of(raw.get("concept_file_name"))
    if given is None and name:
        found = beside(name, path)
        if found is None:
            source.notes.append(f"concept_file_name {name} is not here, so no folder is known")
        else:
            try:
                given = json.loads(regular_files.read_text(found, "utf-8-sig"))
            except (ValueError, OSError):
                source.notes.append(f"{found} cannot be read as JSON, so no folder is known")
    first = True
    for concept in tables(given, path, "concepts"):
        place = plain_values.text_of(concept.get("path"))
        kind = concept.get("type", "STANDARD")
        if concept.get("enabled") is False or kind != "STANDARD" or not place:
            source.notes.append(
                f"the concept {place or '?'} is left out: it is switched off or {kind}"
            )
            continue
        repeats = plain_values.number(concept.get("balancing", 1))
        if repeats is None or concept.get("balancing_strategy", "REPEATS") != "REPEATS":
            source.lost.append(f"balancing of {place}: {concept.get('balancing_strategy')}")
            repeats = 1
        elif repeats != round(repeats) or repeats < 1:
            source.notes.append(f"balancing {repeats:g} of {place} is rounded to whole repeats")
        source.subsets.append(
            Subset(place, max(1, round(repeats)), plain_values.text_of(concept.get("name")))
        )
        if first:
            _text_and_image(source, concept, path)
        first = False


def _text_and_image(source: KohyaConfig, concept: dict[str, Any], path: Path) -> None:
    text = table(concept.get("text"), path, "text")
    image = table(concept.get("image"), path, "image")
    if text.get("enable_tag_shuffling") is not None:
        source.say("enable_tag_shuffling", text["enable_tag_shuffling"],
                   {"enable_tag_shuffling": "shuffle_caption"})  # fmt: skip
        source.say("keep_tags_count", text.get("keep_tags_count", 1),
                   {"keep_tags_count": "keep_tokens"})  # fmt: skip
    if image.get("enable_random_flip") is not None:
        source.say("enable_random_flip", image["enable_random_flip"],
                   {"enable_random_flip": "flip_aug"})  # fmt: skip
    done = {"enable_random_flip", "enable_tag_shuffling"}
    source.lost += [
        plain_values.entry(word, value)
        for part in (image, text)
        for word, value in part.items()
        if word.startswith("enable_") and word not in done and plain_values.flag(value)
    ]
    if text.get("tag_dropout_enable"):
        source.lost.append(plain_values.entry("tag_dropout_probability",
                                              text.get("tag_dropout_probability")))  # fmt: skip
    if text.get("prompt_source", "sample") != "sample":
        source.lost.append(plain_values.entry("prompt_source", text["prompt_source"]))
