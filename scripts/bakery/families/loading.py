"""The parts of a Stable Diffusion model, read and checked.

`Files.outline` reads everything but weights (diffusers folder, single checkpoint or hub id; the VAE from
its own place if there is one), applies settings to the noise schedule, and checks that the parts are of
one model. `Files.load` reads the weights of one part, and checks that none is broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import diffusers_folder, recognise, single_file
from bakery.families.published import dtype_of
from bakery.families.recognise import Place
from bakery.families.stable_diffusion import StableDiffusion
from bakery.families.weights import tensor_files
from bakery.io.errors import BakeryError, reworded

KINDS: Mapping[str, Any] = {
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


@dataclass(frozen=True)
class Files:
    """Where a model's parts are, under the names of a diffusers folder."""

    family: StableDiffusion
    place: Place
    dtype: torch.dtype

    @property
    def path(self) -> str:
        """Of all parts without a place of their own."""
        return recognise.main_part(self.place)

    @property
    def own_vae(self) -> str | None:
        """The place of the VAE, if it has one of its own."""
        return None if isinstance(self.place, str) else self.place.get("vae")

    def outline(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All parts; models are on torch's meta device, in the precision that they will have."""
        path, family = self.path, self.family
        own = self.own_vae is not None
        if Path(path).is_file():
            parts = single_file.outline(path, family, own_vae=own)
        else:
            names = [name for name in family.folders if not (own and name == "vae")]
            parts = diffusers_folder.outline(path, {name: KINDS[name] for name in names})
        if self.own_vae is not None:
            parts["vae"] = _own_vae(family, self.own_vae)
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
                nn.Module.to(parts[name], dtype_of(family.name, name, self.dtype))
                parts[name].requires_grad_(False).eval()
        return parts

    def load(self, name: str) -> nn.Module:
        """The model `name` with its weights, on the CPU."""
        path = self.path
        if name == "vae" and self.own_vae is not None:
            path = self.own_vae
            model = _load_own_vae(self.family, path, self.dtype)
        elif Path(path).is_file():
            model = single_file.load(path, self.family, name, self.dtype)
        else:
            dtype = dtype_of(self.family.name, name, self.dtype)
            model = diffusers_folder.load(path, name, KINDS[name], dtype)
        tensor_files.check_finite(path, name, model)
        return model.requires_grad_(False).eval()

    def digest(self, name: str) -> str | None:
        """sha256 over the files that `name` is read from; None for a hub id."""
        place = Path(self.path)
        if name == "vae" and self.own_vae is not None:
            place, name = Path(self.own_vae), _inside(Path(self.own_vae))
        return tensor_files.digest_of(place / name if place.is_dir() else place)


def _own_vae(family: StableDiffusion, path: str) -> nn.Module:
    """The VAE at a place of its own (a file, a folder with its config, a whole model or a hub id),
    without weights."""
    place = Path(path)
    if place.is_file():
        return single_file.outline_of_vae(family)
    with _vae_readable(path):
        return diffusers_folder.outline_of(path, KINDS["vae"], _inside(place))


def _load_own_vae(family: StableDiffusion, path: str, dtype: torch.dtype) -> nn.Module:
    place = Path(path)
    if place.is_file():
        return single_file.load_vae(path, family, dtype)
    with _vae_readable(path):
        dtype = dtype_of(family.name, "vae", dtype)
        return diffusers_folder.load_model(
            path, "vae", KINDS["vae"], dtype, subfolder=_inside(place)
        )


def _inside(place: Path) -> str:
    """The subfolder of a VAE's own folder that it is in; "" for none."""
    return "vae" if (place / "vae").is_dir() else ""


def _vae_readable(path: str) -> AbstractContextManager[None]:
    return reworded(
        lambda problem: (
            f"train.base.vae: cannot read {path} ({problem}): give a .safetensors file, a "
            "diffusers folder with a VAE, or a hub id"
        )
    )


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
