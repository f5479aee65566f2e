"""What a model's files contain, found without loading them (or torch).

A safetensors file begins with the names and shapes of its tensors, a pickle has them in a part of its
own; a diffusers folder has an index with the name of its pipeline. Only a hub id has to be asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bakery.families.weights import pickled
from bakery.io import weight_files
from bakery.io.errors import BakeryError, first_line
from bakery.io.manifest import digest

Place = str | Mapping[str, str]
"""What `train.base` names: one path or hub id, or a file for each part."""
INDEX = "model_index.json"
MODULAR_INDEX = "modular_model_index.json"
"""What a modular pipeline of diffusers writes instead."""
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

# The first sign that is found names the unsupported model; specific signs come before general ones.
_STRANGERS = (
    (("edm_mean", "edm_vpred.sigma_max"), "an SDXL model of the EDM formulation"),
    (("joint_blocks.", "model.diffusion_model.joint_blocks."), "a Stable Diffusion 3 model"),
    (("double_blocks.", "model.diffusion_model.double_blocks."), "a Flux model"),
    (("clip_txt_mapper.", "clip_txt_pooled_mapper.", "effnet."), "a Stable Cascade model"),
    (("cond_stage_model.model.",), "an SD 2 model"),
    (("conditioner.embedders.0.model.",), "an SDXL refiner"),
    (("down_blocks.", "mid_block.", "time_embedding."), "a UNet alone, in the format of diffusers"),
    (("text_model.", "transformer.text_model."), "a text encoder alone"),
    (("encoder.down.", "decoder.up."), "a VAE alone"),
)
_UNET = "model.diffusion_model."
_LORA_SIGNS = ("lora_unet_", "lora_te", "lora_transformer_")

_CLIP = r"(?:cond_stage_model|conditioner\.embedders\.\d)\.(?:transformer|model)\."
_HARMLESS = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"model_ema\.", "averaged copies of weights"),
        (r".*\.position_ids", "position numbers"),
        (rf"(?:{_CLIP}|cond_stage_model\.|conditioner\.embedders\.\d\.)logit_scale",
         "CLIP's scale of likeness"),
        (r"(?:cond_stage_model|conditioner\.embedders\.0)\.transformer\.text_projection(?:\.weight)?",
         "a projection that only SDXL's second text encoder has a use for"),
        (rf"{_CLIP}(?:vision_model|visual_projection|visual)\.", "CLIP's encoder of pictures"),
        (rf"{_CLIP}attn_mask", "an attention mask"),
        (r"(?:model\.|denoiser\.|model_sampling\.)?(?:(?:log_)?sigmas|betas|alphas_cumprod(?:_prev)?"
         r"|(?:sqrt|log)_\w*alphas_cumprod\w*|posterior_\w+|logvar|lvlb_weights|scale_factor)",
         "numbers of the noise schedule"),
        (r"(?:first_stage_model\.)?(?:loss|discriminator|model_ema)\.", "what the VAE was trained with"),
        (r"(?:optimizers?|optimizer_states?|lr_schedulers?|callbacks|loops|epoch|(?:global_)?step)"
         r"(?:[._]|$)", "a trainer's state"),
        (r"(?:__metadata__|metadata|modelspec|ss_\w+|sshs_\w+)(?:[._]|$)", "notes"),
    )
)  # fmt: skip
"""Tensors that no program draws with: how their names begin, and what they are."""
_MARKS = ("v_pred", "ztsnr")
"""Empty tensors that say what a model predicts."""
_BESIDE = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"lora_(?:unet|te|transformer)|.*\.(?:lora_\w+|hada_w\w*|lokr_w\w*|dora_scale)\b", "a LoRA"),
        (r"control_model\.|(?:.*\.)?input_hint_block\.", "a ControlNet"),
        (r"ip_adapter\.|image_proj\.", "an IP-Adapter"),
        (r"(?:.*\.)?(?:motion_modules?|temporal_transformer)\.", "a motion module"),
        (r"(?:.*\.)?(?:scaled_fp8|scale_weight|scale_input|weight_scale|input_scale|comfy_quant)$",
         "weights in scaled fp8"),
        (r".*\.(?:absmax|quant_map|nested_absmax|quant_state\b.*|qweight)",
         "weights quantised to few bits"),
    )
)  # fmt: skip
"""What a program that reads it draws with, and that is not trained on here."""


@dataclass(frozen=True)
class Header:
    """What is known of a model before it is read."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of a single file's tensors, by name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    pipeline: str = ""
    """The class that a diffusers folder's index names."""
    scheduler: Mapping[str, object] = field(default_factory=dict)
    """The config of a diffusers folder's scheduler, if it has one."""

    def has(self, *prefixes: str) -> bool:
        """Whether the name of any tensor begins with one of these."""
        return any(name.startswith(prefixes) for name in self.shapes)

    def beside(self) -> tuple[str, str] | None:
        """What a checkpoint has besides a model that would change pictures, and its first tensor."""
        for name in sorted(self.shapes):
            for pattern, what in _BESIDE:
                if pattern.match(name):
                    return what, name
        return None

    def left_out(self, prefixes: tuple[str, ...]) -> dict[str, list[str]]:
        """Tensors that no picture depends on: what they are -> their names.

        `prefixes` are those of the model's parts; what is unknown outside of them is listed, too.
        """
        found: dict[str, list[str]] = {}
        for name in self.shapes:
            what = next((what for pattern, what in _HARMLESS if pattern.match(name)), "")
            if not what and not name.startswith(prefixes) and name not in _MARKS:
                what = "of no part of the model"
            if what:
                found.setdefault(what, []).append(name)
        return found

    @property
    def predicts_v(self) -> bool:
        """Whether the model's files say that it predicts v.

        NoobAI and similar models have an empty tensor named v_pred; kohya's scripts write
        modelspec.prediction_type.
        """
        marked = "v_pred" in self.shapes or self.metadata.get("modelspec.prediction_type") == "v"
        return marked or self.scheduler.get("prediction_type") == "v_prediction"

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether they say that its noise schedule ends in pure noise, as the tensor ztsnr does."""
        return "ztsnr" in self.shapes or bool(self.scheduler.get("rescale_betas_zero_snr"))

    @property
    def stranger(self) -> str:
        """What the file is, if it certainly cannot be trained; "" otherwise."""
        if self.has(*_LORA_SIGNS) and not self.has(_UNET):
            return "a LoRA, not a model"
        return next((what for signs, what in _STRANGERS if self.has(*signs)), "")


def main_part(place: Place) -> str:
    """The path or id that shows the family: that of the first part."""
    return place if isinstance(place, str) else next(iter(place.values()))


def each(place: Place, change: Callable[[str, str], str]) -> Place:
    """`place` with `change(part, path)` for each of its paths; a path alone has the part ""."""
    if isinstance(place, str):
        return change("", place)
    return {part: change(part, path) for part, path in place.items()}


def label(place: Place) -> str:
    """A base in a sentence."""
    return place if isinstance(place, str) else " with ".join(place.values())


def hashes(path: str) -> tuple[str, str]:
    """The old and the new hash that kohya's scripts store of a model's file.

    The old one is the first 8 hex digits of the sha256 of 64 KiB from 1 MiB on, the new one the
    sha256 of all. A folder has the word IsADirectory for both.
    """
    place = Path(path)
    if place.is_dir():
        return "IsADirectory", "IsADirectory"
    with place.open("rb") as file:
        file.seek(0x100000)
        window = file.read(0x10000)
    found = place.stat()
    return hashlib.sha256(window).hexdigest()[:8], _content(place, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _content(path: Path, _size: int, _changed: int) -> str:
    """sha256 of a file, read once in a process: a full-size checkpoint takes seconds."""
    return digest(path)


def file_facts(place: Place) -> dict[str, str]:
    """Names and hashes of a model's files, as kohya's scripts store them in a LoRA file."""
    vae = None if isinstance(place, str) else place.get("vae")
    facts: dict[str, str] = {}
    for part, path in (("sd_model", main_part(place)), ("vae", vae)):
        if path is None:
            continue
        facts[f"ss_{part}_name"] = path
        if Path(path).exists():  # otherwise it is a hub id
            facts[f"ss_{part}_name"] = Path(path).name
            old, new = hashes(path)
            facts |= {f"ss_{part}_hash": old, f"ss_new_{part}_hash": new}
    return facts


def header(path: str) -> Header | None:
    """Of a diffusers folder or a file with weights; None for a hub id.

    Raises `BakeryError` for what cannot be a base.
    """
    place = Path(path)
    try:
        is_folder, is_file = place.is_dir(), place.is_file()
    except (
        OSError
    ) as error:  # a name too long for the file system, a folder that may not be entered
        raise BakeryError(
            f"train.base: {path[:200]} cannot be looked at ({error.strerror}): check the path"
        ) from None
    if is_folder:
        return _of_folder(path, place)
    if is_file:
        return of_file(path) if place.suffix.lower() == ".safetensors" else of_pickle(path)
    if HUB_ID.fullmatch(path) and place.suffix.lower() not in (".safetensors", *PICKLES):
        return None
    raise BakeryError(
        f"train.base: there is no model at {path}: give a diffusers folder, a .safetensors "
        "checkpoint or a hub id such as owner/name"
    )


def of_file(path: str) -> Header:
    """Of a safetensors file."""
    with weight_files.opened(Path(path), where="train.base: ") as tensors:
        names = tensors.keys()
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
        return Header(shapes, dict(tensors.metadata() or {}))


def of_pickle(path: str) -> Header:
    """Of a `.ckpt` or `.pt`; nothing in it is run."""
    weight_files.refuse_others(Path(path), where="train.base: ")
    if Path(path).suffix.lower() not in PICKLES:
        raise BakeryError(
            f"train.base: {path} is neither .safetensors nor .ckpt: give a checkpoint, a "
            "diffusers folder or a hub id"
        )
    try:
        found = pickled.shapes(Path(path))
    except pickled.NotPlain as named:
        raise BakeryError(
            f"train.base: {path} is a pickle with more than weights in it ({named}), which could "
            "run code: convert it to .safetensors, or download that"
        ) from None
    except (pickled.Broken, OSError) as error:
        raise BakeryError(
            f"train.base: {path} is damaged, or not a checkpoint ({first_line(error)}): download "
            "it again, as .safetensors if there is one"
        ) from None
    if isinstance(found, str):
        raise BakeryError(
            f"train.base: {path} holds a {found} instead of named weights: give a Stable Diffusion "
            "checkpoint"
        )
    return Header(found)


def index_of(folder: Path) -> Path | None:
    """The index of a diffusers folder, a plain or a modular pipeline's; None if there is none."""
    found = (folder / name for name in (INDEX, MODULAR_INDEX))
    return next((index for index in found if index.is_file()), None)


def _of_folder(path: str, folder: Path) -> Header:
    index = index_of(folder)
    if index is None:
        raise BakeryError(
            f"train.base: {path} has no {INDEX}: give the folder that save_pretrained wrote, with "
            "unet, vae, text_encoder, tokenizer and scheduler in it"
        )
    try:
        pipeline = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
        return Header(pipeline=pipeline, scheduler=_scheduler(folder))
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise BakeryError(
            f"train.base: {index} is not a diffusers index ({first_line(error)}): "
            "download or export the model again"
        ) from None


def _scheduler(folder: Path) -> dict[str, object]:
    """Of a diffusers folder; empty if there is none that can be read: loading says what is wrong."""
    try:
        found = json.loads((folder / "scheduler/scheduler_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
