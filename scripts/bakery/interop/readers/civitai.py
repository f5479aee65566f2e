"""The parameters that Civitai's trainer shows, in sd-scripts' words.

People copy them from a model's page or its API, alone or inside the details of the training. The
pictures are in neither.
"""

from __future__ import annotations

from typing import Any

from bakery.interop import kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig

DEFAULTS: dict[str, Any] = kohya_terms.SD_SCRIPTS_DEFAULTS | {
    "caption_extension": ".txt", "save_every_n_epochs": 1,
}  # fmt: skip
NAMES = {
    "unetLR": "unet_lr", "textEncoderLR": "text_encoder_lr", "clipSkip": "clip_skip",
    "keepTokens": "keep_tokens", "networkDim": "network_dim", "networkAlpha": "network_alpha",
    "numRepeats": "num_repeats", "resolution": "resolution", "lrScheduler": "lr_scheduler",
    "minSnrGamma": "min_snr_gamma", "noiseOffset": "noise_offset", "enableBucket": "enable_bucket",
    "optimizerType": "optimizer_type", "optimizerArgs": "optimizer_args",
    "maxTrainEpochs": "max_train_epochs", "shuffleCaption": "shuffle_caption",
    "trainBatchSize": "train_batch_size", "flipAugmentation": "flip_aug",
    "lrSchedulerNumCycles": "lr_scheduler_num_cycles",
}  # fmt: skip
_HOLDERS = ("params", "trainingDetails")
_NOTHING = ("targetSteps", "engine", "staging", "highPriority", "type", "mediaType")
"""What follows from the others, or is said of the place."""
_BAKED = ("sd15", "sdxl", "pony", "illustrious", "noobai", "anima")


def _held(raw: dict[str, Any]) -> dict[str, Any] | None:
    for one in (raw, *(raw.get(key) for key in _HOLDERS)):
        if isinstance(one, dict):
            if {"unetLR", "networkDim"} & set(one) and {"textEncoderLR", "networkAlpha"} & set(one):
                return one
            if one is not raw and (inner := _held(one)):
                return inner
    return None


def recognised(raw: dict[str, Any]) -> bool:
    """Whether a table is such parameters, or holds them."""
    return _held(raw) is not None


def read(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Take over the parameters."""
    source.fall_back(DEFAULTS)
    given = _held(raw) or {}
    for word, value in given.items():
        if word in NAMES and value is not None:
            source.say(word, value, NAMES)
        elif word in _NOTHING:
            source.idle.append(word)
        elif word == "loraType":
            if str(value).lower() != "lora":
                source.notes.append(f"loraType {value} is another kind of network: a LoRA is baked")
        elif value not in (None, "", False):
            source.lost.append(plain_values.entry(word, value))
    source.notes.append(
        "Civitai shows no other settings: sd-scripts' defaults stand for them, with mixed_precision no"
    )
    if str(given.get("engine", "kohya")).lower() not in ("kohya", ""):
        source.notes.append(f"engine {given['engine']} is another trainer than sd-scripts")
    outer = raw.get("trainingDetails") if isinstance(raw.get("trainingDetails"), dict) else raw
    kind = outer.get("baseModelType") if isinstance(outer, dict) else None
    if kind and not str(kind).lower().startswith(_BAKED):
        source.other_model(f"baseModelType {kind}")
    if isinstance(outer, dict) and outer.get("baseModel") and outer is not given:
        source.notes.append(
            f"baseModel {outer['baseModel']} is a name there: set train.base to your file"
        )
