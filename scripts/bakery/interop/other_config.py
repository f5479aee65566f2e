"""A config of another program in sd-scripts' words, whichever program wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.interop import plain_values
from bakery.io.errors import BakeryError


@dataclass
class Subset:
    """One folder of pictures."""

    image_dir: str
    num_repeats: int = 1
    class_tokens: str = ""
    is_reg: bool = False
    caption_extension: str = ""
    extension: str = ""
    """Of the captions that were looked for, when the folder has been read."""
    captions: dict[Path, str] = field(default_factory=dict)
    """Picture -> what its caption file says, for those that have one; separators are commas."""
    marked: dict[Path, str] = field(default_factory=dict)
    """The same with keep_tokens_separator where it is, for those that hold it."""
    images: int = 0


@dataclass
class KohyaConfig:
    """What files say together, in sd-scripts' words."""

    kinds: list[str] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    """Flat; the settings of datasets and subsets are among them."""
    words: dict[str, str] = field(default_factory=dict)
    """sd-scripts' name -> what the file calls it."""
    subsets: list[Subset] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences about what is read in another way than it stands there."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What the program that wrote the file does where it says nothing."""
    lost: list[str] = field(default_factory=list)
    """Lines for settings that are not carried over."""
    idle: list[str] = field(default_factory=list)
    """Settings that do nothing in that program either."""
    trigger: str = ""
    """The trigger, where the file itself names it."""
    trains: bool = False
    """Whether a file says how it is trained; a dataset TOML alone says of what."""

    def say(self, word: str, value: Any, names: Mapping[str, str] | None = None) -> None:
        """Take over one setting, called by sd-scripts' name from here on."""
        name = (names or {}).get(word, word)
        if plain_values.is_secret(name, value):
            self.lost.append(plain_values.entry(word, value))
            return
        self.arguments[name] = value
        self.words[name] = word

    def rename(self, old: str, name: str) -> None:
        """Take over a setting under another name, if the file says it."""
        if value := self.arguments.pop(old, None):
            word = self.words.pop(old, old)
            self.say(word, value, {word: name})

    def size(self, word: str, sides: list[int]) -> None:
        """Take over a resolution, with the buckets of programs that limit ratios and not sides: half
        and twice its side, in steps of 64 pixels."""
        self.say(word, sides, {word: "resolution"})
        side = max(64, round((sides[0] * sides[1]) ** 0.5 / 64) * 64)
        self.arguments |= {
            "min_bucket_reso": max(64, side // 128 * 64), "max_bucket_reso": 2 * side,
        }  # fmt: skip

    def other_model(self, said: str) -> None:
        """Tell that the file is for a model that is not baked here; `said` is its word for it."""
        self.notes.append(
            f"{said} is for a kind of model that is not baked here: name one that is as train.base, and "
            "look at resolution and learning rates again"
        )

    def fall_back(self, defaults: Mapping[str, Any]) -> None:
        """Fill in what the file does not say."""
        self.defaults = {**defaults, **self.defaults}
        self.arguments = {**defaults, **self.arguments}

    def tidy(self) -> None:
        """Give every known setting a value of its own type; what is none is said and falls back."""
        for name in list(self.arguments):
            value = self.arguments[name]
            read, fine = _typed(name, value)
            if fine:
                self.arguments[name] = read
                continue
            word = self.words.pop(name, name)
            if name in self.defaults:
                self.arguments[name] = self.defaults[name]
            else:
                self.arguments.pop(name)
            empty = isinstance(value, str) and value.strip().lower() in plain_values.EMPTY
            if not empty and value is not None and value != []:
                self.lost.append(f"{plain_values.entry(word, value)} (cannot be read)")


def beside(name: str, path: Path) -> Path | None:
    """The file that the config at `path` names: as it stands, or beside the config; else None."""
    places = [Path(name), path.parent / name, path.parent / Path(name).name]
    return next((place for place in places if place.is_file()), None)


def tables(value: Any, path: Path, key: str) -> list[dict[str, Any]]:
    """The tables of a list of tables, or of one. Raises `BakeryError` for anything else."""
    if value is None:
        return []
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in found):
        raise BakeryError(f"{path}: {key} is no list of tables: write [[{key}]] for each of them")
    return found


def table(value: Any, path: Path, key: str) -> dict[str, Any]:
    """`value` as a table, empty for null. Raises `BakeryError` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BakeryError(f"{path}: {key} is no table of settings: give it keys and values")
    return value


def _typed(name: str, value: Any) -> tuple[Any, bool]:
    """(`value` as that setting's type, whether it is one)."""
    found: Any
    if name == "resolution":
        found = plain_values.sides(value)
        return found, found is not None
    if name == "lr_warmup_steps":
        found = plain_values.steps_or_share(value)
        return found, found is not None
    if name == "text_encoder_lr" and isinstance(value, list | tuple):
        rates = [plain_values.number(rate) for rate in value]
        return rates, None not in rates
    if isinstance(value, list | tuple) and len(value) >= 1 and name in _SINGLE:
        value = value[0]
    if name in plain_values.INTEGERS:
        found = plain_values.number(value)
        return (None, False) if found is None else (round(found), True)
    if name in plain_values.FLOATS or name == "text_encoder_lr":
        found = plain_values.number(value)
        return found, found is not None
    if name in plain_values.FLAGS:
        found = plain_values.flag(value)
        return found, found is not None
    if name in plain_values.TEXTS:
        known = isinstance(value, str | int | float) and not isinstance(value, bool)
        return plain_values.text_of(value).strip(), known and value != ""
    return value, True


_SINGLE = plain_values.INTEGERS | plain_values.FLOATS | plain_values.FLAGS | plain_values.TEXTS
