"""The frozen Stable Diffusion model that a LoRA is trained on and drawn with.

Steps of `load`: find out what the path is (diffusers folder, single checkpoint, hub id), refuse
what is not of the SD1 family, read the five parts, check that no weight is missing or broken,
freeze. `encode` turns prompts into the UNet's conditioning the way kohya's scripts do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from bakery.errors import BakeryError

MAX_CHUNKS = 3  # kohya's max_token_length 225 = 3 x 75
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CONFIG_REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"

# What a model library throws at an unusable file; each message is passed on, never the traceback.
_LOAD_ERRORS = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass
class Base:
    """A loaded model: every part frozen and in eval mode, on `device` in `dtype`."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    noise_scheduler: DDPMScheduler
    path: str
    device: torch.device
    dtype: torch.dtype

    @property
    def prediction_type(self) -> str:
        """`epsilon` or `v_prediction`: what the UNet was trained to predict."""
        return self.noise_scheduler.config.prediction_type

    @property
    def pixels_per_latent(self) -> int:
        """Side of the square of pixels behind one latent pixel (8 for Stable Diffusion)."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def chunk_size(self) -> int:
        """Tokens of a caption in one pass of the text encoder, without BOS and EOS (75 for SD1)."""
        positions = self.text_encoder.config.max_position_embeddings
        return min(self.tokenizer.model_max_length, positions) - 2


def load(path: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Base:
    """Load an SD1-type model: a diffusers folder, a `.safetensors` checkpoint, or a hub id.

    Raises `BakeryError` when the model is missing, incomplete, damaged, or of another family.
    """
    place = Path(path)
    if place.is_dir():
        parts = _load_folder(path, place, dtype)
    elif place.is_file():
        parts = _load_checkpoint(path, place, dtype)
    elif HUB_ID.fullmatch(path) and place.suffix != ".safetensors":
        parts = _load_parts(path, dtype)
    else:
        raise BakeryError(
            f"train.base: there is no model at {path}: give a diffusers folder, a .safetensors "
            "checkpoint or a hub id such as owner/name"
        )
    _check_family(path, parts)
    for name in ("unet", "vae", "text_encoder"):
        _check_weights(path, name, parts[name])
        parts[name] = parts[name].to(device).requires_grad_(False).eval()
    return Base(
        unet=parts["unet"],
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        noise_scheduler=parts["scheduler"],
        path=path,
        device=torch.device(device),
        dtype=dtype,
    )


def encode(
    base: Base, prompts: Sequence[str], clip_skip: int, max_chunks: int = MAX_CHUNKS
) -> torch.Tensor:
    """Conditioning (B, T, C) of `prompts`: the `clip_skip`-th last layer, then the final norm.

    T is 2 + n * `chunk_size`, where n (at most `max_chunks`) is what the longest prompt of the
    batch needs; each chunk is encoded with BOS and EOS of its own, and the inner ones are taken
    out again, as in kohya's scripts. With n = 1 this is what a stock pipeline computes. Prompts
    that must share T (a prompt and its negative) go into one call. The rest of a prompt longer
    than `max_chunks` is cut off: `chunks_needed` tells. Gradients flow if the caller lets them.
    """
    layers = base.text_encoder.config.num_hidden_layers
    if clip_skip > layers:
        raise BakeryError(
            f"train.clip_skip is {clip_skip}, but the text encoder of {base.path} has {layers} "
            f"layers: give 1 to {layers}"
        )
    size = base.chunk_size
    n = min(max_chunks, max(chunks_needed(base, prompts), default=1))
    tokens = base.tokenizer(
        list(prompts),
        padding="max_length",
        max_length=n * size + 2,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(base.device)  # (B, 2 + n * size)
    first, middle, last = tokens[:, :1], tokens[:, 1:-1], tokens[:, -1:]
    chunks = [torch.cat((first, part, last), dim=1) for part in middle.split(size, dim=1)]
    states = _hidden_states(base, torch.cat(chunks), clip_skip).chunk(n)  # n x (B, 2 + size, C)
    if n == 1:
        return states[0]
    return torch.cat(
        (states[0][:, :1], *(state[:, 1:-1] for state in states), states[-1][:, -1:]), dim=1
    )


def chunks_needed(base: Base, prompts: Sequence[str]) -> list[int]:
    """How many chunks of `chunk_size` tokens each prompt would need, at least 1."""
    if not prompts:
        return []
    rows = base.tokenizer(list(prompts), add_special_tokens=False, verbose=False).input_ids
    return [max(1, -(-len(row) // base.chunk_size)) for row in rows]


def _hidden_states(base: Base, tokens: torch.Tensor, clip_skip: int) -> torch.Tensor:
    """(B, T) token ids -> (B, T, C)."""
    if clip_skip == 1:
        return base.text_encoder(tokens).last_hidden_state
    states = base.text_encoder(tokens, output_hidden_states=True).hidden_states[-clip_skip]
    # transformers >= 5.6 has no text_model level inside CLIPTextModel any more
    return getattr(base.text_encoder, "text_model", base.text_encoder).final_layer_norm(states)


def _load_folder(path: str, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    index = folder / "model_index.json"
    if not index.is_file():
        raise BakeryError(
            f"train.base: {path} has no model_index.json: give the folder that "
            "save_pretrained wrote, with unet, vae, text_encoder, tokenizer and scheduler in it"
        )
    try:
        kind = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise BakeryError(
            f"train.base: {index} is not a diffusers index ({_first_line(error)}): "
            "download or export the model again"
        ) from None
    others = ("StableDiffusionXL", "StableDiffusion3")
    if not kind.startswith("StableDiffusion") or kind.startswith(others):
        raise BakeryError(_other_family(path, f"a {kind}"))
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if missing:
        raise BakeryError(
            f"train.base: {path} lacks its {missing[0]} folder: download or export it again"
        )
    return _load_parts(path, dtype)


def _load_parts(path: str, dtype: torch.dtype) -> dict[str, Any]:
    """Read the parts of a diffusers folder or hub repository."""
    parts: dict[str, Any] = {}
    models = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    name = ""
    try:
        for name, kind in models.items():
            with _no_progress_bars():
                parts[name], report = kind.from_pretrained(
                    path, subfolder=name, torch_dtype=dtype, output_loading_info=True
                )
            if report["missing_keys"]:  # the libraries would fill them with random numbers
                raise BakeryError(
                    f"train.base: {name} of {path} lacks the weight "
                    f"{sorted(report['missing_keys'])[0]}: download or export it again"
                )
        name = "tokenizer"
        parts[name] = CLIPTokenizer.from_pretrained(path, subfolder=name)
        name = "scheduler"
        parts[name] = DDPMScheduler.from_pretrained(path, subfolder=name)
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: cannot read {name} of {path} ({_first_line(error)}): "
            "check the path, or download or export the model again"
        ) from None
    return parts


def _load_checkpoint(path: str, file: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Read a single-file checkpoint.

    Such a file holds neither tokenizer nor configs: they are taken from the folder it lies in,
    if that has a model_index.json, else from the hub.
    """
    if file.suffix != ".safetensors":
        raise BakeryError(
            f"train.base: {path} is not a .safetensors file: convert it first "
            "(pickled checkpoints can run code and are not read)"
        )
    _check_checkpoint(path, file)
    config = str(file.parent) if (file.parent / "model_index.json").is_file() else None
    try:
        with _no_progress_bars():
            pipeline = StableDiffusionPipeline.from_single_file(
                path, config=config, torch_dtype=dtype, safety_checker=None, feature_extractor=None
            )
    except _LOAD_ERRORS as error:
        raise BakeryError(
            f"train.base: cannot read {path} ({_first_line(error)}): a single checkpoint needs "
            f"the tokenizer and configs of {CONFIG_REPOSITORY} from the hub, or a copy of them "
            "(model_index.json and its folders) beside the file"
        ) from None
    parts = {name: getattr(pipeline, name) for name in PARTS}
    parts["scheduler"] = DDPMScheduler.from_config(pipeline.scheduler.config)
    return parts


def _check_checkpoint(path: str, file: Path) -> None:
    """Refuse a damaged file and another family by the names in its header."""
    try:
        with safe_open(file, framework="pt") as tensors:
            names = set(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise BakeryError(
            f"train.base: {path} is damaged or not a safetensors file ({_first_line(error)}): "
            "download it again"
        ) from None
    if any(name.startswith(("lora_unet_", "lora_te")) for name in names):
        raise BakeryError(
            f"train.base: {path} is a LoRA, not a model: give the Stable Diffusion checkpoint "
            "it was trained on"
        )
    if any(name.startswith("conditioner.embedders.") for name in names):
        raise BakeryError(_other_family(path, "an SDXL checkpoint"))
    if any(name.startswith("cond_stage_model.model.") for name in names):
        raise BakeryError(_other_family(path, "an SD 2 checkpoint"))
    wanted = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
    missing = [w for w in wanted if not any(name.startswith(w) for name in names)]
    if missing:
        raise BakeryError(
            f"train.base: {path} has no {missing[0]}* weights: it is not a whole "
            "Stable Diffusion 1.x checkpoint"
        )


def _check_family(path: str, parts: dict[str, Any]) -> None:
    unet, vae, text = (parts[name].config for name in ("unet", "vae", "text_encoder"))
    if unet.addition_embed_type is not None:
        raise BakeryError(_other_family(path, "an SDXL model"))
    if unet.in_channels != vae.latent_channels:
        raise BakeryError(
            f"train.base: the UNet of {path} takes {unet.in_channels} channels and its VAE gives "
            f"{vae.latent_channels}: inpainting and similar models cannot be trained"
        )
    if unet.cross_attention_dim == 1024:
        raise BakeryError(_other_family(path, "an SD 2 model"))
    if unet.cross_attention_dim != text.hidden_size:
        raise BakeryError(
            f"train.base: the UNet of {path} expects text of width {unet.cross_attention_dim}, "
            f"its text encoder gives {text.hidden_size}: these parts are of different models"
        )
    prediction = parts["scheduler"].config.prediction_type
    if prediction not in ("epsilon", "v_prediction"):
        raise BakeryError(
            f"train.base: the scheduler of {path} has prediction_type {prediction}: "
            "only epsilon and v_prediction can be trained"
        )


def _check_weights(path: str, name: str, model: nn.Module) -> None:
    for key, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise BakeryError(
                f"train.base: {name} of {path} has NaN or infinite values in {key}: "
                "the file is damaged, download or export it again"
            )


def _other_family(path: str, what: str) -> str:
    return (
        f"train.base: {path} is {what}; only the SD1 family can be trained so far: "
        "give an SD 1.x model"
    )


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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .:") if lines else type(error).__name__
