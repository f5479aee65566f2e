"""A config of ours from another program's: nothing that the file says is dropped without a word.

Steps of `convert`: translate the training settings, take the nearest value where one is not possible
here, find out from the folders what they hold (name, repeats, trigger), validate, and write the YAML
with a comment wherever the file's own word differs. What has no counterpart, what is done another way,
and what was switched off stands at the end. Files of several runs become one config with a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakery.families import registry
from bakery.interop import (
    config_draft,
    flow_terms,
    import_folders,
    kohya_terms,
    nearest,
    plain_values,
)  # fmt: skip
from bakery.interop.config_draft import Draft, one_line
from bakery.interop.import_folders import EVERY_PICTURE
from bakery.interop.kohya_files import read_configs, runs_in
from bakery.interop.other_config import KohyaConfig
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings import config as cfg
from bakery.settings import config_file
from bakery.settings.idle import idle
from bakery.settings.layout import MOST_HELD_OUT
from bakery.settings.train import FLOW, Train

__all__ = ["EVERY_PICTURE", "Draft", "convert", "keep_captions", "one_line"]
_HANDLED = {"output_name", "caption_extension", "num_repeats", "class_tokens", "optimizer_args",
            "network_args", "reg_data_dir", "network_train_text_encoder_only", "use_lion",
            "network_module", "keep_tokens_separator", "secondary_separator", "enable_wildcard",
            "caption_separator", "multi_run_folder"}  # fmt: skip
_OF_DATASETS = {*kohya_terms.IN_DATASET, "train_batch_size", "reg_data_dir"}
_CONFIGS = Path(__file__).parents[3] / "config"
_OFF: tuple[object, ...] = (None, False, "", [], {}, "None")


def convert(paths: Iterable[Path]) -> tuple[str, Draft]:
    """(the YAML, the draft behind it) of one or several files that belong together.

    A folder, or a file that names a multi_run_folder, holds a file for each run: they become a sweep.
    Raises `BakeryError` when a file is not understood or says what no config of ours can.
    """
    given = list(paths)
    runs = runs_in(given)
    if not runs:
        source, draft = _draft(given)
        return config_draft.write(draft, source.kinds), draft
    drafts = [_draft([path]) for path in runs]
    (_, draft), kinds = drafts[0], [kind for source, _ in drafts for kind in source.kinds]
    _sweep(draft, [path.stem for path in runs], [one for _, one in drafts])
    return config_draft.write(draft, kinds), draft


def _draft(paths: list[Path]) -> tuple[KohyaConfig, Draft]:
    source = read_configs(paths)
    draft = Draft()
    import_folders.fill(draft, source)
    _train(draft, source)
    _sample(draft, source)
    _validation(draft, source)
    _preservation(draft, source)
    _others(draft, source)
    draft.notes[:0] = source.notes
    _validate(draft, source)
    return source, draft


def _sweep(draft: Draft, names: list[str], drafts: list[Draft]) -> None:
    """Each run a variant: the settings in which they differ, with every run's own value."""
    configs = [cfg.load({**one.sections}).model_dump(mode="json") for one in drafts]
    differing = [
        f"{section}.{name}"
        for section in cfg.STAGES
        for name, value in configs[0][section].items()
        if any(config[section][name] != value for config in configs)
    ]
    variants: list[dict[str, Any]] = []
    for config in configs:
        variant = {}
        for dotted in differing:
            section, name = dotted.split(".")
            if dotted != "scrape.name":
                variant[dotted] = config[section][name]
        if variant in variants or (not variant and len(configs) > 1 and variants):
            continue
        variants.append(variant)
    if len(variants) < len(configs):
        draft.notes.append(f"of {len(configs)} runs, {len(variants)} differ in settings known here")
    draft.sweeps = {"runs": {"variants": variants}}
    draft.notes.append(f"each of {', '.join(names)} is a variant of the sweep, in this order")
    for name, one in zip(names[1:], drafts[1:], strict=True):
        draft.notes += [f"{name}: {note}" for note in one.notes if note not in draft.notes]
        draft.left_out += [f"{name}: {e}" for e in one.left_out if e not in draft.left_out]


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
    if isinstance(rates := given.get("text_encoder_lr"), list | tuple):
        draft.notes += kohya_terms.rates_told(
            source.words.get("text_encoder_lr", "text_encoder_lr"), rates
        )
    _warmup(draft, source)
    if flow_terms.flows(given):
        _flow(draft, source)
    network = plain_values.text_of(given.get("network_module") or "networks.lora")
    if network not in kohya_terms.NEUTRAL["network_module"]:
        draft.notes.append(f"network_module {network} is another kind of network: a LoRA is baked")
    ours = kohya_terms.to_ours(given)
    defaults = kohya_terms.to_ours(source.defaults)
    if not flow_terms.flows(given) and not ours.get("max_token_length"):
        ours["max_token_length"] = 75
    if ours.get("seed") is None and source.trains:
        ours["seed"] = Train().seed
        draft.notes.append("the file gives no seed, and kohya's scripts would draw one")
    if ours.get("save_every_n_epochs") and ours.get("num_epochs"):
        ours["save_every_n_epochs"] = min(ours["save_every_n_epochs"], ours["num_epochs"])
    ours.pop("reg_data_dir", None)
    if steps := given.pop("bakery_warmup_steps", 0):
        ours["lr_warmup_steps"] = steps
    ours, notes, lost = nearest.settle(ours, defaults)
    draft.notes += notes
    draft.left_out += lost
    _base(draft, source, ours)
    for name in _unasked(source, ours):
        ours.pop(name, None)
    preset = "" if source.trains else _fill_from_preset(draft, source, ours)
    for name in Train.model_fields:
        if name in ours and ours[name] is not None:
            theirs = kohya_terms.kohya_name(name)
            origin = _origin(source, theirs, name)
            if preset and name not in _OF_DATASETS and theirs not in source.words:
                origin = f"from config/{preset}.yaml"
            draft.put(f"train.{name}", ours[name], origin)


def _fill_from_preset(draft: Draft, source: KohyaConfig, ours: dict[str, Any]) -> str:
    """Settings of training that no file says, in the place of sd-scripts' defaults, which nobody trains
    with: those of a preset, whose name is returned."""
    presets = {
        family.preset: config_file.read(_CONFIGS / f"{family.preset}.yaml")["train"]
        for family in registry.FAMILIES
    }
    # of equals the first: Anima's bakes are no larger than SDXL's
    preset = min(
        presets, key=lambda one: abs(math.log(presets[one]["resolution"] / ours["resolution"]))
    )
    told = _OF_DATASETS | {name for name in ours if kohya_terms.kohya_name(name) in source.words}
    for name in ours.keys() - told:
        ours.pop(name)
    ours |= {k: v for k, v in presets[preset].items() if k not in told | {"base"}}
    draft.notes.append(
        "a dataset TOML says what is trained on, not how: the rest is as in "
        f"config/{preset}.yaml; give the config TOML or script that goes with it as well, to read that"
    )
    return preset


def _unasked(source: KohyaConfig, ours: dict[str, Any]) -> list[str]:
    """Settings that the file does not name and that do nothing beside what it does name: the owner
    would look for them in vain."""
    given = {name: ours[name] for name in Train.model_fields if ours.get(name) is not None}
    # not validated: what the file has wrong is told elsewhere
    found = set(idle(Train.model_construct(**given)))
    # 0 there and 1 here, which counts as soon as somebody shuffles
    return sorted(found - {"keep_tokens"} - set(source.words))


def _base(draft: Draft, source: KohyaConfig, ours: dict[str, Any]) -> None:
    """The model, with its VAE; none is named where an address holds an account."""
    given = source.arguments
    base, vae = plain_values.path_of(ours.pop("base", "")), plain_values.path_of(given.get("vae"))
    if base and plain_values.is_secret("base", base):
        draft.left_out.append("the base's address (it holds an account or key)")
        base = ""
    if not base:
        draft.notes.append("the file names no base model: set train.base before you bake")
        if vae:
            draft.left_out.append(f"vae = {vae!r} (the file names no base to go with it)")
        return
    parts = {"checkpoint": base}
    if flow_terms.flows(given):
        found = {ours: plain_values.path_of(given.get(n)) for n, ours in flow_terms.PARTS.items()}
        parts |= {part: path for part, path in found.items() if path}
    parts |= {"vae": vae} if vae else {}
    ours["base"] = parts if len(parts) > 1 else base


def _flow(draft: Draft, source: KohyaConfig) -> None:
    """Tell how t is drawn, and what does nothing with a model that follows a flow."""
    given = source.arguments
    _, notes, idle = flow_terms.to_ours(given)
    draft.notes += notes
    rate = given.get("text_encoder_lr", given.get("learning_rate"))
    if not given.get("network_train_unet_only"):
        if rate and not given.get("cache_text_encoder_outputs"):
            draft.notes.append("the text encoder is trained there; here it is left as it is")
        given["network_train_unet_only"] = True
        source.words["network_train_unet_only"] = "the text encoder is not trained"
    if str(given.get("mixed_precision")).lower() == "fp16":
        draft.notes.append("mixed_precision fp16 is too small for such a model: bf16 is taken")
        given["mixed_precision"] = "bf16"
    if given.pop("text_encoder_lr", None) and (word := source.words.pop("text_encoder_lr", "")):
        draft.switched_off.append(word)
    for name in (*idle, *flow_terms.IDLE):
        if name in source.words and given.get(name) not in _OFF:
            draft.switched_off.append(source.words[name])


def _warmup(draft: Draft, source: KohyaConfig) -> None:
    """A number of steps becomes a share of all steps where these are known."""
    given = source.arguments
    steps = given.get("lr_warmup_steps", 0)
    if isinstance(steps, float) or not steps:
        given["lr_warmup_steps"] = min(float(steps or 0), 1.0)
        return
    total = given.get("max_train_steps") or _steps(source)
    if total:
        given["lr_warmup_steps"] = kohya_terms.warmup_share(int(steps), total)
        draft.notes.append(f"lr_warmup_steps {steps} is a share of {total} steps")
    else:
        given["lr_warmup_steps"] = 0.0
        given["bakery_warmup_steps"] = int(steps)


def _steps(source: KohyaConfig) -> int:
    """Steps of a bake in one bucket, from the folders as far as they can be seen."""
    shown = sum(s.images * s.num_repeats for s in source.subsets if not s.is_reg)
    given = source.arguments
    batch = max(1, given["train_batch_size"]) * max(1, given.get("gradient_accumulation_steps", 1))
    return math.ceil(shown / batch) * int(given.get("max_train_epochs") or 0)


def _sample(draft: Draft, source: KohyaConfig) -> None:
    side = draft.sections["train"]["resolution"]
    chosen = {"width": side, "height": side, "steps": 25, "cfg_scale": 7}
    if flow_terms.flows(source.arguments):
        chosen |= flow_terms.DRAWN
    for name, value in chosen.items():
        draft.put(f"sample.{name}", value, "a choice: not in the file" if name != "height" else "")


def _validation(draft: Draft, source: KohyaConfig) -> None:
    """The share that validation takes from training, there of each folder, here of all pictures."""
    given = source.arguments
    share = plain_values.number(given.get("validation_split")) or 0
    if not 0 < share <= MOST_HELD_OUT:
        return  # `_others` tells of it
    draft.put("layout.holdout", float(share), source.words["validation_split"])
    draft.notes.append("layout.holdout: which pictures are held out follows from their names here")
    if given.get("validation_seed") is None:
        seed = draft.sections["train"].get("seed", Train().seed)
        draft.put("train.validation_seed", seed, "not in the file: the seed, as in that program")
    del given["validation_split"]


def _preservation(draft: Draft, source: KohyaConfig) -> None:
    """ai-toolkit's loss that keeps what is shown without the trigger; its trainer shows every picture
    so, with a word for the class in the trigger's place."""
    given, word = source.arguments, "diff_output_preservation"
    strength = plain_values.number(given.get(f"{word}_multiplier", 1.0))
    if not plain_values.flag(given.get(word)) or strength is None or strength <= 0:
        return  # `_others` tells of it
    draft.put("train.output_preservation", strength, source.words[word])
    draft.put("train.output_preservation_share", 1.0, source.words[word])
    kind = plain_values.text_of(given.pop(f"{word}_class", "")).strip()
    if kind:
        draft.notes.append(
            f"{word}_class {kind}: there it replaces the trigger, here the trigger is left out"
        )
    for name in (word, f"{word}_multiplier"):
        given.pop(name, None)


def _others(draft: Draft, source: KohyaConfig) -> None:
    """Sort what was not translated: done another way, switched off, or without a counterpart."""
    ours = set(Train.model_fields) - kohya_terms.OURS_ALONE
    known = {kohya_terms.kohya_name(name) for name in ours}
    if not flow_terms.flows(source.arguments):
        known -= set(FLOW)
    draft.left_out += source.lost
    draft.switched_off += source.idle
    for key, value in kohya_terms.pairs(source.arguments.get("network_args")).items():
        if key not in kohya_terms.IN_NETWORK_ARGS:
            draft.left_out.append(plain_values.entry(f"network_args.{key}", value))
    for name, word in source.words.items():
        value = source.arguments.get(name)
        if name in known or name in _HANDLED or name not in source.arguments:
            continue
        # a part of the base, or left out with a word
        if name in ("vae", *flow_terms.PARTS) and value:
            continue
        if name in kohya_terms.ARGUMENTS_OF and not isinstance(value, str | int | float | bool):
            entries = kohya_terms.pairs(value)
            draft.left_out += [plain_values.entry(f"{word}.{k}", v) for k, v in entries.items()]
        elif value in _OFF:
            draft.switched_off.append(word)
        elif name in kohya_terms.ANOTHER_WAY:
            draft.notes.append(f"{word}: {kohya_terms.ANOTHER_WAY[name]}")
        elif value not in kohya_terms.NEUTRAL.get(name, ()):
            draft.left_out.append(plain_values.entry(word, value))


def _validate(draft: Draft, source: KohyaConfig) -> None:
    """Values that a field cannot take are left out with the reason; the rest must fit together."""
    for section, values in draft.sections.items():
        model = cfg.section_of(section)
        try:
            model.model_validate(values)
        except ValidationError as report:
            for error in report.errors():
                name = str(error["loc"][0]) if error["loc"] else ""
                if name not in values or error["type"] == "value_error":
                    continue  # a sentence of ours, which cfg.load says in full
                value = values.pop(name)
                draft.comments.pop(f"{section}.{name}", None)
                word = source.words.get(kohya_terms.kohya_name(name), name)
                reason = error["msg"][0].lower() + error["msg"][1:]
                draft.left_out.append(f"{plain_values.entry(word, value)} ({reason})")
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
