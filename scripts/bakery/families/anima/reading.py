"""Anima's parts, read and checked: from a diffusers folder, a hub repository, or files of their own.

Nothing is looked for anywhere but where the config names it, and in the tokenizers' folders beside a
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import (
    AnimaTextConditioner,
    AutoencoderKLQwenImage,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model, T5Tokenizer

from bakery.families import diffusers_folder, recognise
from bakery.families.anima import names, refusals, shapes
from bakery.families.recognise import Place
from bakery.families.weights import tensor_files
from bakery.families.weights.tensor_files import Tensors
from bakery.io.errors import BakeryError, first_line

KINDS: Mapping[str, Any] = {
    "transformer": CosmosTransformer3DModel,
    "text_conditioner": AnimaTextConditioner,
    "text_encoder": Qwen3Model,
    "vae": AutoencoderKLQwenImage,
    "tokenizer": Qwen2Tokenizer,
    "t5_tokenizer": T5Tokenizer,
    "scheduler": FlowMatchEulerDiscreteScheduler,
}
"""A part's folder in a diffusers model -> what it holds."""
MODELS = ("transformer", "text_conditioner", "text_encoder", "vae")
_TOKENIZERS = {
    "tokenizer": "Qwen3-0.6B-Base's (tokenizer.json)",
    "t5_tokenizer": "T5-v1.1-xxl's (tokenizer.json)",
}
_UNSEEN = {
    "transformer": ("max_size", "rope_scale"),
    "text_conditioner": ("min_sequence_length", "use_layer_norm"),
    "text_encoder": ("rope_theta", "rope_parameters", "rms_norm_eps", "max_position_embeddings"),
    "vae": ("latents_mean", "latents_std"),
}
"""What no tensor's shape tells, and a config beside the file may."""


def read(place: Place, dtype: torch.dtype) -> dict[str, Any]:
    """The parts, with the names of a diffusers folder."""
    pieces = {"checkpoint": place} if isinstance(place, str) else dict(place)
    path = pieces["checkpoint"]
    if Path(path).is_file():
        parts = _of_file(path, pieces, dtype)
    else:
        kinds = {name: kind for name, kind in KINDS.items() if name not in pieces}
        parts = diffusers_folder.load(path, kinds, lambda _: dtype)
    if "text_encoder" in pieces:
        parts["text_encoder"] = _own_model("text_encoder", pieces["text_encoder"], dtype)
    if "vae" in pieces:
        parts["vae"] = _own_model("vae", pieces["vae"], dtype)
    for name in _TOKENIZERS:
        if name not in parts:
            parts[name] = _own_tokenizer(name, path, pieces)
    _check(pieces, parts)
    return parts


def _of_file(path: str, pieces: Mapping[str, str], dtype: torch.dtype) -> dict[str, Any]:
    """What a single file holds of the parts that have no file of their own, and the usual scheduler."""
    file = Path(path)
    inside = names.split(tensor_files.every(path, file))
    configs = file.parent if recognise.index_of(file.parent) is not None else None
    parts: dict[str, Any] = {"scheduler": FlowMatchEulerDiscreteScheduler(shift=shapes.SHIFT)}
    if configs is not None and (configs / "scheduler").is_dir():
        parts["scheduler"] = FlowMatchEulerDiscreteScheduler.from_pretrained(
            configs, subfolder="scheduler"
        )
    for name, tensors in inside.items():
        if name not in pieces:
            beside = None if configs is None else configs / name / "config.json"
            parts[name] = _filled(path, name, tensors, beside, dtype)
    return parts


def _filled(
    path: str, name: str, tensors: Tensors, beside: Path | None, dtype: torch.dtype
) -> nn.Module:
    """A part whose tensors have the names of its makers, without prefix."""
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    try:
        config = getattr(shapes, name)(found)
        if beside is not None and beside.is_file():
            said = json.loads(beside.read_text(encoding="utf-8"))
            config |= {key: said[key] for key in _UNSEEN[name] if key in said}
        if "rope_parameters" in config:
            config.pop("rope_theta", None)
        with init_empty_weights():
            model = _empty(name, config)
        weights = _renamed(name, tensors)
        model = tensor_files.fill(path, name, model, weights, dtype)
    except BakeryError:
        raise
    except KeyError as missing:
        raise BakeryError(
            f"train.base: {name} of {path} lacks the weight {missing}: download it again"
        ) from None
    except Exception as error:  # model libraries raise anything
        raise BakeryError(
            f"train.base: the weights of {name} in {path} do not fit the shape of Anima's "
            f"({first_line(error)}): download it again"
        ) from None
    return model


def _empty(name: str, config: Mapping[str, Any]) -> nn.Module:
    if name == "text_encoder":
        return Qwen3Model(Qwen3Config(**config))
    return KINDS[name](**config)


def _renamed(name: str, tensors: Tensors) -> Tensors:
    """The tensors under diffusers' names; what has none keeps its own."""
    if name == "vae" and names.VAE_SIGNS[0] in tensors:
        renamed = names.vae_to_diffusers(tensors)
        return {renamed.get(key, key): value for key, value in tensors.items()}
    if name != "transformer":
        return tensors
    found = {}
    for key, value in tensors.items():
        layer, _, kind = key.rpartition(".")
        found[f"{names.to_diffusers(layer) or layer}.{kind}"] = value
    return found


def _own_model(name: str, path: str, dtype: torch.dtype) -> nn.Module:
    """A part from its own place: a file, its folder, a whole model or a hub id."""
    place = Path(path)
    try:
        if place.is_file():
            tensors = tensor_files.every(path, place)
            if name == "text_encoder":
                tensors = names.language_model(tensors)
            return _filled(path, name, tensors, place.parent / "config.json", dtype)
        inside = name if (place / name).is_dir() else ""
        if place.is_dir():
            _check_kind(name, path, place / inside / "config.json")
        return diffusers_folder.load_model(path, name, KINDS[name], dtype, subfolder=inside)
    except BakeryError as problem:
        raise BakeryError(str(problem).replace("train.base:", f"train.base.{name}:", 1)) from None
    except Exception as error:  # model libraries raise anything
        raise BakeryError(
            f"train.base.{name}: cannot read {path} ({first_line(error)}): give a .safetensors file, "
            "a folder with config.json in it, or a hub id"
        ) from None


def _check_kind(name: str, path: str, config: Path) -> None:
    """`BakeryError` for a folder with another kind of model."""
    said = json.loads(config.read_text(encoding="utf-8"))
    kind, wanted = said.get("_class_name") or said.get("model_type"), {"vae": KINDS["vae"].__name__}
    if kind != wanted.get(name, "qwen3"):
        raise BakeryError(
            f"train.base: {path} holds a {kind}: give the {name} that Anima is published with"
        )


def _own_tokenizer(name: str, path: str, pieces: Mapping[str, str]) -> Any:
    """From where it is named, else from a folder beside the checkpoint or the text encoder's."""
    place = pieces.get(name) or _beside(name, Path(path), pieces.get("text_encoder"))
    if place is None:
        raise BakeryError(
            f"train.base: {path} needs a tokenizer that no checkpoint holds: put the folder `{name}` of "
            f"a diffusers model of Anima beside it, or name {name} in train.base: a folder with "
            f"{_TOKENIZERS[name]}, or a hub id"
        )
    subfolder = "" if Path(place).is_dir() and not (Path(place) / name).is_dir() else name
    try:
        try:
            return KINDS[name].from_pretrained(place, subfolder=subfolder)
        except OSError:
            if Path(place).is_dir():
                raise
            return KINDS[name].from_pretrained(place)  # a hub repository of nothing else
    except Exception as error:  # model libraries raise anything
        raise BakeryError(
            f"train.base.{name}: cannot read {place} ({first_line(error)}): give a folder with "
            f"{_TOKENIZERS[name]}, or a hub id"
        ) from None


def _beside(name: str, file: Path, text_encoder: str | None) -> str | None:
    if (file.parent / name).is_dir():
        return str(file.parent / name)
    if name == "tokenizer" and text_encoder is not None:
        holds_one = (Path(text_encoder) / "tokenizer.json").is_file()
        if holds_one or not Path(text_encoder).exists():  # else it is a hub id, which is named
            return text_encoder
    return None


def _check(pieces: Mapping[str, str], parts: Mapping[str, Any]) -> None:
    """`BakeryError` unless the parts are those of one model, whole and with numbers in them."""
    path = pieces["checkpoint"]
    transformer, conditioner, text_encoder, vae = (parts[name].config for name in MODELS)
    refusals.check_text(
        path, pieces.get("text_encoder", path), conditioner.source_dim, text_encoder.hidden_size
    )
    refusals.check_channels(path, pieces.get("vae", path), transformer.in_channels, vae.z_dim)
    if conditioner.target_dim != transformer.text_embed_dim:
        raise BakeryError(
            f"train.base: the transformer of {path} takes text of width {transformer.text_embed_dim}, "
            f"and its text adapter gives {conditioner.target_dim}: these parts are of different models"
        )
    if not transformer.concat_padding_mask or transformer.extra_pos_embed_type is not None:
        raise BakeryError(
            f"train.base: the transformer of {path} is one of Cosmos', not Anima's: it has other inputs"
        )
    for name, known in (("tokenizer", text_encoder.vocab_size),
                        ("t5_tokenizer", conditioner.target_vocab_size)):  # fmt: skip
        words = parts[name].get_vocab()
        if len(words) < 0.9 * known or max(words.values()) >= known:
            raise BakeryError(
                f"train.base: the {name} of {pieces.get(name, path)} has {len(words)} words, and the "
                f"model knows {known}: it is incomplete, or of another model; take {_TOKENIZERS[name]}"
            )
    for name in MODELS:
        tensor_files.check_finite(pieces.get(name, path), name, parts[name])
