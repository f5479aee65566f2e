"""A finished bake as sd-scripts' config and dataset TOML, so that sd-scripts can bake the same.

Steps of `export`: read the bake's manifest and those of the stages above it, translate the settings,
list the repeat folders with their captions, and say in comments what sd-scripts cannot be told. The
settings are the same, the random numbers are not: expect an equal LoRA, not equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from bakery.families import recognise, registry
from bakery.families.family import Family
from bakery.graph import keyed_folders
from bakery.interop import flow_terms, kohya_terms, sidecar
from bakery.interop.picture_folders import PICTURES, REPEATS
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.layout import HOLDOUT
from bakery.settings.train import Train
from bakery.sources import caption_files


@dataclass(frozen=True)
class Export:
    """Two TOML documents and what they cannot say."""

    name: str
    config: str
    dataset: str
    lost: tuple[str, ...]


def export(bake: Path) -> Export:
    """The TOML documents of the bake in `bake`, a folder `results/train/<bake>`.

    The base, the repeat folders and the place for the LoRAs are named by absolute paths as far as
    they are local. Raises `BakeryError` when the bake or its dataset is not there.
    """
    about = manifest.read(bake)
    if about.get("stage") != "train":
        raise BakeryError(f"{bake} is no bake: give a folder results/train/<bake>")
    settings = Train.model_validate(about["settings"])
    layout = _above(bake, about, "layout")
    laid_out = manifest.read(layout)["settings"]
    name, metadata = _baked(bake)
    family = registry.family_of_metadata(metadata)
    if family is None:
        said = metadata.get("ss_base_model_version", "nothing")
        raise BakeryError(f"{bake} was baked on a base of a family that is not known here ({said})")
    arguments, general = kohya_terms.to_kohya(settings)
    place = registry.ordered(recognise.each(settings.base, lambda _, path: _local(path, bake)))
    base = recognise.main_part(place)
    lost = [*_differences(settings, family), *_other_shape(Path(base))]
    for ignored in family.ignored_by_scripts:
        arguments.pop(ignored, None)
    arguments["network_module"] = family.network_module
    if family.follows_flow:
        lost += _of_the_flow(settings, arguments, Path(base))
    _of_the_model(settings, arguments, metadata)
    arguments["pretrained_model_name_or_path"] = base
    parts = {} if isinstance(place, str) else place
    named = {"vae": "vae"} | flow_terms.PARTS
    arguments |= {theirs: parts[ours] for theirs, ours in named.items() if ours in parts}
    arguments |= {
        "output_dir": str((bake.parent.parent / "sd-scripts" / bake.name).absolute()),
        "output_name": name,
        "save_model_as": "safetensors",
        "cache_latents": not settings.random_crop,
        "dataset_config": f"{name}-dataset.toml",
        "sdpa": True,
    }
    if settings.log_with:
        arguments["logging_dir"] = "logs"
    general["caption_extension"] = laid_out["caption_extension"]
    regular = Path(_local(settings.reg_data_dir, bake)) if settings.reg_data_dir else layout / "reg"
    subsets = [*_subsets(layout, False), *_subsets(regular, True)]
    held = _subsets(layout / HOLDOUT, False)
    lost += _of_validation(arguments, held)
    if not subsets:
        raise BakeryError(f"{layout} holds no repeat folder: run the layout stage again")
    command = f"accelerate launch {family.training_script} --config_file {name}-config.toml"
    head = [f"The bake {bake.name} for kohya's sd-scripts. Run it there:", f"  {command}"]
    return Export(
        name=name,
        config=_document([*head, *_listed(lost)], arguments),
        dataset=_document([f"The dataset of the bake {bake.name}."], {}, general, [subsets, held]),
        lost=tuple(lost),
    )


def write(made: Export, out: Path) -> tuple[Path, Path]:
    """Write `<name>-config.toml` and `<name>-dataset.toml` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    config, dataset = out / f"{made.name}-config.toml", out / f"{made.name}-dataset.toml"
    # sd-scripts looks for the dataset from where it is started
    text = made.config.replace(f'"{dataset.name}"', f'"{dataset.absolute().as_posix()}"')
    write_text(config, text)
    write_text(dataset, made.dataset)
    return config, dataset


def _differences(settings: Train, family: Family) -> list[str]:
    """What sd-scripts cannot be told, or understands in another way."""
    lost = []
    if settings.max_steps:
        lost.append(
            f"num_epochs {settings.num_epochs} does nothing beside max_steps {settings.max_steps}; "
            "sd-scripts would heed it, so it is left out"
        )
    if settings.keep_tokens and not settings.varies_tags:
        lost.append("keep_tokens does nothing without shuffle_caption, there as here")
    if settings.keep_tokens_separator and not settings.varies_tags:
        lost.append(
            f"keep_tokens_separator {settings.keep_tokens_separator} stays in captions there, as "
            "nothing is shuffled or left out, and is trained as a word"
        )
    if settings.text_variants is not None:
        lost.append("text_variants is left out: sd-scripts shuffles tags anew in each showing")
    if settings.output_preservation:
        lost.append(
            "output_preservation is left out, since sd-scripts has no such loss: regularization "
            "pictures (layout.reg) are its way to keep the character from appearing unasked"
        )
    if settings.lr_scheduler == "rex":
        lost.append("lr_scheduler is cosine, since sd-scripts has no rex of its own")
    if settings.random_crop:
        lost.append("cache_latents is off, since sd-scripts does not crop at random with it")
    lost += family.ignored_by_scripts.values()
    lost += flow_terms.lost(settings)
    if settings.save_format != "kohya":
        lost.append(
            "its files have kohya's names: scripts/lora.py convert here, or its own "
            "networks/convert_anima_lora_to_comfy.py, writes the other form"
        )
    lost.append("the random numbers are others: the same settings, not the same bytes")
    return lost


def _other_shape(base: Path) -> list[str]:
    """sd-scripts builds its UNets by fixed sizes, whatever a diffusers folder says."""
    config = base / "unet" / "config.json"
    if not config.is_file():
        return []
    channels = json.loads(config.read_text(encoding="utf-8")).get("block_out_channels")
    if channels in ([320, 640, 1280, 1280], [320, 640, 1280]):
        return []
    return [f"sd-scripts cannot load {base.name}: its UNet has {channels} channels"]


def _of_the_model(settings: Train, arguments: dict[str, Any], metadata: dict[str, str]) -> None:
    """sd-scripts does not ask the model what it predicts; the LoRA's metadata remembers."""
    if settings.v_parameterization is None and metadata.get("modelspec.prediction_type") == "v":
        arguments["v_parameterization"] = True
    if settings.zero_terminal_snr is None and metadata.get("ss_zero_terminal_snr") == "True":
        arguments["zero_terminal_snr"] = True


def _of_the_flow(settings: Train, arguments: dict[str, Any], base: Path) -> list[str]:
    """Leave its text encoder as it is, which would be trained there otherwise; returns what is lost."""
    arguments.pop("text_encoder_lr", None)
    arguments["network_train_unet_only"] = True
    if not settings.varies_tags:
        arguments["cache_text_encoder_outputs"] = True
    if base.is_dir():
        return [f"sd-scripts reads this model from single files, not from the folder {base.name}"]
    return []


def _of_validation(arguments: dict[str, Any], held: list[dict[str, Any]]) -> list[str]:
    """Leave out its settings where no pictures are held out; returns what is lost."""
    if held:
        return ["the held-out pictures are shown with other noise, and at times of its own choice"]
    for name in ("validation_seed", "validate_every_n_epochs"):
        arguments.pop(name)
    return []


def _above(bake: Path, about: dict[str, Any], stage: str) -> Path:
    for name, of in about["above"].items():
        if of == stage:
            return keyed_folders.located(bake.parent.parent / stage / name)
    raise BakeryError(f"{bake / manifest.NAME} names no {stage} above it: bake it again")


def _baked(bake: Path) -> tuple[str, dict[str, str]]:
    """Name and metadata of the bake's last LoRA."""
    files = tables.read(bake / "epochs.csv", ("epoch", "file"))["file"]
    if files.empty:
        raise BakeryError(f"{bake} failed before it saved an epoch: export another bake")
    last = bake / files.iloc[-1]
    metadata = sidecar.metadata_of(last)
    return metadata.get("ss_output_name", last.stem), metadata


def _subsets(parent: Path, is_reg: bool) -> list[dict[str, Any]]:
    """The repeat folders in `parent` that hold a picture."""
    found = []
    laid_out = parent.parent if is_reg else parent  # other regularization pictures have one caption
    several = (laid_out / caption_files.CANDIDATES).is_file()
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        match = REPEATS.fullmatch(folder.name)
        if not folder.is_dir() or match is None or not int(match[1]):
            continue
        if not any(path.suffix.lower() in PICTURES for path in folder.iterdir()):
            continue
        found.append(
            {
                "image_dir": folder.absolute().as_posix(),
                "num_repeats": int(match[1]),
                "class_tokens": match[2],
            }
            | ({"is_reg": True} if is_reg else {})
            | ({"enable_wildcard": True} if several else {})
        )
    return found


def _local(name: str, bake: Path) -> str:
    """A local model or folder by its whole path: from where the bake was run, or as it stands."""
    for root in (bake.parent.parent.parent, Path()):
        if (root / name).exists():
            return (root / name).absolute().as_posix()
    return name


def _listed(lost: list[str]) -> list[str]:
    return [
        "",
        "What sd-scripts is not told, or does in its own way:",
        *(f"- {one}" for one in lost),
    ]


def _document(
    comments: list[str],
    values: dict[str, Any],
    general: dict[str, Any] | None = None,
    datasets: list[list[dict[str, Any]]] | None = None,
) -> str:
    """`datasets` are the subsets to train on, and those to validate on."""
    document = tomlkit.document()
    for comment in comments:
        document.add(tomlkit.comment(comment) if comment else tomlkit.comment(""))
    document.add(tomlkit.nl())
    for name, value in values.items():
        document.add(name, value)
    if general is not None:
        document.add("general", general)
        listed = tomlkit.aot()
        for validates, subsets in enumerate(datasets or []):
            if not subsets:
                continue
            tables_ = tomlkit.aot()
            for subset in subsets:
                tables_.append(tomlkit.item(subset))
            dataset = tomlkit.table()
            if validates:  # none of its pictures is trained on
                dataset.add("validation_split", 1.0)
            listed.append(dataset.add("subsets", tables_))
        document.add("datasets", listed)
    return tomlkit.dumps(document)
