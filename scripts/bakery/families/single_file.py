"""Single-file checkpoints, the usual download: one file with the weights of all parts.

Steps of `load`: check by the names and shapes of the tensors that all parts are there, read the file,
build each part by the published shape of its family (or by the configs beside the file), and fill it.
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
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import published
from bakery.families.published import dtype_of
from bakery.families.recognise import INDEX, PICKLES, Header, of_file
from bakery.families.stable_diffusion import StableDiffusion
from bakery.io.errors import BakeryError, first_line

Tensors = Mapping[str, torch.Tensor]

FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_VAE_OF_DIFFUSERS = ("encoder.down_blocks.", "decoder.up_blocks.")
_VAE_OF_OTHERS = ("encoder.down.", "decoder.up.")
_LOAD_ERRORS = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


def load(path: str, family: StableDiffusion, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a checkpoint by the names that a diffusers folder gives them."""
    file = Path(path)
    if file.suffix == ".safetensors":
        found = of_file(path)
        check_whole(path, family, found)
        tensors = _read(path, file)
    else:
        tensors = _unpickle(path, file)
        found = Header({name: tuple(value.shape) for name, value in tensors.items()})
        check_whole(path, family, found)
    configs = file.parent if (file.parent / INDEX).is_file() else None
    parts: dict[str, Any] = {
        name: _tokenizer(path, file, name)
        for name in family.folders
        if name.startswith("tokenizer")
    }
    parts["scheduler"] = _scheduler(found, configs)
    name = ""
    try:
        for name, model, weights in _models(family, tensors, configs):
            parts[name] = _fill(path, name, model, weights, dtype_of(family.name, name, dtype))
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: the weights of {name or 'the UNet'} in {path} do not fit the shape of "
            f"{family.title} ({first_line(error)}): download it again"
        ) from None
    return parts


def load_vae(path: str, family: StableDiffusion, dtype: torch.dtype) -> nn.Module:
    """A VAE in a file of its own, under the names of the original or of diffusers."""
    file = Path(path)
    tensors = _read(path, file) if file.suffix == ".safetensors" else _unpickle(path, file)
    with init_empty_weights():
        vae = AutoencoderKL.from_config(dict(published.VAE[family.name]))
    try:
        weights = tensors
        if not any(name.startswith(_VAE_OF_DIFFUSERS) for name in tensors):
            if not any(name.removeprefix(_VAE).startswith(_VAE_OF_OTHERS) for name in tensors):
                raise BakeryError(
                    f"train.base.vae: {path} is no VAE: give a .safetensors file or a diffusers "
                    "folder with one"
                )
            whole = {name.removeprefix(_VAE): value for name, value in tensors.items()}
            named = {f"{_VAE}{name}": value for name, value in whole.items()}
            weights = convert_ldm_vae_checkpoint(named, vae.config)
        return _fill(path, "vae", vae, weights, dtype_of(family.name, "vae", dtype))
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base.vae: the weights in {path} do not fit the shape of the VAE of "
            f"{family.title} ({first_line(error)}): give a VAE that was made for it"
        ) from None


def check_whole(path: str, family: StableDiffusion, found: Header) -> None:
    """`BakeryError` for a file of this family that lacks a part, or has one that cannot be trained."""
    for part in (_UNET, _VAE, *family.text_prefixes):
        if not found.has(part):
            raise BakeryError(
                f"train.base: {path} has no {part}* weights: it is not a whole "
                f"{family.title} checkpoint"
            )
    channels = found.shapes.get(FIRST_CONVOLUTION, (0, 4))[1]
    if channels != 4:
        raise BakeryError(
            f"train.base: the UNet of {path} takes {channels} channels instead of 4: inpainting "
            "and similar models cannot be trained"
        )


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
    """From a folder next to the file, else CLIP's from the hub or its cache."""
    beside = file.parent / name
    padding: dict[str, Any] = {"pad_token": published.SDXL_PADDING} if name == "tokenizer_2" else {}
    try:
        if beside.is_dir():
            return CLIPTokenizer.from_pretrained(beside)
        if (file.parent / "tokenizer").is_dir():
            return CLIPTokenizer.from_pretrained(file.parent / "tokenizer", **padding)
        return CLIPTokenizer.from_pretrained(published.VOCABULARY, **padding)
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: {path} needs CLIP's vocabulary, which no checkpoint holds, and it could "
            f"not be read ({first_line(error)}): connect to the internet once, or put the folder "
            f"`tokenizer` of any Stable Diffusion model (vocab.json, merges.txt) beside the file"
        ) from None


def _scheduler(found: Header, configs: Path | None) -> DDPMScheduler:
    """What the model predicts, by configs next to it and by markers in the file."""
    config = dict(published.SCHEDULER)
    if configs is not None:
        config = dict(DDPMScheduler.load_config(configs, subfolder="scheduler"))
    if found.predicts_v:
        config["prediction_type"] = "v_prediction"
    if found.zero_terminal_snr:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return DDPMScheduler.from_config(config)


def _models(
    family: StableDiffusion, tensors: Tensors, configs: Path | None
) -> Iterable[tuple[str, nn.Module, Tensors]]:
    """(name, model without weights, its weights under the model's own names)."""

    def config(name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
        if configs is None:
            return dict(shape)
        return json.loads((configs / name / "config.json").read_text(encoding="utf-8"))

    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(config("unet", published.UNET[family.name]))
        vae = AutoencoderKL.from_config(config("vae", published.VAE[family.name]))
    yield "unet", unet, convert_ldm_unet_checkpoint(tensors, unet.config)
    yield "vae", vae, convert_ldm_vae_checkpoint(tensors, vae.config)
    shapes = published.TEXT_ENCODERS[family.name]
    with init_empty_weights():
        first = CLIPTextModel(CLIPTextConfig(**config("text_encoder", shapes[0])))
    yield "text_encoder", first, convert_ldm_clip_checkpoint(tensors)
    if len(shapes) > 1:
        shape = CLIPTextConfig(**config("text_encoder_2", shapes[1]))
        with init_empty_weights():
            second = CLIPTextModelWithProjection(shape)
        weights = convert_open_clip_checkpoint(second, tensors, prefix=family.text_prefixes[1])
        yield "text_encoder_2", second, weights


def _fill(
    path: str, name: str, model: nn.Module, weights: Tensors, dtype: torch.dtype
) -> nn.Module:
    """Load `model`'s weights; `BakeryError` for a missing or unexpected one.

    They are copied out of the file: matrix products round differently at other alignments, and
    results should depend only on the numbers.
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
            f"train.base: {name} of {path} has an unexpected weight, "
            f"{sorted(report.unexpected_keys)[0]}: it is a different kind of model than it seems"
        )
    return model
