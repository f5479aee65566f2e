"""Single-file checkpoints, the usual download: one file with the weights of all parts.

`outline` checks by the names and shapes of the tensors that all parts are there and nothing that would
change pictures, and builds each part without weights, by the published shape of its family (or by the
configs beside the file). `load` reads the weights of one part. Nothing is guessed from the file's name.
"""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from pathlib import Path
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
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import published
from bakery.families.published import dtype_of
from bakery.families.recognise import INDEX, Header, of_file, of_pickle
from bakery.families.stable_diffusion import StableDiffusion
from bakery.families.weights import tensor_files
from bakery.families.weights.tensor_files import Tensors
from bakery.io.errors import BakeryError, first_line, reworded

log = logging.getLogger(__name__)

FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_CLIP = "cond_stage_model.transformer."
_CLIP_WITHOUT_LEVEL = tuple(
    f"{_CLIP}{name}." for name in ("embeddings", "encoder", "final_layer_norm")
)
_VAE_OF_DIFFUSERS = ("encoder.down_blocks.", "decoder.up_blocks.")
_VAE_OF_OTHERS = ("encoder.down.", "decoder.up.")
_SCHEDULE = "alphas_cumprod"
_OPEN_CLIP = "conditioner.embedders.1.model."


def outline(path: str, family: StableDiffusion, *, own_vae: bool = False) -> dict[str, Any]:
    """The parts of a checkpoint by the names that a diffusers folder gives them, models without weights.

    With `own_vae` the VAE comes from elsewhere: the file's is left out, if it has one.
    """
    file, found = Path(path), _header(path)
    check_whole(path, family, found, own_vae=own_vae)
    _tell_what_is_left_out(path, family, found, own_vae=own_vae)
    _warn_of_schedule(path, found)
    configs = _configs(file)
    parts: dict[str, Any] = {
        name: _tokenizer(path, file, name)
        for name in family.folders
        if name.startswith("tokenizer")
    }
    parts["scheduler"] = _scheduler(path, found, configs)
    for name in _prefixes(family):
        if name == "vae" and own_vae:
            continue
        with _fitting(path, family, name), torch.device("meta"):
            parts[name] = _model(family, name, configs)
    return parts


def load(path: str, family: StableDiffusion, name: str, dtype: torch.dtype) -> nn.Module:
    """The part `name` of a checkpoint with its weights; no other part is kept in memory."""
    file, prefix = Path(path), _prefixes(family)[name]
    found = _header(path)
    unread = {key for keys in found.left_out((prefix,)).values() for key in keys}
    wanted = [key for key in found.shapes if key.startswith(prefix) and key not in unread]
    tensors = _renamed(tensor_files.read(path, file, wanted))
    with _fitting(path, family, name):
        with init_empty_weights():
            model = _model(family, name, _configs(file))
        weights = _converted(family, name, model, tensors)
        if name == "unet":
            _check_all_used(path, tensors, weights)
        del tensors  # `fill` frees what it has copied
        kind = dtype_of(family.name, name, dtype)
        return tensor_files.fill(path, name, model, _levelled(model, weights), kind)


def outline_of_vae(family: StableDiffusion) -> nn.Module:
    """The VAE of a file of its own, without weights: it has the family's shape."""
    with torch.device("meta"):
        return _model(family, "vae", None)


def load_vae(path: str, family: StableDiffusion, dtype: torch.dtype) -> nn.Module:
    """A VAE in a file of its own, under the names of the original or of diffusers."""
    file = Path(path)
    tensors = tensor_files.read(path, file)
    with init_empty_weights():
        vae = _model(family, "vae", None)
    with _vae_fitting(path, family):
        weights = dict(tensors)
        if not any(name.startswith(_VAE_OF_DIFFUSERS) for name in tensors):
            if not any(name.removeprefix(_VAE).startswith(_VAE_OF_OTHERS) for name in tensors):
                raise BakeryError(
                    f"train.base.vae: {path} is no VAE: give a .safetensors file or a diffusers "
                    "folder with one"
                )
            whole = {name.removeprefix(_VAE): value for name, value in tensors.items()}
            named = {f"{_VAE}{name}": value for name, value in whole.items()}
            weights = _converted(family, "vae", vae, named)
        return tensor_files.fill(path, "vae", vae, weights, dtype_of(family.name, "vae", dtype))


def check_whole(
    path: str, family: StableDiffusion, found: Header, *, own_vae: bool = False
) -> None:
    """`BakeryError` for a file of this family that lacks a part, or has one that cannot be trained."""
    if (beside := found.beside()) is not None:
        what, name = beside
        raise BakeryError(
            f"train.base: {path} has {what} in it ({name}), with which its pictures would be other "
            f"ones: give a plain {family.title} checkpoint"
        )
    if not own_vae and not found.has(_VAE):
        raise BakeryError(
            f"train.base: {path} has no VAE (no {_VAE}* weights): name one beside it, "
            f"`base: {{checkpoint: {path}, vae: ...}}`"
        )
    for part in (_UNET, *family.text_prefixes):
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


def _header(path: str) -> Header:
    if Path(path).suffix.lower() == ".safetensors":
        return of_file(path)
    return of_pickle(path)


def _configs(file: Path) -> Path | None:
    """The folder with configs beside a checkpoint, if there is one."""
    return file.parent if (file.parent / INDEX).is_file() else None


def _prefixes(family: StableDiffusion) -> dict[str, str]:
    """How the names of each part's tensors begin."""
    texts = zip(("text_encoder", "text_encoder_2"), family.text_prefixes, strict=False)
    return {"unet": _UNET, "vae": _VAE, **dict(texts)}


def _tell_what_is_left_out(
    path: str, family: StableDiffusion, found: Header, *, own_vae: bool
) -> None:
    left_out = found.left_out((_UNET, _VAE, *family.text_prefixes))
    if own_vae and (inner := [name for name in found.shapes if name.startswith(_VAE)]):
        left_out["the VAE, as another one is named"] = inner
    for what, names in left_out.items():
        log.info(
            "%s: %d tensors left out, %s (%s)", path, len(names), what, tensor_files.shown(names)
        )


def _warn_of_schedule(path: str, found: Header) -> None:
    """Log a noise schedule in the file that is not Stable Diffusion's.

    A1111 draws with it; ComfyUI and kohya's scripts do not read it, and neither is it read here.
    """
    if _SCHEDULE not in found.shapes:
        return
    stored = tensor_files.read(path, Path(path), [_SCHEDULE])[_SCHEDULE]
    plain = DDPMScheduler.from_config(published.SCHEDULER).alphas_cumprod
    # half precision rounds to 3 digits
    if stored.shape != plain.shape or not torch.allclose(
        stored.float(), plain, rtol=2e-3, atol=1e-4
    ):
        log.warning(
            "%s: its %s differs from Stable Diffusion's and is not used; if the model was made with "
            "zero terminal SNR, set train.zero_terminal_snr",
            path,
            _SCHEDULE,
        )


def _renamed(tensors: Tensors) -> Tensors:
    """Names as most files have them: A1111 and ComfyUI read others, too."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith(_CLIP_WITHOUT_LEVEL):  # written by an old transformers
            name = name.replace(_CLIP, f"{_CLIP}text_model.", 1)
        elif name == f"{_OPEN_CLIP}text_projection.weight":  # a layer's weight, not a matrix
            name, tensor = f"{_OPEN_CLIP}text_projection", tensor.T
        renamed[name] = tensor
    return renamed


def _check_all_used(path: str, tensors: Tensors, weights: Tensors) -> None:
    """`BakeryError` for tensors of the UNet that its conversion left behind."""
    used = {id(weight) for weight in weights.values()}
    unknown = [k for k, v in tensors.items() if k.startswith(_UNET) and id(v) not in used]
    if unknown:
        raise BakeryError(
            f"train.base: the UNet of {path} has {len(unknown)} weights that are not of this family "
            f"({tensor_files.shown(sorted(unknown))}): it is a different kind of model than it seems"
        )


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
    except Exception as error:
        raise BakeryError(
            f"train.base: {path} needs CLIP's vocabulary, which no checkpoint holds, and it could "
            f"not be read ({first_line(error)}): connect to the internet once, or put the folder "
            f"`tokenizer` of any Stable Diffusion model (vocab.json, merges.txt) beside the file"
        ) from None


def _scheduler(path: str, found: Header, configs: Path | None) -> DDPMScheduler:
    """What the model predicts, by configs next to it and by markers in the file."""
    config = dict(published.SCHEDULER)
    try:
        if configs is not None:
            config = dict(DDPMScheduler.load_config(configs, subfolder="scheduler"))
        if found.predicts_v:
            config["prediction_type"] = "v_prediction"
        if found.zero_terminal_snr:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return DDPMScheduler.from_config(config)
    except Exception as error:
        raise BakeryError(
            f"train.base: the scheduler's config beside {path} cannot be used ({first_line(error)}): "
            "download it again"
        ) from None


def _fitting(path: str, family: StableDiffusion, name: str) -> AbstractContextManager[None]:
    return reworded(
        lambda problem: (
            f"train.base: the weights of {name} in {path} do not fit the shape of "
            f"{family.title} ({problem}): download it again"
        )
    )


def _vae_fitting(path: str, family: StableDiffusion) -> AbstractContextManager[None]:
    return reworded(
        lambda problem: (
            f"train.base.vae: the weights in {path} do not fit the shape of the VAE of "
            f"{family.title} ({problem}): give a VAE that was made for it"
        )
    )


def _model(family: StableDiffusion, name: str, configs: Path | None) -> nn.Module:
    """A part of the family's shape, or of that in the configs beside the file."""
    shapes = {
        "unet": published.UNET[family.name],
        "vae": published.VAE[family.name],
        **dict(zip(("text_encoder", "text_encoder_2"), published.TEXT_ENCODERS[family.name],
                   strict=False)),
    }  # fmt: skip
    shape = dict(shapes[name])
    if configs is not None:
        shape = json.loads((configs / name / "config.json").read_text(encoding="utf-8"))
    if name == "unet":
        return UNet2DConditionModel.from_config(shape)
    if name == "vae":
        return AutoencoderKL.from_config(shape)
    kind = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
    return kind(CLIPTextConfig(**shape))


def _converted(
    family: StableDiffusion, name: str, model: nn.Module, tensors: Tensors
) -> dict[str, torch.Tensor]:
    """A part's tensors under the names of `model`."""
    if name == "unet":
        return convert_ldm_unet_checkpoint(tensors, model.config)
    if name == "vae":
        return convert_ldm_vae_checkpoint(tensors, model.config)
    if name == "text_encoder":
        return convert_ldm_clip_checkpoint(tensors)
    return convert_open_clip_checkpoint(model, tensors, prefix=family.text_prefixes[1])


def _levelled(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the level text_model, where the model has none.

    transformers >= 5.6 has no such level inside CLIPTextModel any more.
    """
    if not isinstance(model, CLIPTextModel) or hasattr(model, "text_model"):
        return weights
    return {key.removeprefix("text_model."): value for key, value in weights.items()}
