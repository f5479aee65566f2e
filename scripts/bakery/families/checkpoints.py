"""Single-file checkpoints, as people download them: one file with the weights of all parts.

Steps of `load`: say from the names and shapes of the tensors what the file is, read it, build each
part by the published shape of its kind (or by the configs that lie beside the file), and fill it.
Nothing is guessed from the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import architectures
from bakery.families.architectures import Kind, dtype_of
from bakery.io.errors import BakeryError, first_line

Tensors = Mapping[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_TEXT: dict[Kind, tuple[str, ...]] = {
    "sd1": ("cond_stage_model.transformer.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
# The first sign that is found names the stranger; the specific ones stand before the general.
_STRANGERS = (
    (("lora_unet_", "lora_te", "lora_transformer_"), "a LoRA, not a model"),
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
_LOAD_ERRORS = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


def load(path: str, file: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a checkpoint by the names that a diffusers folder gives them, and `kind`."""
    if file.suffix == ".safetensors":
        shapes, metadata = _header(path, file)
        kind = kind_of(path, shapes)
        tensors = _read(path, file)
    else:
        tensors, metadata = _unpickle(path, file), {}
        kind = kind_of(path, {name: tuple(value.shape) for name, value in tensors.items()})
    configs = file.parent if (file.parent / "model_index.json").is_file() else None
    parts: dict[str, Any] = {"kind": kind, "tokenizer": _tokenizer(path, file, "tokenizer")}
    if kind == "sdxl":
        parts["tokenizer_2"] = _tokenizer(path, file, "tokenizer_2")
    parts["scheduler"] = _scheduler(tensors, metadata, configs)
    name = ""
    try:
        for name, model, weights in _models(kind, tensors, configs):
            parts[name] = _fill(path, name, model, weights, dtype_of(kind, name, dtype))
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: the weights of {name or 'the UNet'} in {path} do not fit the shape of "
            f"{_NAMES[kind]} ({first_line(error)}): download it again"
        ) from None
    return parts


_NAMES = {"sd1": "SD 1.x", "sdxl": "SDXL"}


def kind_of(path: str, shapes: Shapes) -> Kind:
    """What the names and shapes of a checkpoint's tensors say it is; `BakeryError` for the rest."""
    for signs, what in _STRANGERS:
        if any(name.startswith(signs) for name in shapes):
            raise BakeryError(
                f"train.base: {path} is {what}: give a whole SD 1.x or SDXL checkpoint"
            )
    kind: Kind = "sdxl" if any(n.startswith("conditioner.embedders.") for n in shapes) else "sd1"
    for part in (_UNET, _VAE, *_TEXT[kind]):
        if not any(name.startswith(part) for name in shapes):
            raise BakeryError(
                f"train.base: {path} has no {part}* weights: it is not a whole "
                f"{_NAMES[kind]} checkpoint"
            )
    channels = shapes.get(FIRST_CONVOLUTION, (0, 4))[1]
    if channels != 4:
        raise BakeryError(
            f"train.base: the UNet of {path} takes {channels} channels instead of 4: inpainting "
            "and similar models cannot be trained"
        )
    return kind


def _header(path: str, file: Path) -> tuple[Shapes, dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys()
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
            return shapes, dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BakeryError(
            f"train.base: {path} is damaged or not a safetensors file ({first_line(error)}): "
            "download it again"
        ) from None


def _read(path: str, file: Path) -> Tensors:
    try:
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys()
            return {name: tensors.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BakeryError(
            f"train.base: cannot read {path} ({first_line(error)}): download it again"
        ) from None


def _unpickle(path: str, file: Path) -> Tensors:
    """The tensors of a `.ckpt` or `.pt`, if nothing in it would run code."""
    if file.suffix not in PICKLES:
        raise BakeryError(
            f"train.base: {path} is neither .safetensors nor .ckpt: give a checkpoint, a "
            "diffusers folder or a hub id"
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, AttributeError, *_LOAD_ERRORS) as error:
        raise BakeryError(
            f"train.base: {path} is damaged, or a pickle with more than weights in it, which could "
            f"run code ({first_line(error)}): convert it to .safetensors, or download that"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise BakeryError(
            f"train.base: {path} holds a {type(content).__name__} instead of named weights: give "
            "a Stable Diffusion checkpoint"
        )
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def _tokenizer(path: str, file: Path, name: str) -> CLIPTokenizer:
    """From a folder beside the file, else CLIP's from the hub or its cache."""
    beside = file.parent / name
    padding = {"pad_token": architectures.SDXL_PADDING} if name == "tokenizer_2" else {}
    try:
        if beside.is_dir():
            return CLIPTokenizer.from_pretrained(beside)
        if (file.parent / "tokenizer").is_dir():
            return CLIPTokenizer.from_pretrained(file.parent / "tokenizer", **padding)
        return CLIPTokenizer.from_pretrained(architectures.VOCABULARY, **padding)
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: {path} needs CLIP's vocabulary, which no checkpoint holds, and it could "
            f"not be read ({first_line(error)}): connect to the internet once, or put the folder "
            f"`tokenizer` of any Stable Diffusion model (vocab.json, merges.txt) beside the file"
        ) from None


def _scheduler(
    tensors: Tensors, metadata: Mapping[str, str], configs: Path | None
) -> DDPMScheduler:
    """What the model predicts: as configs beside it say, and by the marks that such files carry.

    NoobAI and its kin hold an empty tensor named v_pred, and one named ztsnr; kohya's scripts
    write modelspec.prediction_type.
    """
    config = dict(architectures.SCHEDULER)
    if configs is not None:
        config = dict(DDPMScheduler.load_config(configs, subfolder="scheduler"))
    if "v_pred" in tensors or metadata.get("modelspec.prediction_type") == "v":
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in tensors:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return DDPMScheduler.from_config(config)


def _models(
    kind: Kind, tensors: Tensors, configs: Path | None
) -> Iterable[tuple[str, nn.Module, Tensors]]:
    """(name, model without weights, its weights under the model's own names)."""

    def config(name: str, published: Mapping[str, Any]) -> dict[str, Any]:
        if configs is None:
            return dict(published)
        return json.loads((configs / name / "config.json").read_text(encoding="utf-8"))

    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(config("unet", architectures.UNET[kind]))
        vae = AutoencoderKL.from_config(config("vae", architectures.VAE[kind]))
    yield "unet", unet, convert_ldm_unet_checkpoint(tensors, unet.config)
    yield "vae", vae, convert_ldm_vae_checkpoint(tensors, vae.config)
    published = architectures.TEXT_ENCODERS[kind]
    with init_empty_weights():
        first = CLIPTextModel(CLIPTextConfig(**config("text_encoder", published[0])))
    yield "text_encoder", first, convert_ldm_clip_checkpoint(tensors)
    if kind == "sdxl":
        shape = CLIPTextConfig(**config("text_encoder_2", published[1]))
        with init_empty_weights():
            second = CLIPTextModelWithProjection(shape)
        weights = convert_open_clip_checkpoint(second, tensors, prefix=_TEXT[kind][1])
        yield "text_encoder_2", second, weights


def _fill(
    path: str, name: str, model: nn.Module, weights: Tensors, dtype: torch.dtype
) -> nn.Module:
    """Give `model` its weights; `BakeryError` for one that is missing or too many.

    They are copied out of the file: matrix products round differently at other alignments, and
    results should depend on the numbers alone.
    """
    if isinstance(model, CLIPTextModel) and not hasattr(model, "text_model"):
        # transformers >= 5.6 has no text_model level inside CLIPTextModel any more
        weights = {key.removeprefix("text_model."): value for key, value in weights.items()}
    weights = {
        key: value.to(dtype, copy=True)
        for key, value in weights.items()
        if "position_ids" not in key
    }
    report = model.load_state_dict(weights, strict=False, assign=True)
    if report.missing_keys:
        raise BakeryError(
            f"train.base: {name} of {path} lacks the weight {sorted(report.missing_keys)[0]}: "
            "download it again"
        )
    if report.unexpected_keys:
        raise BakeryError(
            f"train.base: {name} of {path} has a weight too many, "
            f"{sorted(report.unexpected_keys)[0]}: it is another model than it seems"
        )
    return model
