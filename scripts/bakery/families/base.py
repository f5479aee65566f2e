"""The frozen Stable Diffusion model that a LoRA is trained on and drawn with.

Steps of `load`: find out what the path is (diffusers folder, single checkpoint, hub id) and what
kind of model, refuse what can be trained with neither SD1's nor SDXL's means, read the parts, check
that no weight is missing or broken, freeze. Prompts and predictions are in `conditioning.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from bakery.families import checkpoints
from bakery.families.architectures import Kind, dtype_of
from bakery.families.conditioning import (
    MAX_CHUNKS,
    Conditioning,
    chunks_needed,
    encode,
    predict,
    size_ids,
)
from bakery.families.targets import is_sdxl
from bakery.io.errors import BakeryError, first_line

__all__ = [
    "MAX_CHUNKS", "PARTS", "Base", "Conditioning", "chunks_needed", "encode", "load", "predict",
    "size_ids",
]  # fmt: skip

PARTS: dict[Kind, tuple[str, ...]] = {
    "sd1": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "sdxl": (
        "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
    ),
}  # fmt: skip
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_CLASSES = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "tokenizer": CLIPTokenizer,
    "tokenizer_2": CLIPTokenizer,
    "scheduler": DDPMScheduler,
}
# What a model library throws at an unusable file; each message is passed on, never the traceback.
_LOAD_ERRORS = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass
class Base:
    """A loaded model: every part frozen and in eval mode, on `device` in `dtype`.

    SDXL's VAE is always in float32.
    """

    kind: Kind
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: list[CLIPTextModel | CLIPTextModelWithProjection]
    """One for SD1, two for SDXL."""
    tokenizers: list[CLIPTokenizer]
    noise_scheduler: DDPMScheduler
    path: str
    device: torch.device
    dtype: torch.dtype

    @property
    def prediction_type(self) -> str:
        """`epsilon` or `v_prediction`: what the UNet was trained to predict."""
        return self.noise_scheduler.config.prediction_type

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.noise_scheduler.config.rescale_betas_zero_snr)

    @property
    def pixels_per_latent(self) -> int:
        """Side of the square of pixels behind one latent pixel (8 for Stable Diffusion)."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def chunk_size(self) -> int:
        """Tokens of a caption in one pass of a text encoder, without BOS and EOS (75 for CLIP)."""
        positions = self.text_encoders[0].config.max_position_embeddings
        return min(self.tokenizers[0].model_max_length, positions) - 2


def load(
    path: str,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    v_parameterization: bool | None = None,
    zero_terminal_snr: bool | None = None,
) -> Base:
    """Load an SD1 or SDXL model: a diffusers folder, a single checkpoint, or a hub id.

    `v_parameterization` and `zero_terminal_snr` say what the model predicts and whether its last
    timestep is pure noise where the model itself says nothing or something wrong; None believes it.
    Raises `BakeryError` when the model is missing, incomplete, damaged, or of another family.
    """
    place = Path(path)
    if place.is_dir():
        parts = _load_folder(path, place, dtype)
    elif place.is_file():
        parts = checkpoints.load(path, place, dtype)
    elif HUB_ID.fullmatch(path) and place.suffix not in (".safetensors", *checkpoints.PICKLES):
        parts = _load_parts(path, dtype)
    else:
        raise BakeryError(
            f"train.base: there is no model at {path}: give a diffusers folder, a .safetensors "
            "checkpoint or a hub id such as owner/name"
        )
    parts["scheduler"] = _scheduler(path, parts["scheduler"], v_parameterization, zero_terminal_snr)
    _check_family(path, parts)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if name in parts:
            _check_weights(path, name, parts[name])
            parts[name] = parts[name].to(device).requires_grad_(False).eval()
    return Base(
        kind=parts["kind"],
        unet=parts["unet"],
        vae=parts["vae"],
        text_encoders=[parts[n] for n in ("text_encoder", "text_encoder_2") if n in parts],
        tokenizers=[parts[n] for n in ("tokenizer", "tokenizer_2") if n in parts],
        noise_scheduler=parts["scheduler"],
        path=path,
        device=torch.device(device),
        dtype=dtype,
    )


def _load_folder(path: str, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    index = folder / "model_index.json"
    if not index.is_file():
        raise BakeryError(
            f"train.base: {path} has no model_index.json: give the folder that "
            "save_pretrained wrote, with unet, vae, text_encoder, tokenizer and scheduler in it"
        )
    try:
        pipeline = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise BakeryError(
            f"train.base: {index} is not a diffusers index ({first_line(error)}): "
            "download or export the model again"
        ) from None
    if not pipeline.startswith("StableDiffusion") or pipeline.startswith("StableDiffusion3"):
        raise BakeryError(_other_family(path, f"a {pipeline}"))
    expected = PARTS["sdxl" if pipeline.startswith("StableDiffusionXL") else "sd1"]
    missing = [name for name in expected if not (folder / name).is_dir()]
    if missing:
        raise BakeryError(
            f"train.base: {path} lacks its {missing[0]} folder: download or export it again"
        )
    return _load_parts(path, dtype)


def _load_parts(path: str, dtype: torch.dtype) -> dict[str, Any]:
    """Read the parts of a diffusers folder or hub repository."""
    parts: dict[str, Any] = {}
    name = "unet"
    try:
        parts["unet"] = _load_model(path, "unet", dtype)
        parts["kind"] = "sdxl" if is_sdxl(parts["unet"]) else "sd1"
        for name in PARTS[parts["kind"]][1:]:
            if issubclass(_CLASSES[name], nn.Module):
                parts[name] = _load_model(path, name, dtype_of(parts["kind"], name, dtype))
            else:
                parts[name] = _CLASSES[name].from_pretrained(path, subfolder=name)
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: cannot read {name} of {path} ({first_line(error)}): "
            "check the path, or download or export the model again"
        ) from None
    return parts


def _load_model(path: str, name: str, dtype: torch.dtype) -> nn.Module:
    with _no_progress_bars():
        model, report = _CLASSES[name].from_pretrained(
            path, subfolder=name, torch_dtype=dtype, output_loading_info=True
        )
    if report["missing_keys"]:  # the libraries would fill them with random numbers
        raise BakeryError(
            f"train.base: {name} of {path} lacks the weight "
            f"{sorted(report['missing_keys'])[0]}: download or export it again"
        )
    return model


def _scheduler(
    path: str, scheduler: DDPMScheduler, v_prediction: bool | None, zero_snr: bool | None
) -> DDPMScheduler:
    """The model's noise schedule with what the settings say otherwise."""
    config = scheduler.config
    changes: dict[str, Any] = {}
    if v_prediction is not None:
        changes["prediction_type"] = "v_prediction" if v_prediction else "epsilon"
    if zero_snr is not None:
        changes["rescale_betas_zero_snr"] = zero_snr
        # sampling must start at the timestep that is pure noise
        changes["timestep_spacing"] = "trailing" if zero_snr else config.timestep_spacing
    scheduler = DDPMScheduler.from_config(config, **changes)
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction"):
        raise BakeryError(
            f"train.base: the scheduler of {path} has prediction_type {prediction}: "
            "only epsilon and v_prediction can be trained"
        )
    if scheduler.config.rescale_betas_zero_snr and prediction == "epsilon":
        raise BakeryError(
            f"train.base: {path} predicts the noise (epsilon), and with zero terminal SNR its last "
            "timestep is nothing but noise: set train.v_parameterization to true, or "
            "train.zero_terminal_snr to false"
        )
    return scheduler


def _check_family(path: str, parts: dict[str, Any]) -> None:
    unet, vae = parts["unet"].config, parts["vae"].config
    texts = [parts[name].config for name in ("text_encoder", "text_encoder_2") if name in parts]
    if unet.addition_embed_type not in (None, "text_time"):
        raise BakeryError(
            _other_family(path, f"a model with {unet.addition_embed_type} embeddings")
        )
    if unet.in_channels != vae.latent_channels:
        raise BakeryError(
            f"train.base: the UNet of {path} takes {unet.in_channels} channels and its VAE gives "
            f"{vae.latent_channels}: inpainting and similar models cannot be trained"
        )
    if parts["kind"] == "sd1" and unet.cross_attention_dim == 1024:
        raise BakeryError(_other_family(path, "an SD 2 model"))
    width = sum(text.hidden_size for text in texts)
    if unet.cross_attention_dim != width:
        raise BakeryError(
            f"train.base: the UNet of {path} expects text of width {unet.cross_attention_dim}, "
            f"its text {'encoders give' if len(texts) > 1 else 'encoder gives'} {width}: these "
            "parts are of different models"
        )
    if parts["kind"] == "sdxl":
        pooled = unet.projection_class_embeddings_input_dim - 6 * unet.addition_time_embed_dim
        if pooled != texts[1].projection_dim:
            raise BakeryError(
                f"train.base: the UNet of {path} expects a pooled text of width {pooled}, its text "
                f"encoder gives {texts[1].projection_dim}: these parts are of different models"
            )


def _check_weights(path: str, name: str, model: nn.Module) -> None:
    for key, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise BakeryError(
                f"train.base: {name} of {path} has NaN or infinite values in {key}: "
                "the file is damaged, download or export it again"
            )


def _other_family(path: str, what: str) -> str:
    return f"train.base: {path} is {what}: give a whole SD 1.x or SDXL model"


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The bars of half a second of loading say nothing and end up in log files."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
