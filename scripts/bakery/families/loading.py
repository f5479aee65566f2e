"""The parts of a Stable Diffusion model, read and checked.

Steps of `read`: read the parts (diffusers folder, single checkpoint or hub id; the VAE from its own
place if there is one), apply settings to the noise schedule, check that no weight is broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import diffusers_folder, single_file
from bakery.families.published import dtype_of
from bakery.families.recognise import Place
from bakery.families.stable_diffusion import StableDiffusion
from bakery.families.weights import tensor_files
from bakery.io.errors import BakeryError, first_line

KINDS: Mapping[str, type] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "tokenizer": CLIPTokenizer,
    "tokenizer_2": CLIPTokenizer,
    "scheduler": DDPMScheduler,
}
"""A part's folder in a diffusers model -> what it holds."""
MODELS = ("unet", "vae", "text_encoder", "text_encoder_2")


def read(
    family: StableDiffusion, place: Place, settings: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Any]:
    """The parts, with the names of a diffusers folder."""
    pieces = {"checkpoint": place} if isinstance(place, str) else place
    path = pieces["checkpoint"]
    if Path(path).is_file():
        parts = single_file.load(path, family, dtype, own_vae="vae" in pieces)
    else:
        kinds = {name: KINDS[name] for name in family.folders}
        parts = diffusers_folder.load(path, kinds, lambda name: dtype_of(family.name, name, dtype))
    if "vae" in pieces:
        parts["vae"] = _own_vae(family, pieces["vae"], dtype)
    parts["scheduler"] = _scheduler(
        path,
        parts["scheduler"],
        settings.get("v_parameterization"),
        settings.get("zero_terminal_snr"),
    )
    _check_channels(path, parts)
    _check_vocabularies(path, parts)
    _check_clip_skip(family, path, parts["text_encoder"], settings.get("clip_skip", 1))
    for name in MODELS:
        if name in parts:
            tensor_files.check_finite(pieces.get(name, path), name, parts[name])
    return parts


def _own_vae(family: StableDiffusion, path: str, dtype: torch.dtype) -> nn.Module:
    """The VAE from its own place: a file, a folder with its config, a whole model or a hub id."""
    place, dtype = Path(path), dtype_of(family.name, "vae", dtype)
    if place.is_file():
        return single_file.load_vae(path, family, dtype)
    inside = "vae" if (place / "vae").is_dir() else ""
    try:
        return diffusers_folder.load_model(path, "vae", KINDS["vae"], dtype, subfolder=inside)
    except BakeryError:
        raise
    except Exception as error:  # model libraries raise anything
        raise BakeryError(
            f"train.base.vae: cannot read {path} ({first_line(error)}): give a .safetensors file, a "
            "diffusers folder with a VAE, or a hub id"
        ) from None


def _scheduler(
    path: str, scheduler: DDPMScheduler, v_prediction: bool | None, zero_snr: bool | None
) -> DDPMScheduler:
    """The model's noise schedule, with the changes from the settings."""
    config = scheduler.config
    _check_schedule(path, scheduler)
    changes: dict[str, Any] = {}
    if v_prediction is not None:
        changes["prediction_type"] = "v_prediction" if v_prediction else "epsilon"
    if zero_snr is not None:
        changes["rescale_betas_zero_snr"] = zero_snr
        # sampling must start at the timestep that is pure noise
        changes["timestep_spacing"] = "trailing" if zero_snr else config["timestep_spacing"]
    scheduler = DDPMScheduler.from_config(config, **changes)
    prediction = scheduler.config["prediction_type"]
    if prediction not in ("epsilon", "v_prediction"):
        raise BakeryError(
            f"train.base: the scheduler of {path} has prediction_type {prediction}: "
            "only epsilon and v_prediction can be trained"
        )
    if scheduler.config["rescale_betas_zero_snr"] and prediction == "epsilon":
        raise BakeryError(
            f"train.base: {path} predicts the noise (epsilon), and with zero terminal SNR its last "
            "timestep is nothing but noise: set train.v_parameterization to true, or "
            "train.zero_terminal_snr to false"
        )
    return scheduler


def _check_schedule(path: str, scheduler: DDPMScheduler) -> None:
    """`BakeryError` unless what is left of a picture falls from step to step, from 1 to 0."""
    left = scheduler.alphas_cumprod
    falls = bool((left[1:] <= left[:-1]).all()) and bool((left >= 0).all()) and bool(left[0] <= 1)
    if len(left) < 2 or not falls:  # also for NaN
        raise BakeryError(
            f"train.base: the scheduler of {path} has betas that are no noise schedule (beta_start "
            f"{scheduler.config['beta_start']}, beta_end {scheduler.config['beta_end']}): download or "
            "export the model again"
        )


def _check_channels(path: str, parts: Mapping[str, Any]) -> None:
    takes, gives = parts["unet"].config.in_channels, parts["vae"].config.latent_channels
    if takes != gives:
        raise BakeryError(
            f"train.base: the UNet of {path} takes {takes} channels and its VAE gives "
            f"{gives}: inpainting and similar models cannot be trained"
        )


def _check_vocabularies(path: str, parts: Mapping[str, Any]) -> None:
    """`BakeryError` unless each tokenizer numbers about the words that its text encoder knows.

    An empty folder is a tokenizer without words to the library.
    """
    for number in ("", "_2"):
        tokenizer, encoder = (
            parts.get(f"{name}{number}") for name in ("tokenizer", "text_encoder")
        )
        if tokenizer is None or encoder is None:
            continue
        words, known = tokenizer.get_vocab(), encoder.config.vocab_size
        if len(words) < 0.9 * known or max(words.values()) >= known:
            raise BakeryError(
                f"train.base: the tokenizer{number} of {path} has {len(words)} words and its text "
                f"encoder {known}: it is incomplete, or of another model; download it again "
                "(vocab.json and merges.txt)"
            )


def check_width(path: str, unet: Any, texts: Sequence[Any]) -> None:
    """`BakeryError` unless the text encoders' outputs are as wide as the UNet expects (configs)."""
    width = sum(text.hidden_size for text in texts)
    if unet.cross_attention_dim != width:
        raise BakeryError(
            f"train.base: the UNet of {path} expects text of width {unet.cross_attention_dim}, "
            f"its text {'encoders give' if len(texts) > 1 else 'encoder gives'} {width}: these "
            "parts belong to different models"
        )


def _check_clip_skip(family: StableDiffusion, path: str, encoder: CLIPTextModel, skip: int) -> None:
    layers = encoder.config.num_hidden_layers
    if family.takes_clip_skip and skip > layers:
        raise BakeryError(
            f"train.clip_skip is {skip}, but the text encoder of {path} has {layers} "
            f"layers: give 1 to {layers}"
        )
