"""Reads the config files of other trainers, whichever program wrote them.

Steps of `read_configs`: parse JSON, TOML or YAML, recognise by its keys which program wrote it, turn it
into sd-scripts' flat arguments and a list of picture folders. Seven kinds are known: the JSON of the
guide's script, of kohya_ss' GUI and of OneTrainer, ai-toolkit's YAML, LoRA_Easy_Training_Scripts' TOML,
sd-scripts' `--config_file`, and its `--dataset_config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bakery.interop import config_text, flow_terms, kohya_terms, picture_folders, plain_values
from bakery.interop.other_config import KohyaConfig, Subset, beside, table, tables
from bakery.interop.readers import (
    ai_toolkit,
    civitai,
    diffusion_pipe,
    kohya_gui,
    launch_script,
    onetrainer,
    trained_lora,
)  # fmt: skip
from bakery.io.errors import BakeryError

GUIDE, GUI, EASY, ARGUMENTS, DATASET, ONETRAINER, AI_TOOLKIT, SCRIPT, PIPE, LORA, CIVITAI = (
    "JSON of the guide's script",
    "JSON of kohya_ss' GUI",
    "TOML of LoRA_Easy_Training_Scripts",
    "config TOML of sd-scripts",
    "dataset TOML of sd-scripts",
    "JSON of OneTrainer",
    "YAML of ai-toolkit",
    "command line of sd-scripts",
    "TOML of diffusion-pipe",
    "metadata of a LoRA of sd-scripts",
    "parameters of Civitai's trainer",
)
_GUIDE_SIGNS = {"net_dim", "base_model", "img_folder", "train_resolution", "num_epochs", "scheduler",
                "batch_size", "change_output_name", "warmup_lr_ratio", "cosine_restarts",
                "test_seed"}  # fmt: skip
_ARGUMENT_SIGNS = {"pretrained_model_name_or_path", "network_module", "network_dim", "train_data_dir",
                   "max_train_steps", "max_train_epochs", "dataset_config"}  # fmt: skip
_SUBSET_SETTINGS = ("shuffle_caption", "keep_tokens", "caption_dropout_rate", "flip_aug", "random_crop",
                    "caption_dropout_every_n_epochs", "caption_tag_dropout_rate",
                    "keep_tokens_separator", "secondary_separator", "enable_wildcard",
                    "caption_separator")  # fmt: skip
_OF_FRONT_ENDS = ("epoch", "noise_offset_type")
"""What kohya_ss' GUI writes into the file of a run, and sd-scripts does not know."""
_OTHER_NETWORK = re.compile(r"(?:sd_scripts\.)?networks\.(?:lora|dylora|loha|lokr|oft)_(?!fa$)\w+")
_OURS = {"scrape", "filter", "prune", "layout", "train", "sample", "score", "sweeps"}
_ZERO_MEANS_UNSET = ("learning_rate", "unet_lr", "text_encoder_lr")


def read_configs(paths: Iterable[Path]) -> KohyaConfig:
    """All that the files say together; a later one wins. Raises `BakeryError` for a strange file."""
    source = KohyaConfig()
    waiting = list(paths)
    seen: set[Path] = set()
    datasets = False
    while waiting:
        path = waiting.pop(0)
        if path.resolve() in seen:
            source.notes.append(f"{path} is given more than once: it is read once")
            continue
        seen.add(path.resolve())
        raw, notes = config_text.parse(path)
        kind = recognise(raw, path)
        config = launch_script.config_of(raw, path) if kind == SCRIPT else None
        if config and config.resolve() not in seen:
            # options win over the file that they name, so that is read first
            seen.remove(path.resolve())
            waiting[:0] = [config, path]
            continue
        source.notes += notes
        datasets = datasets or kind == DATASET
        source.trains = source.trains or kind != DATASET
        source.kinds.append(f"{plain_values.printable(path.name)} ({kind})")
        _read(source, kind, raw, path)
        further = source.arguments.pop("dataset_config", None)
        if further:
            waiting += [
                p
                for p in _beside(further, path, source)
                if p.resolve() not in seen and p not in waiting
            ]
    if datasets:
        for name in ("train_data_dir", "reg_data_dir"):
            if source.arguments.pop(name, None):
                word = source.words.pop(name, name)
                source.notes.append(f"{word} does nothing beside a dataset TOML, there as here")
    _old_words(source)
    _another_model(source)
    picture_folders.look(source)
    return source


def _old_words(source: KohyaConfig) -> None:
    """Options of sd-scripts that others replaced, and which it still heeds."""
    given = source.arguments
    for old, optimizer in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        word = source.words.get(old, "")
        if word and plain_values.flag(given.get(old)) and "optimizer_type" not in source.words:
            source.say(word, optimizer, {word: "optimizer_type"})
            source.words.pop(old)
    if word := source.words.pop("caption_extention", ""):
        source.say(word, given.pop("caption_extention"), {word: "caption_extension"})


def _another_model(source: KohyaConfig) -> None:
    """Tell where sd-scripts' arguments are of a model that is not baked here, or of no network."""
    given = source.arguments
    module = plain_values.text_of(given.get("network_module"))
    if _OTHER_NETWORK.fullmatch(module) and not flow_terms.flows(given):
        source.other_model(f"network_module {module}")
        source.arguments["network_module"] = "networks.lora"
    if plain_values.flag(given.get("v2")) and source.words.pop("v2", ""):
        source.other_model("v2")
    task = plain_values.text_of(given.get("model_train_type"))
    kind, _, form = task.partition("-")
    told = form == "lora" and source.words.pop("model_train_type", "")
    if told and kind not in launch_script.NETWORKS and kind != "sd":
        source.other_model(f"model_train_type {task}")
    ours = (ARGUMENTS, SCRIPT)
    if any(said.endswith(f"({one})") for said in source.kinds for one in ours) and not (
        {"network_module", "network_dim"} & set(source.words)
    ):
        source.notes.append(
            "the file names no network_module, so it may be of a full fine-tuning: a LoRA is baked"
        )


def runs_in(paths: list[Path]) -> list[Path]:
    """The files of runs, sorted by name, where a folder of them is given or named; else none.

    Raises `BakeryError` for a folder without them.
    """
    if len(paths) != 1:
        if any(path.is_dir() for path in paths):
            raise BakeryError("a folder of runs is given beside other files: give it alone")
        return []
    folder = paths[0]
    if not folder.is_dir():
        raw, _ = config_text.parse(folder)
        name = plain_values.path_of(raw.get("multi_run_folder"))
        if not name:
            return []
        places = [Path(name), folder.parent / name, folder.parent / Path(name).name]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise BakeryError(f"{folder}: multi_run_folder names {name}, which is not a folder")
        folder = found
    runs = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json")
    if not runs:
        raise BakeryError(f"{folder} holds no .json of a run: give a folder of the guide's JSONs")
    return runs


def _read(source: KohyaConfig, kind: str, raw: dict[str, Any], path: Path) -> None:
    """One file: take its settings over, give them types, and decide how long the bake is."""
    with_folder: dict[str, Callable[[KohyaConfig, dict[str, Any], Path], None]] = {
        EASY: _easy, DATASET: _dataset, ONETRAINER: onetrainer.read, AI_TOOLKIT: ai_toolkit.read,
        SCRIPT: launch_script.read, PIPE: diffusion_pipe.read, LORA: trained_lora.read,
    }  # fmt: skip
    plain: dict[str, Callable[[KohyaConfig, dict[str, Any]], None]] = {
        GUIDE: _guide, GUI: kohya_gui.read, ARGUMENTS: _arguments, CIVITAI: civitai.read,
    }  # fmt: skip
    if kind in with_folder:
        with_folder[kind](source, raw, path)
    else:
        plain[kind](source, raw)
    source.tidy()
    if kind == GUIDE:
        _end_of_guide(source, raw)
    elif kind in (EASY, ARGUMENTS, DATASET, SCRIPT, LORA, CIVITAI):
        _epochs_win(source)


def _beside(further: str, path: Path, source: KohyaConfig) -> list[Path]:
    """The dataset TOML that `path` names: as it stands, or beside it; none with a note if it is gone."""
    name = plain_values.path_of(further)
    if found := beside(name, path):
        return [found]
    source.notes.append(
        f"dataset_config {name} is not here, so its pictures and settings are not known: give it as one "
        "more file"
    )
    return []


def recognise(raw: dict[str, Any], path: Path) -> str:
    """Which kind of file this is, by what stands in it."""
    nested = [value for value in raw.values() if isinstance(value, dict)]
    if len(_OURS & set(raw)) > 1:
        raise BakeryError(
            f"{path} is a config of this project already: give it to snakemake as --configfile"
        )
    if launch_script.SCRIPT in raw:
        return SCRIPT
    if trained_lora.recognised(raw):
        return LORA
    if civitai.recognised(raw):
        return CIVITAI
    if ai_toolkit.recognised(raw):
        return AI_TOOLKIT
    if len(onetrainer.SIGNS & set(raw)) >= 2:
        return ONETRAINER
    if diffusion_pipe.recognised(raw):
        return PIPE
    if "subsets" in raw or any({"args", "dataset_args"} & set(one) for one in nested):
        return EASY
    if "datasets" in raw:
        return DATASET
    names = set(raw).union(*nested)
    if _GUIDE_SIGNS & set(raw):
        return GUIDE
    if kohya_gui.recognised(raw):
        return GUI
    if _ARGUMENT_SIGNS & names:
        return ARGUMENTS
    if _GUIDE_SIGNS & names:
        return GUIDE
    raise BakeryError(
        f"{path} is no config known here: give the JSON of the guide's script, of kohya_ss or of "
        "OneTrainer, the YAML of ai-toolkit, the TOML of LoRA_Easy_Training_Scripts or diffusion-pipe, "
        "a config or dataset TOML or a command line of sd-scripts, or a LoRA that it trained"
    )


def _guide(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """The script passes no rate that is 0 on."""
    source.fall_back(kohya_terms.GUIDE_DEFAULTS)
    old_optimizer = "optimizer_type" not in raw
    for word, value in raw.items():
        rate_of_0 = word in _ZERO_MEANS_UNSET and plain_values.number(value) in (0, None)
        if value is None or (rate_of_0 and not isinstance(value, list)):
            continue
        source.say(word, value, kohya_terms.GUIDE_NAMES)
    if old_optimizer and plain_values.flag(raw.get("use_8bit_adam")) is False:
        source.say("optimizer_type", "AdamW")
    if old_optimizer and plain_values.flag(raw.get("use_lion")):
        source.say("optimizer_type", "Lion")


def _end_of_guide(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """A warm-up is always a share, and max_steps have the last word, as here."""
    share = float(source.arguments["lr_warmup_steps"])
    word = source.words.get("lr_warmup_steps", "")
    if share >= 1 and plain_values.number(raw.get(word)) != 1:
        source.notes.append(f"a warm-up of {share:g} is read as per cent")
        share = min(share, 100) / 100
    source.arguments["lr_warmup_steps"] = min(share, 1.0)
    if source.arguments.get("max_train_steps"):
        source.arguments.pop("max_train_epochs", None)


def _easy(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Its backend leaves out whatever is 0 or empty, and gives max_train_epochs the last word."""
    source.fall_back(kohya_terms.SD_SCRIPTS_DEFAULTS)
    for title, section in raw.items():
        if not isinstance(section, dict):
            continue
        for part in ("args", "dataset_args"):
            for word, value in table(section.get(part), path, f"{title}.{part}").items():
                if value or value is False:
                    source.say(word, value, kohya_terms.EASY_NAMES)
        loose = {k: v for k, v in section.items() if k not in ("args", "dataset_args")}
        for word, value in loose.items():
            source.say(word, value, kohya_terms.EASY_NAMES)
    if "warmup_ratio" in source.words.values():
        share = plain_values.number(source.arguments["lr_warmup_steps"])
        source.arguments["lr_warmup_steps"] = min(float(share or 0), 1.0)
    if custom := source.arguments.pop("lr_scheduler_type", None):
        source.words.pop("lr_scheduler_type", None)
        source.say("lr_scheduler_type", custom, {"lr_scheduler_type": "lr_scheduler"})
    for subset in tables(raw.get("subsets"), path, "subsets"):
        _subset(source, {k: v for k, v in subset.items() if k != "name" and v})


def _arguments(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """sd-scripts takes sections apart: only the names in them count."""
    source.fall_back(kohya_terms.SD_SCRIPTS_DEFAULTS)
    for word, value in raw.items():
        for name, inner in (value if isinstance(value, dict) else {word: value}).items():
            if name in _OF_FRONT_ENDS:
                source.idle.append(name)
            else:
                source.say(name, inner)
    source.rename("lr_scheduler_type", "lr_scheduler")


def _dataset(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    if training := {k: v for k, v in raw.items() if k not in ("general", "datasets")}:
        source.notes.append(
            f"{path.name} holds {len(training)} settings of training beside datasets, which sd-scripts "
            "wants in a file of their own: they are read as its --config_file"
        )
        _arguments(source, training)
        source.trains = True
    source.fall_back(kohya_terms.SD_SCRIPTS_DEFAULTS)
    datasets = tables(raw.get("datasets"), path, "datasets")
    for word, value in table(raw.get("general"), path, "general").items():
        source.say(word, value, {"batch_size": "train_batch_size"})
    for number, dataset in enumerate(datasets):
        if plain_values.number(dataset.get("validation_split")) == 1:
            folders = [
                plain_values.text_of(subset.get("image_dir", ""))
                for subset in tables(dataset.get("subsets"), path, "datasets.subsets")
            ]
            source.notes.append(
                f"{', '.join(folders)}: for validation only, so not among the pictures here; "
                "layout.holdout holds out some of the others"
            )
            continue
        for word, value in dataset.items():
            if word == "subsets":
                continue
            name = {"batch_size": "train_batch_size"}.get(word, word)
            if number and source.arguments.get(name) != value:
                source.notes.append(
                    f"a second dataset has {word} {value}; one bake has one: "
                    f"{source.arguments.get(name)} is taken"
                )
                continue
            source.say(word, value, {"batch_size": "train_batch_size"})
        for subset in tables(dataset.get("subsets"), path, "datasets.subsets"):
            _subset(source, subset)


def _subset(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Settings of one folder alone become the bake's; a second folder that differs is told of."""
    given = dict(raw)
    made = Subset(
        image_dir=plain_values.text_of(given.pop("image_dir", "")),
        num_repeats=plain_values.whole(
            given.pop("num_repeats", None),
            plain_values.whole(source.arguments.get("num_repeats"), 1),
        ),
        class_tokens=plain_values.text_of(
            given.pop("class_tokens", source.arguments.get("class_tokens", ""))
        ),
        is_reg=bool(plain_values.flag(given.pop("is_reg", False))),
        caption_extension=plain_values.text_of(given.pop("caption_extension", "")),
    )
    first = not any(not subset.is_reg for subset in source.subsets)
    for word, value in given.items():
        known = word in _SUBSET_SETTINGS
        if known and not made.is_reg and first:
            source.say(word, value)
        elif not known or source.arguments.get(word) != value:
            source.notes.append(
                f"{plain_values.entry(word, value)} of the folder {made.image_dir} alone is left out"
            )
    source.subsets.append(made)


def _epochs_win(source: KohyaConfig) -> None:
    given = source.arguments
    if given.get("max_train_epochs"):
        if "max_train_steps" in source.words and "max_train_steps" in given:
            source.notes.append(
                "max_train_steps is left out: beside max_train_epochs it does nothing"
            )
        given.pop("max_train_steps", None)
    elif "max_train_steps" not in given:
        given["max_train_steps"] = 1600
