"""A commented config for a character: from a folder or a booru's address, and a base.

Steps of `make`: look at the base (family, what it predicts), at the pictures (how many, how large, with
captions?), propose a trigger, and put all this into the shipped config for that kind of base.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bakery.families import registry
from bakery.families.family import Family
from bakery.families.recognise import Header, header
from bakery.interop.import_folders import name_of
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings import config_file
from bakery.settings.named_files import locate
from bakery.settings.prune import Prune
from bakery.settings.tag import EMBEDDED_TAGGER
from bakery.sources import glance
from bakery.sources.glance import Glance
from bakery.starting import given_source, trigger_words
from bakery.starting.preset_text import PresetText
from bakery.tags import named_traits

AN_EPOCH = 500
"""About how many pictures an epoch shows: the guide's 100 pictures with 5 repeats."""
MOST_REPEATS = 25
OWN_CAPTIONS = "captions"
"""The value of `prune.source` that keeps captions as they are."""
EMBEDDED = "resources/world/base"
FEW = 15
"""Below this many pictures a LoRA learns them by heart."""


@dataclass(frozen=True)
class Request:
    """What the user gave."""

    name: str
    source: str
    """A folder, or an address that gallery-dl understands."""
    base: str
    """A checkpoint, a diffusers folder or a hub id; "" looks for one below `models/`."""


@dataclass(frozen=True)
class NewConfig:
    """The config, and what to tell about it."""

    path: Path
    text: str
    notes: tuple[str, ...]


def make(request: Request, roots: Sequence[Path]) -> NewConfig:
    """The config for `request`; nothing is written.

    `roots` are where the user stands and the project's own folder, which has the presets. Raises
    `BakeryError` where something that is named is not there or cannot be used.
    """
    here, home = roots[0], roots[-1]
    name = _name(request.name)
    path = here / "config" / f"{name}.yaml"
    _refuse_taken(name, path)
    base = _path(request.base or _only_checkpoint(here), here)
    _refuse_address(base)
    place = locate(base, roots, "BASE")
    found = header(str(place)) if place is not None else None
    family, predicts_v = _family(base, str(place), found)
    preset = _preset(base, family, predicts_v)
    text = PresetText((home / "config" / f"{preset}.yaml").read_text(encoding="utf-8"))
    notes = [] if name == request.name else [f"the name is written {name}, as files allow it"]
    text.put("scrape.name", name, "of the dataset and of the LoRA files")
    text.put("train.base", base, "")
    if place is not None and place.is_file():
        notes += _parts(text, base, place, family, here)
    if found is None:
        notes.append(f"whether {base} is of the kind that its name says shows when it is fetched")
    elif found.predicts_v and not found.pipeline:  # a folder has it in its scheduler
        text.put("train.v_parameterization", True, "the file says so")
        if found.zero_terminal_snr or "v_pred" in found.shapes:
            marked = "has" if found.zero_terminal_snr else "lacks"
            text.put("train.zero_terminal_snr", found.zero_terminal_snr,
                     f"the file {marked} the mark `ztsnr`")  # fmt: skip
    if given_source.is_address(request.source):
        notes += _from_booru(text, request.source)
    else:
        notes += _from_folder(text, request.source, here)
    tagger = trigger_words.tags_of(home / EMBEDDED_TAGGER)
    trigger, why = trigger_words.propose(request.name, tagger, place)
    text.put(
        "prune.trigger", trigger, "calls the character in prompts" + (f"; {why}" if why else "")
    )
    made = text.text(_head(request, preset, path.relative_to(here).as_posix()))
    config = cfg.load(config_file.parse(made, path))
    return NewConfig(path, made, (*notes, *_traits(config, here)))


def _name(text: str) -> str:
    if not re.search("[A-Za-z0-9]", text):
        raise BakeryError(
            f"NAME is {text!r}, which has no letter that the names of LoRA files may have: write it in "
            "Latin letters, as in NAME=suzu"
        )
    return name_of(text)


def _refuse_taken(name: str, path: Path) -> None:
    """Neither a file is replaced, nor may two datasets share hand edits and results' names."""
    if path.exists():
        raise BakeryError(f"{path} exists already: remove it, or give another NAME")
    for other in sorted(path.parent.glob("*.yaml")):
        try:
            scrape = config_file.read(other).get("scrape")
        except BakeryError:  # a broken config is another matter
            continue
        if isinstance(scrape, dict) and scrape.get("name") == name:
            raise BakeryError(
                f"{other} has the name {name} already, and hand edits and LoRA files go by it: give "
                "another NAME"
            )


def _refuse_address(base: str) -> None:
    """A page on the web is neither a file nor a hub id."""
    if "://" not in base:
        return
    hub = re.match(r"https?://huggingface\.co/([\w.-]+/[\w.-]+)/?$", base)
    cure = f"BASE={hub[1]}" if hub else "BASE=models/your.safetensors"
    what = "give the hub's id alone" if hub else "download the model and give the file"
    raise BakeryError(f"BASE is an address: {what}, as in {cure}")


def _path(text: str, here: Path) -> str:
    """A path as a config holds it: below `here` relative, else absolute; a hub id as it is."""
    place = Path(text.strip()).expanduser()
    if not (here / place).exists():
        return text.strip()
    whole = (here / place).absolute()
    inside = whole.is_relative_to(here.absolute())
    return (whole.relative_to(here.absolute()) if inside else whole).as_posix()


def _only_checkpoint(here: Path) -> str:
    found = sorted((here / "models").rglob("*.safetensors"))
    if len(found) == 1:
        return str(found[0])
    which = f"one of {', '.join(map(str, found[:6]))}" if found else "none is in models/"
    raise BakeryError(
        f"BASE is missing ({which}): give your checkpoint, as in BASE=models/your.safetensors, or "
        f"BASE={EMBEDDED} to try it without one"
    )


def _family(base: str, place: str, found: Header | None) -> tuple[Family, bool]:
    """(the family of a base, whether it predicts v). A hub id has only its name to go by."""
    if found is not None:
        return registry.recognised(place, found), found.predicts_v
    predicts_v = re.search(r"v-?pred", base, re.IGNORECASE) is not None
    return registry.guessed(base), predicts_v


def _preset(base: str, family: Family, predicts_v: bool) -> str:
    """The name of the shipped config for such a base."""
    if base == EMBEDDED:
        return "config"
    return (family.preset_v if predicts_v else "") or family.preset


def _parts(text: PresetText, base: str, place: Path, family: Family, here: Path) -> list[str]:
    """Fill in the other parts of a base whose file holds one only; returns what is still missing."""
    try:
        family.check_place(str(place))
    except BakeryError:
        beside = family.parts_beside(place)
        text.put_table(
            "train.base", {"checkpoint": base} | {n: _path(p, here) for n, p in beside.items()}
        )
        try:
            family.check_place({"checkpoint": str(place), **beside})
        except BakeryError as missing:
            return [str(missing)]
    return []


def _from_booru(text: PresetText, source: str) -> list[str]:
    """Fill in an address; returns what to tell."""
    address, notes = given_source.address(source)
    text.put_list("scrape.urls", [address], "addresses that gallery-dl understands")
    if count := next((tag for tag in glance.CHARACTERS if tag in address), None):
        _class_tokens(text, count, "as the address asks for")
    return notes


def _from_folder(text: PresetText, source: str, here: Path) -> list[str]:
    """Fill in what the pictures show; returns what to tell."""
    place = here / Path(source.strip()).expanduser()
    if not place.is_dir():
        raise BakeryError(given_source.no_folder(source, place))
    seen = glance.at([place])
    if not seen.pictures:
        raise BakeryError(given_source.no_picture(place, seen))
    text.put("scrape.urls", [], "nothing is downloaded")
    text.put_list("scrape.folders", [_path(source, here)], f"{seen.pictures} pictures")
    text.remove("scrape.limit")
    text.put("filter.min_score", None, "your own pictures have no score")
    _repeats(text, seen)
    notes = _sizes(text, seen) + _captions(text, seen)
    if seen.class_tokens:
        _class_tokens(text, seen.class_tokens, "most captions say so")
    if seen.unreadable:
        notes.append(f"{seen.unreadable} files cannot be read as pictures and will be left out")
    if seen.pictures < FEW:
        notes.append(
            f"{seen.pictures} pictures are few: 20 to 50 different ones leave poses and clothes free"
        )
    return notes


def _repeats(text: PresetText, seen: Glance) -> None:
    repeats = max(1, min(MOST_REPEATS, round(AN_EPOCH / seen.pictures)))
    shown = f"an epoch shows {seen.pictures} pictures {repeats} times"
    text.put("layout.repeats", repeats, shown)
    if seen.pictures * repeats > 2 * AN_EPOCH:
        epochs = max(2, 6 * AN_EPOCH // (seen.pictures * repeats))
        text.put("train.num_epochs", epochs, "fewer, as the set is large")


def _sizes(text: PresetText, seen: Glance) -> list[str]:
    """Pictures smaller than the preset wants: if they are many, the limit gives way."""
    wanted = int(text.get("filter.min_side"))
    small = sum(min(size) < wanted for size in seen.sizes)
    if not small:
        return []
    said = f"{small} of {seen.pictures} pictures have a side below {wanted} pixels"
    if small <= seen.pictures / 2:
        return [f"{said} and will be left out: lower filter.min_side to keep them"]
    lower = min(min(size) for size in seen.sizes)
    text.put("filter.min_side", lower, f"{said}; larger ones would train better")
    return [
        f"{said}: filter.min_side is lowered to {lower}, but larger pictures would train better"
    ]


def _captions(text: PresetText, seen: Glance) -> list[str]:
    if not seen.captions:
        return []
    has = f"{seen.captions} of {seen.pictures} pictures have captions"
    if OWN_CAPTIONS in get_args(Prune.model_fields["source"].annotation):
        text.put("prune.source", OWN_CAPTIONS, f"{has}: kept as they are; tagger writes new ones")
        return [f"{has}, which are kept as they are; prune.source: tagger would write new ones"]
    text.put("prune.source", "tagger", f"{has}: not used; booru takes their tags, union both")
    return [f"{has}: they are not used unless prune.source is booru or union"]


def _traits(config: cfg.Config, here: Path) -> list[str]:
    """What kept captions keep the trigger from learning."""
    if config.prune.source != OWN_CAPTIONS:
        return []
    folders = [here / folder.path for folder in config.scrape.folders]
    advice = named_traits.advice(named_traits.beside_pictures(folders), config.prune)
    return [advice] if advice else []


def _class_tokens(text: PresetText, tag: str, why: str) -> None:
    text.put("prune.class_tokens", tag, f"right after the trigger; {why}")
    text.put("train.keep_tokens", 2, "trigger and class tokens stay in front")


def _head(request: Request, preset: str, path: str) -> list[str]:
    return [
        f"{request.name}. Made by `make new` from config/{preset}.yaml; change what",
        "you like. All settings, with ranges and defaults: config/README.md",
        f"  snakemake --cores all plan --configfile {path}",
        f"  snakemake --cores all --configfile {path}",
    ]
