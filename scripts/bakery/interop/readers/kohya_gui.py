"""The JSON that kohya_ss' GUI saves, read by the rules of that program.

It turns texts into numbers, decides by learning rates of 0 which part is trained, by `LoRA_type` what
is a network argument, and by `epoch` how long a bake is when nothing else says so. Source:
kohya_gui/lora_gui.py and common_gui.py of bmaltais' kohya_ss.
"""

from __future__ import annotations

import shlex
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig

SIGNS = frozenset({"LoRA_type", "max_resolution", "lr_warmup", "epoch", "optimizer",
                   "stop_text_encoder_training", "stop_text_encoder_training_pct"})  # fmt: skip
_IN_RUNS = {"epoch", "stop_text_encoder_training"}
_RUN_SIGNS = {"network_module", "optimizer_type", "network_args"}
"""sd-scripts' words in the file that the GUI starts it with; what the GUI saves has none of them."""
DEFAULTS: dict[str, Any] = kohya_terms.SD_SCRIPTS_DEFAULTS | {
    "network_dim": 8, "network_alpha": 1, "learning_rate": 1e-4, "lr_scheduler": "cosine",
    "optimizer_type": "AdamW", "enable_bucket": True, "min_bucket_reso": 256,
    "max_bucket_reso": 2048, "mixed_precision": "fp16", "save_precision": "fp16",
    "save_every_n_epochs": 1, "max_train_epochs": 1, "caption_extension": ".txt",
    "max_data_loader_n_workers": 0,
}  # fmt: skip
"""What the GUI's fields hold where the file says nothing."""
NAMES = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "lora_network_weights": "network_weights",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
}
_TAKES_CONV = ("LoCon", "LoHa", "LoKr", "DyLoRA", "GLoRA", "BOFT", "Diag-OFT")
_OWN = {"epoch", "max_train_epochs", "max_train_steps", "lr_warmup", "lr_warmup_steps", "LoRA_type",
        "conv_dim", "conv_alpha", "unet_lr", "text_encoder_lr", "xformers", "additional_parameters",
        "lr_scheduler_type", "dynamo_backend"}  # fmt: skip
_NETWORK = ("LyCORIS_preset", "rank_dropout", "module_dropout", "factor", "unit", "use_cp",
            "use_tucker", "use_scalar", "decompose_both", "train_on_input", "train_norm", "constrain",
            "rescaled", "bypass_mode", "dora_wd", "rank_dropout_scale", "block_dims", "block_alphas",
            "conv_block_dims", "conv_block_alphas", "conv_dims", "conv_alphas", "down_lr_weight",
            "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")  # fmt: skip
_NOTHING = {"factor": -1, "unit": 1, "train_on_input": True, "LyCORIS_preset": "full"}
_MODELS = {"flux1_checkbox": "Flux", "sd3_checkbox": "SD3", "v2": "SD2",
           "hunyuan_image_checkbox": "HunyuanImage", "lumina_checkbox": "Lumina"}  # fmt: skip
_FLOW, _FLOWS = "anima_", "anima_checkbox"
"""How the GUI's fields for a flow model begin, and the field that says that they are heeded."""
_OF_OTHERS = {*flow_terms.DEFAULTS, "mode_scale", "vae", "clip_skip", "max_token_length"}
"""Fields for other models that are not passed on for such a one."""
_SHELL = {"num_cpu_threads_per_process", "num_processes", "num_machines", "multi_gpu", "gpu_ids",
          "main_process_port", "model_list", "save_as_bool", "headless"}  # fmt: skip
_NO_NUMBER = {"lr_scheduler_num_cycles": None, "max_token_length": 75, "lr_scheduler_power": 1.0,
              "learning_rate": 0.0}  # fmt: skip


def recognised(raw: dict[str, Any]) -> bool:
    """Whether this is what the GUI saves: all in one level, and not the file that it makes for a run."""
    plain = {word for word, value in raw.items() if not isinstance(value, dict)}
    own = SIGNS & plain
    return bool(own - _IN_RUNS) or (bool(own) and not _RUN_SIGNS & plain)


def read(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Take over the GUI's settings."""
    source.fall_back(DEFAULTS)
    if "optimizer" not in raw and plain_values.flag(raw.get("use_8bit_adam")):
        source.say("use_8bit_adam", "AdamW8bit", {"use_8bit_adam": "optimizer_type"})
    flows = bool(plain_values.flag(raw.get(_FLOWS)))
    if flows:
        source.say("LoRA_type", flow_terms.MODULE, {"LoRA_type": "network_module"})
    for word, value in raw.items():
        if word in _OWN or word in _NETWORK or value is None or word == _FLOWS:
            continue
        of_others = word in _OF_OTHERS if flows else word.startswith(_FLOW)
        if of_others or word in _SHELL:
            source.idle.append(word)
        elif word in _MODELS:
            if plain_values.flag(value):
                source.other_model(f"{word} ({_MODELS[word]})")
        else:
            name = NAMES.get(word, word.removeprefix(_FLOW))
            source.say(word, _read(source, word, value), {word: name})
    _network(source, raw)
    _rates(source, raw)
    _length(source, raw)
    _schedule(source, raw)
    _noise(source, raw)
    _zeros(source)
    attention = raw.get("xformers")
    if attention not in (None, "", "none", False):
        source.say("xformers", attention)
    _command_line(source, raw.get("additional_parameters"))


def _read(source: KohyaConfig, word: str, value: Any) -> Any:
    """The GUI reads an empty field as a number of its own."""
    if word in _NO_NUMBER and plain_values.number(value) is None:
        _number(source, word, value)
        return _NO_NUMBER[word]
    return value


def _number(source: KohyaConfig, word: str, value: Any) -> float | int:
    """The number in a field, 0 for an empty one and for what is no number, which is told."""
    found = plain_values.number(value)
    empty = isinstance(value, str) and value.strip().lower() in plain_values.EMPTY
    if found is None and value is not None and not empty:
        source.lost.append(f"{plain_values.entry(word, value)} (cannot be read)")
    return found or 0


def _zeros(source: KohyaConfig) -> None:
    """What the GUI does not pass on when it is 0."""
    for name in ("seed", "clip_skip", "save_every_n_epochs", "min_snr_gamma", "noise_offset",
                 "scale_weight_norms", "network_dropout"):  # fmt: skip
        if name in source.words and not plain_values.number(source.arguments.get(name)):
            word = source.words.pop(name)
            source.arguments.pop(name)
            if name in kohya_terms.SD_SCRIPTS_DEFAULTS:
                source.arguments[name] = kohya_terms.SD_SCRIPTS_DEFAULTS[name]
            source.idle.append(word)


def _network(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Whether convolutions get adapters; what other networks would do is listed."""
    kind = plain_values.text_of(raw.get("LoRA_type")) or "Standard"
    if "LoRA_type" not in raw:
        source.notes.append("the file names no LoRA_type, so it may be of a full fine-tuning")
    plain = kind in ("Standard", "Kohya LoCon", "LoCon", "LyCORIS/LoCon", "Anima")
    if not plain:
        source.notes.append(f"LoRA_type {kind} is another kind of network: a LoRA is baked")
    conv = round(plain_values.number(raw.get("conv_dim")) or 0)
    if any(part in kind for part in _TAKES_CONV):
        if conv > 0:
            alpha = plain_values.number(raw.get("conv_alpha"))
            arguments = {"conv_dim": conv, "conv_alpha": 1 if alpha is None else alpha}
            source.say("network_args", arguments)
        elif "conv_dim" in raw:
            source.idle += ["conv_dim", "conv_alpha"]
    else:
        source.idle += [word for word in ("conv_dim", "conv_alpha") if word in raw]
    for word in _NETWORK:
        value = raw.get(word)
        if value in (None, "", False, 0) or value == _NOTHING.get(word):
            continue
        if kind == "Standard" and word in ("factor", "unit", "train_on_input", "LyCORIS_preset",
                                           "use_cp", "decompose_both", "use_tucker"):  # fmt: skip
            source.idle.append(word)
        else:
            source.lost.append(plain_values.entry(word, value))


def _rates(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """A rate of 0 beside one that is not says that this part is not trained."""
    rates = {}
    for word in ("unet_lr", "text_encoder_lr"):
        value = raw.get(word, source.defaults["learning_rate"])
        if isinstance(value, list) and value:
            source.notes += kohya_terms.rates_told(word, value)
            value = value[0]
        rates[word] = float(_number(source, word, value))
    if not any(rates.values()):
        source.idle += [word for word in rates if word in raw]
        return
    for word, rate in rates.items():
        source.say(word, rate)
        if word not in raw:
            source.words.pop(word)
        if not rate:
            source.notes.append(
                f"{word} is 0 or empty, which leaves this part untrained there, too"
            )


def _length(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """max_train_epochs, else max_train_steps, else epoch."""
    given = {
        word: round(_number(source, word, raw.get(word)))
        for word in ("max_train_epochs", "max_train_steps", "epoch")
    }
    source.arguments.pop("max_train_steps", None)
    word = next((word for word, count in given.items() if count > 0), "epoch")
    name = "max_train_steps" if word == "max_train_steps" else "max_train_epochs"
    if given[word] > 0:
        source.say(word, given[word], {word: name})
    for other in given:
        if other != word and given[other] > 0 and other in raw:
            source.idle.append(other)
    if name == "max_train_steps":
        source.arguments.pop("max_train_epochs", None)


def _schedule(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """A number of warm-up steps wins over the share in per cent."""
    steps = _number(source, "lr_warmup_steps", raw.get("lr_warmup_steps"))
    share = _number(source, "lr_warmup", raw.get("lr_warmup"))
    if steps > 0:
        source.say("lr_warmup_steps", int(steps))
        if share:
            source.idle.append("lr_warmup")
    elif "lr_warmup" in raw:
        source.say("lr_warmup", min(share, 100) / 100, {"lr_warmup": "lr_warmup_steps"})
    if source.arguments.get("lr_scheduler_num_cycles") is None:
        source.arguments["lr_scheduler_num_cycles"] = max(
            1, round(plain_values.number(raw.get("epoch")) or 1)
        )
        source.words.pop("lr_scheduler_num_cycles", None)
    custom = plain_values.text_of(raw.get("lr_scheduler_type"))
    if custom:
        source.say("lr_scheduler_type", custom, {"lr_scheduler_type": "lr_scheduler"})
    if source.arguments.get("lr_scheduler") == "adafactor":
        source.say("lr_scheduler", "constant")
        source.notes.append("lr_scheduler adafactor leaves the rate to Adafactor, as here")
    backend = plain_values.text_of(raw.get("dynamo_backend"))
    if backend not in ("", "no"):
        source.say("dynamo_backend", backend)


def _noise(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """One kind of noise is passed on, the other is not."""
    multires = raw.get("noise_offset_type") == "Multires"
    unused = (
        ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
        if multires
        else ("multires_noise_iterations", "multires_noise_discount")
    )
    for word in unused:
        if word in source.arguments and word in source.words:
            source.arguments.pop(word)
            source.idle.append(source.words.pop(word))
    source.arguments.pop("noise_offset_type", None)
    source.words.pop("noise_offset_type", None)


def _command_line(source: KohyaConfig, given: Any) -> None:
    """`additional_parameters` stand behind all others on the command line, and win."""
    text = plain_values.text_of(given)
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            source.lost.append(plain_values.entry("additional_parameters", word))
            continue
        name, equals, value = word[2:].partition("=")
        values = [value] if equals else []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        if name == "lr_scheduler_type":
            source.say(name, values[:1], {name: "lr_scheduler"})
        else:
            several = name.endswith("_args")
            source.say(name, values if several else values[0] if values else True)
