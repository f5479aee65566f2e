"""A config of ours from kohya's: nothing that the file says is dropped without a word.

Steps of `convert`: translate the training settings, find out from the folders what they hold (name,
repeats, trigger), validate, and write the YAML with a comment wherever the file's own word differs.
What has no counterpart, what is done another way, and what was switched off stands at the end.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakery.interop import kohya_terms
from bakery.interop.kohya_files import KohyaConfig, Subset, common_front, read_configs
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings import config as cfg
from bakery.settings.train import Train
from bakery.sources.folders import safe_stem
from bakery.tags import captions

_HANDLED = {"output_name", "caption_extension", "num_repeats", "class_tokens", "optimizer_args",
            "network_args", "reg_data_dir", "network_train_text_encoder_only", "use_lion",
            "network_module"}  # fmt: skip
EVERY_PICTURE: dict[str, Any] = {
    "min_side": 0, "max_aspect": None, "min_score": None, "extra_characters": False,
    "monochrome": False, "text_heavy": False, "ai_generated": False, "max_blur": 1.0,
    "min_jpeg_quality": 0, "duplicate_distance": -1,
}  # fmt: skip
"""The filter that lets pass what kohya's scripts would train on; ratings still count."""
_OFF: tuple[object, ...] = (None, False, "", [], {}, "None")


@dataclass
class Draft:
    """A config in the making."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    """Dotted setting -> where its value comes from."""
    notes: list[str] = field(default_factory=list)
    """What is meant to be read: differences and what to look at."""
    captions: dict[str, str] = field(default_factory=dict)
    """Stem of a picture, as the scrape stage names it -> the caption beside it."""
    left_out: list[str] = field(default_factory=list)
    switched_off: list[str] = field(default_factory=list)

    def put(self, dotted: str, value: Any, comment: str = "") -> None:
        section, name = dotted.split(".")
        self.sections.setdefault(section, {})[name] = value
        if comment:
            self.comments[dotted] = comment


def convert(paths: Iterable[Path]) -> tuple[str, Draft]:
    """(the YAML, the draft behind it) of one or several files that belong together.

    Raises `BakeryError` when a file is not understood or says what no config of ours can.
    """
    source = read_configs(paths)
    draft = Draft(notes=list(source.notes))
    _data(draft, source)
    _train(draft, source)
    _sample(draft)
    _others(draft, source)
    _validate(draft, source)
    return _yaml(draft, source), draft


def keep_captions(draft: Draft, folder: Path) -> int:
    """Write the captions as hand edits into `folder`, `config/edits/<name>/captions`; counts them.

    Raises `BakeryError` when something lies there already: it may be a person's work.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise BakeryError(
            f"{folder} is not empty: move what is there away, or leave out --captions"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in draft.captions.items():
        write_text(folder / f"{stem}.txt", text + "\n")
    return len(draft.captions)


def _train(draft: Draft, source: KohyaConfig) -> None:
    given = source.arguments
    if given.get("network_train_text_encoder_only"):
        given["unet_lr"] = 0.0
        source.words["unet_lr"] = "network_train_text_encoder_only"
    if given.get("logging_dir"):
        given.setdefault("log_with", "tensorboard")
    _warmup(draft, source)
    network = str(given.get("network_module", "networks.lora"))
    if network not in kohya_terms.NEUTRAL["network_module"]:
        draft.notes.append(f"network_module {network} is another kind of network: a LoRA is baked")
    ours = kohya_terms.to_ours(given)
    if not ours.get("max_token_length"):
        ours["max_token_length"] = 75
    if ours.get("seed") is None:
        ours["seed"] = Train().seed
        draft.notes.append("the file gives no seed, and kohya's scripts would draw one")
    if ours.get("save_every_n_epochs") and ours.get("num_epochs"):
        ours["save_every_n_epochs"] = min(ours["save_every_n_epochs"], ours["num_epochs"])
    if not ours.get("max_data_loader_n_workers"):
        ours["persistent_data_loader_workers"] = False
    if "base" in ours:
        ours["base"] = _path(ours["base"])
        if given.get("vae"):
            ours["base"] = {"checkpoint": ours["base"], "vae": _path(given["vae"])}
    elif given.get("vae"):
        draft.left_out.append(f"vae = {given['vae']!r} (the file names no base to go with it)")
    for name in Train.model_fields:
        if name in ours and ours[name] is not None:
            draft.put(
                f"train.{name}", ours[name], _origin(source, kohya_terms.kohya_name(name), name)
            )


def _warmup(draft: Draft, source: KohyaConfig) -> None:
    """A number of steps becomes a share of all steps, which have to be known for that."""
    given = source.arguments
    steps = given.get("lr_warmup_steps", 0)
    if isinstance(steps, float) or not steps:
        given["lr_warmup_steps"] = float(steps or 0)
        return
    total = given.get("max_train_steps") or _steps(source)
    if total:
        given["lr_warmup_steps"] = kohya_terms.warmup_share(int(steps), total)
        draft.notes.append(f"lr_warmup_steps {steps} is a share of {total} steps")
    else:
        given["lr_warmup_steps"] = 0.0
        draft.notes.append(
            f"lr_warmup_steps {steps} is left out, since the number of all steps is not known: "
            "set lr_warmup_ratio to their share"
        )


def _steps(source: KohyaConfig) -> int:
    """Steps of a bake in one bucket, from the folders as far as they can be seen."""
    shown = sum(s.images * s.num_repeats for s in source.subsets if not s.is_reg)
    given = source.arguments
    batch = given["train_batch_size"] * given.get("gradient_accumulation_steps", 1)
    return math.ceil(shown / batch) * int(given.get("max_train_epochs") or 0)


def _data(draft: Draft, source: KohyaConfig) -> None:
    folders = [subset for subset in source.subsets if not subset.is_reg]
    if not folders:
        draft.notes.append(
            "the file names no pictures: set scrape.name, scrape.urls or scrape.folders"
        )
        return
    main = max(folders, key=lambda s: s.num_repeats * max(s.images, 1))
    front = common_front(text for s in folders for text in s.captions.values())
    front = front[: max(1, int(source.arguments.get("keep_tokens") or 0))]
    called = front[0] if front else _trigger(main, source)
    name = _name(str(source.arguments.get("output_name") or main.class_tokens or called))
    draft.put("scrape.name", name, "the name of the LoRA files")
    draft.put("scrape.urls", [])
    draft.put("scrape.folders", _places(draft, folders, main))
    for setting, value in EVERY_PICTURE.items():
        draft.put(f"filter.{setting}", value, "kohya's scripts take every picture")
    draft.put("tag.model", "SmilingWolf/wd-swinv2-tagger-v3", "a choice: not in the file")
    where = "the front of every caption" if front else "from the folder's name: check it"
    draft.put("prune.trigger", called, where)
    if front[1:]:
        draft.put("prune.class_tokens", captions.join(front[1:]), where)
    draft.put("layout.repeats", main.num_repeats, f"of {Path(main.image_dir).name}")
    extension = main.caption_extension or source.arguments.get("caption_extension", ".caption")
    if extension == ".caption" and main.captions:
        draft.put("layout.caption_extension", extension)
    _regularization(draft, source)
    _captions(draft, folders, name)


def _captions(draft: Draft, folders: list[Subset], name: str) -> None:
    """What is written beside the pictures, under the names that the scrape stage gives them."""
    for subset in folders:
        for picture, text in subset.captions.items():
            stem = safe_stem(picture)
            if stem in draft.captions:
                draft.notes.append(f"{picture} is not the only {stem}: its caption is made anew")
            else:
                draft.captions[stem] = text
    if draft.captions:
        draft.notes.append(
            f"there are {len(draft.captions)} captions; the pictures are tagged anew unless --captions "
            f"copies them to config/edits/{name}/captions"
        )


def _places(draft: Draft, folders: list[Subset], main: Subset) -> list[Any]:
    """The folders as scrape names them; one with repeats of its own becomes a concept."""
    places: list[Any] = []
    concepts: dict[str, dict[str, int]] = {}
    for subset in folders:
        place = _path(subset.image_dir)
        if subset.num_repeats == main.num_repeats:
            places.append(place)
            continue
        name = _name(subset.class_tokens or Path(subset.image_dir).name)
        while name in concepts:
            name += "-2"
        concepts[name] = {"repeats": subset.num_repeats}
        places.append({"path": place, "concept": name})
    if concepts:
        draft.put("layout.concepts", concepts, "folders with repeats of their own")
    return places


def _regularization(draft: Draft, source: KohyaConfig) -> None:
    given = source.arguments.get("reg_data_dir")
    subsets = [subset for subset in source.subsets if subset.is_reg]
    parents = {str(Path(subset.image_dir).parent) for subset in subsets}
    if given or len(parents) == 1:
        word = source.words.get("reg_data_dir", "is_reg")
        draft.put("train.reg_data_dir", _path(given or parents.pop()), word)
    elif subsets:
        listed = ", ".join(subset.image_dir for subset in subsets)
        draft.notes.append(f"regularization folders lie apart: put {listed} into one reg_data_dir")
    for subset in [] if given else subsets:
        folder = Path(subset.image_dir).name
        if not folder.startswith(f"{subset.num_repeats}_"):
            draft.notes.append(
                f"rename {folder} to {subset.num_repeats}_{subset.class_tokens or folder}"
            )


def _sample(draft: Draft) -> None:
    side = draft.sections["train"]["resolution"]
    for name, value in (("width", side), ("height", side), ("steps", 25), ("cfg_scale", 7)):
        draft.put(f"sample.{name}", value, "a choice: not in the file" if name != "height" else "")


def _others(draft: Draft, source: KohyaConfig) -> None:
    """Sort what was not translated: done another way, switched off, or without a counterpart."""
    known = {kohya_terms.kohya_name(name) for name in Train.model_fields}
    for name in ("network_args", "optimizer_args"):
        if name == "network_args":
            for key, value in kohya_terms.pairs(source.arguments.get(name)).items():
                if key not in kohya_terms.IN_NETWORK_ARGS:
                    draft.left_out.append(f"network_args.{key} = {value!r}")
    for name, word in source.words.items():
        value = source.arguments.get(name)
        if name in known or name in _HANDLED or name not in source.arguments:
            continue
        if name == "vae" and value:  # a part of the base, or left out with a word
            continue
        if value in _OFF:
            draft.switched_off.append(word)
        elif name in kohya_terms.ANOTHER_WAY:
            draft.notes.append(f"{word}: {kohya_terms.ANOTHER_WAY[name]}")
        elif value not in kohya_terms.NEUTRAL.get(name, ()):
            draft.left_out.append(f"{word} = {value!r}")


def _validate(draft: Draft, source: KohyaConfig) -> None:
    """Values that a field cannot take are left out with the reason; the rest must fit together."""
    for section, values in draft.sections.items():
        model = cfg.section_of(section)
        try:
            model.model_validate(values)
        except ValidationError as report:
            for error in report.errors():
                name = str(error["loc"][0]) if error["loc"] else ""
                if name not in values:
                    continue
                value = values.pop(name)
                default = model.model_fields[name].default
                draft.comments.pop(f"{section}.{name}", None)
                draft.left_out.append(
                    f"{source.words.get(kohya_terms.kohya_name(name), name)} = {value!r} "
                    f"({error['msg'][0].lower() + error['msg'][1:]}; the default is {default!r})"
                )
    try:
        cfg.load({**draft.sections})
    except BakeryError as problem:
        raise BakeryError(f"{', '.join(source.kinds)}: {problem}") from None


def _origin(source: KohyaConfig, theirs: str, ours: str) -> str:
    """The comment behind a setting: the file's word, if it is another, or that it said nothing."""
    if ours in kohya_terms.IN_NETWORK_ARGS:
        return "network_args"
    word = source.words.get(theirs)
    if word is None:
        return "not in the file: what that program does then"
    return word if word != ours else ""


def _trigger(subset: Subset, source: KohyaConfig) -> str:
    """`shiroko` of the folder `5_shiroko 1girl`, else the name of the files."""
    words = captions.split(subset.class_tokens) or [str(source.arguments.get("output_name") or "")]
    return words[0].split(" ")[0] or Path(subset.image_dir).name


def _name(text: str) -> str:
    """A name that our configs allow."""
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-_.+")[:64]
    return plain or "imported"


def _path(text: str) -> str:
    """Windows paths are written with slashes."""
    return text.replace("\\", "/") if re.match(r"[A-Za-z]:\\|.*\\", text) else text


def _yaml(draft: Draft, source: KohyaConfig) -> str:
    lines = [f"# Made from {', '.join(source.kinds)} by scripts/import_config.py."]
    for note in draft.notes:
        lines.append(f"# - {note}")
    for section in (name for name in cfg.STAGES if name in draft.sections):
        lines += ["", f"{section}:"]
        lines += [_line(draft.comments, section, *item) for item in draft.sections[section].items()]
    for title, entries in (
        ("Left out, because there is nothing like it here", draft.left_out),
        ("Switched off in the file, so there is nothing to do", draft.switched_off),
    ):
        if entries:
            lines += ["", f"# {title}:", *(f"#   {one_line(entry)}" for entry in entries)]
    return "\n".join(lines) + "\n"


def _line(comments: Mapping[str, str], section: str, name: str, value: Any) -> str:
    text = f"  {name}: {_scalar(value)}"
    comment = comments.get(f"{section}.{name}")
    return f"{text:<40}  # {comment}" if comment else text


def one_line(text: str) -> str:
    """Text that a comment can hold."""
    return " ".join(text.split())


def _scalar(value: Any) -> str:
    """YAML that reads the same in 1.1 and 1.2: JSON, but for floats that YAML 1.1 takes for text."""
    if isinstance(value, float):
        text = repr(value)
        mantissa, e, exponent = text.partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./+-]*", value)
    if plain and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
