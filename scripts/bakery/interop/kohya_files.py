"""Reads the config files of kohya's world, whichever program wrote them.

Steps of `read`: parse JSON or TOML, recognise by its keys who wrote it, turn it into sd-scripts'
flat arguments and a list of picture folders. Four kinds are known: the JSON of the guide's script
(and of kohya_ss), LoRA_Easy_Training_Scripts' TOML, sd-scripts' `--config_file`, and its
`--dataset_config`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.interop import kohya_terms
from bakery.io.errors import BakeryError
from bakery.tags import captions

GUIDE, EASY, ARGUMENTS, DATASET = (
    "JSON of the guide's script",
    "TOML of LoRA_Easy_Training_Scripts",
    "config TOML of sd-scripts",
    "dataset TOML of sd-scripts",
)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
REPEATS = re.compile(r"(\d+)_(.*)")
_GUIDE_SIGNS = {"net_dim", "base_model", "img_folder", "train_resolution", "num_epochs", "scheduler",
                "batch_size", "change_output_name", "LoRA_type", "lr_warmup", "test_seed"}  # fmt: skip
_ARGUMENT_SIGNS = {"pretrained_model_name_or_path", "network_module", "network_dim", "train_data_dir",
                   "max_train_steps", "max_train_epochs", "dataset_config"}  # fmt: skip
_SUBSET_SETTINGS = ("shuffle_caption", "keep_tokens", "caption_dropout_rate", "flip_aug", "random_crop",
                    "caption_dropout_every_n_epochs", "caption_tag_dropout_rate")  # fmt: skip
_ZERO_MEANS_UNSET = ("learning_rate", "unet_lr", "text_encoder_lr")


@dataclass
class Subset:
    """One folder of pictures."""

    image_dir: str
    num_repeats: int = 1
    class_tokens: str = ""
    is_reg: bool = False
    caption_extension: str = ""
    captions: dict[Path, str] = field(default_factory=dict)
    """Picture -> what its caption file says, for those that have one."""
    images: int = 0


@dataclass
class KohyaConfig:
    """What a file says, in sd-scripts' words."""

    kinds: list[str] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    """Flat; the settings of datasets and subsets are among them."""
    words: dict[str, str] = field(default_factory=dict)
    """sd-scripts' name -> what the file calls it."""
    subsets: list[Subset] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences about what is read in another way than it stands there."""

    def say(self, word: str, value: Any, names: dict[str, str] | None = None) -> None:
        """Take over one setting, called by sd-scripts' name from here on."""
        name = (names or {}).get(word, word)
        self.arguments[name] = value
        self.words[name] = word


def read_configs(paths: Iterable[Path]) -> KohyaConfig:
    """All that the files say together; a later one wins. Raises `BakeryError` for a strange file."""
    source = KohyaConfig()
    waiting = list(paths)
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop(0)
        seen.add(path.resolve())
        raw = _parse(path)
        kind = recognise(raw, path)
        source.kinds.append(f"{path.name} ({kind})")
        {GUIDE: _guide, EASY: _easy, ARGUMENTS: _arguments, DATASET: _dataset}[kind](source, raw)
        further = source.arguments.pop("dataset_config", None)
        if further:
            found = [p for p in (Path(further), path.parent / further) if p.is_file()]
            if not found:
                raise BakeryError(
                    f"{path} names the dataset_config {further}, which does not exist"
                )
            waiting += [p for p in found[:1] if p.resolve() not in seen]
    _folders(source)
    return source


def recognise(raw: dict[str, Any], path: Path) -> str:
    """Which kind of file this is, by what stands in it."""
    tables = [value for value in raw.values() if isinstance(value, dict)]
    if "subsets" in raw or any({"args", "dataset_args"} & set(table) for table in tables):
        return EASY
    if "datasets" in raw:
        return DATASET
    names = set(raw).union(*tables)
    if _GUIDE_SIGNS & names and path.suffix.lower() == ".json":
        return GUIDE
    if _ARGUMENT_SIGNS & names:
        return ARGUMENTS
    if _GUIDE_SIGNS & names:
        return GUIDE
    raise BakeryError(
        f"{path} is no config known here: give the JSON of the guide's script, the TOML of "
        "LoRA_Easy_Training_Scripts, or a config or dataset TOML of sd-scripts"
    )


def common_front(texts: Iterable[str]) -> list[str]:
    """The tags that all captions start with: the trigger, and perhaps class tokens."""
    fronts = [captions.split(text) for text in texts]
    if not fronts:
        return []
    shared = []
    for tags in zip(*fronts, strict=False):
        if len(set(map(captions.same, tags))) > 1:
            break
        shared.append(tags[0])
    return shared


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: check the spelling") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise BakeryError(f"{path} cannot be read as UTF-8 text ({problem})") from None
    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BakeryError(f"{path} is neither JSON nor TOML ({problem}): repair it") from None
    if not isinstance(raw, dict):
        raise BakeryError(f"{path} holds no settings")
    return raw


def _guide(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """The script passes no rate that is 0 on, and gives max_steps the last word, as we do."""
    source.arguments = kohya_terms.GUIDE_DEFAULTS | source.arguments
    old_optimizer = "optimizer_type" not in raw
    for word, value in raw.items():
        if value is None or (word in _ZERO_MEANS_UNSET and not value):
            continue
        source.say(word, value, kohya_terms.GUIDE_NAMES)
    if old_optimizer and raw.get("use_8bit_adam") is False:
        source.say("optimizer_type", "AdamW")
    if old_optimizer and raw.get("use_lion"):
        source.say("optimizer_type", "Lion")
    share = float(source.arguments["lr_warmup_steps"])
    if share > 1:
        source.notes.append(f"a warm-up of {share:g} is read as per cent")
        share /= 100
    source.arguments["lr_warmup_steps"] = share
    if source.arguments.get("max_train_steps"):
        source.arguments.pop("max_train_epochs", None)


def _easy(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Its backend leaves out whatever is 0 or empty, and gives max_train_epochs the last word."""
    _fall_back(source)
    for section in raw.values():
        if not isinstance(section, dict):
            continue
        for part in ("args", "dataset_args"):
            for word, value in section.get(part, {}).items():
                if value or value is False:
                    source.say(word, value, kohya_terms.EASY_NAMES)
        loose = {k: v for k, v in section.items() if k not in ("args", "dataset_args")}
        for word, value in loose.items():
            source.say(word, value, kohya_terms.EASY_NAMES)
    if "warmup_ratio" in source.words.values():
        source.arguments["lr_warmup_steps"] = float(source.arguments["lr_warmup_steps"])
    for subset in raw.get("subsets", []):
        _subset(source, {k: v for k, v in subset.items() if k != "name" and v})
    _epochs_win(source)


def _arguments(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """sd-scripts takes sections apart: only the names in them count."""
    _fall_back(source)
    for word, value in raw.items():
        for name, inner in (value if isinstance(value, dict) else {word: value}).items():
            source.say(name, inner)
    _epochs_win(source)


def _dataset(source: KohyaConfig, raw: dict[str, Any]) -> None:
    _fall_back(source)
    datasets = raw.get("datasets", [])
    for word, value in raw.get("general", {}).items():
        source.say(word, value, {"batch_size": "train_batch_size"})
    for number, dataset in enumerate(datasets):
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
        for subset in dataset.get("subsets", []):
            _subset(source, subset)


def _subset(source: KohyaConfig, raw: dict[str, Any]) -> None:
    """Settings of one folder alone become the bake's; a second folder that differs is told of."""
    given = dict(raw)
    made = Subset(
        image_dir=str(given.pop("image_dir", "")),
        num_repeats=int(given.pop("num_repeats", source.arguments.get("num_repeats", 1))),
        class_tokens=str(given.pop("class_tokens", source.arguments.get("class_tokens", ""))),
        is_reg=bool(given.pop("is_reg", False)),
        caption_extension=str(given.pop("caption_extension", "")),
    )
    first = not any(not subset.is_reg for subset in source.subsets)
    for word, value in given.items():
        known = word in _SUBSET_SETTINGS
        if known and not made.is_reg and first:
            source.say(word, value)
        elif not known or source.arguments.get(word) != value:
            source.notes.append(
                f"{word} = {value!r} of the folder {made.image_dir} alone is left out"
            )
    source.subsets.append(made)


def _fall_back(source: KohyaConfig) -> None:
    source.arguments = kohya_terms.SD_SCRIPTS_DEFAULTS | source.arguments


def _epochs_win(source: KohyaConfig) -> None:
    given = source.arguments
    if given.get("max_train_epochs"):
        if "max_train_steps" in source.words:
            source.notes.append(
                "max_train_steps is left out: beside max_train_epochs it does nothing"
            )
        given.pop("max_train_steps", None)
    elif "max_train_steps" not in given:
        given["max_train_steps"] = 1600


def _folders(source: KohyaConfig) -> None:
    """train_data_dir and reg_data_dir hold repeat folders, as sd-scripts lists them."""
    for name, is_reg in (("train_data_dir", False), ("reg_data_dir", True)):
        parent = source.arguments.get(name)
        if not parent:
            continue
        found = sorted(Path(parent).iterdir()) if Path(parent).is_dir() else []
        for folder in found:
            match = REPEATS.fullmatch(folder.name)
            if folder.is_dir() and match and int(match[1]):
                tokens = match[2].strip()
                source.subsets.append(Subset(str(folder), int(match[1]), tokens, is_reg))
            elif folder.is_dir():
                source.notes.append(f"{folder} is no <repeats>_<name> and is ignored there, too")
        if not found and not is_reg:
            source.notes.append(f"{parent} is not here, so its repeat folders cannot be seen")
            source.subsets.append(Subset(str(parent)))
    source.arguments.pop("train_data_dir", None)
    for subset in source.subsets:
        _look_into(subset, source.arguments.get("caption_extension", ".caption"))


def _look_into(subset: Subset, extension: str) -> None:
    folder = Path(subset.image_dir)
    if not folder.is_dir():
        return
    pictures = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES]
    subset.images = len(pictures)
    for picture in pictures:
        beside = picture.with_suffix(subset.caption_extension or extension)
        if beside.is_file():
            text = beside.read_text(encoding="utf-8", errors="replace")
            subset.captions[picture] = captions.join(captions.split(text.replace("\n", ",")))
