"""Anima's parts, read and checked: from a diffusers folder, a hub repository, or files of their own.

`Files.outline` reads everything but weights and checks that the parts are of one model; `Files.load`
reads the weights of one part. Nothing is looked for anywhere but where the config names it and beside a
file: the tokenizers' folders, `scheduler`, and configs for what no tensor's shape tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Files:
    """Where a model's parts are, under the names of a diffusers folder."""

    place: Place
    dtype: torch.dtype

    @property
    def pieces(self) -> dict[str, str]:
        """The places that are named, by part; `checkpoint` has all parts that none is named for."""
        return {"checkpoint": self.place} if isinstance(self.place, str) else dict(self.place)

    @property
    def path(self) -> str:
        """Of the transformer."""
        return self.pieces["checkpoint"]

    def outline(self) -> dict[str, Any]:
        """All parts; models are on torch's meta device, in the precision that they will have."""
        pieces, path = self.pieces, self.path
        parts: dict[str, Any] = {}
        if Path(path).is_file():
            parts["scheduler"] = _scheduler(Path(path))
        else:
            kinds = {name: kind for name, kind in KINDS.items() if name not in pieces}
            parts = diffusers_folder.outline(path, kinds)
        for name in MODELS:
            if name not in parts:
                with _named(name, pieces), torch.device("meta"):
                    parts[name] = self._outline_of(name)
            nn.Module.to(parts[name], self.dtype)
            parts[name].requires_grad_(False).eval()
        for name in _TOKENIZERS:
            if name not in parts:
                parts[name] = _own_tokenizer(name, path, pieces)
        _check(pieces, parts)
        return parts

    def load(self, name: str) -> nn.Module:
        """The model `name` with its weights, on the CPU."""
        path = self._path_of(name)
        with _named(name, self.pieces):
            if Path(path).is_file():
                model = self._filled(name)
            else:
                model = diffusers_folder.load_model(
                    path, name, KINDS[name], self.dtype, subfolder=self._subfolder(name)
                )
            tensor_files.check_finite(path, name, model)
        return model.requires_grad_(False).eval()

    def digest(self, name: str) -> str | None:
        """sha256 over the files that `name` is read from; None for a hub id."""
        place = Path(self._path_of(name))
        return tensor_files.digest_of(place / self._subfolder(name) if place.is_dir() else place)

    def _path_of(self, name: str) -> str:
        return self.pieces.get(name, self.path)

    def _subfolder(self, name: str) -> str:
        """Where a part is inside of its folder or hub repository."""
        if name not in self.pieces or (Path(self.pieces[name]) / name).is_dir():
            return name
        return ""

    def _outline_of(self, name: str) -> nn.Module:
        path = self._path_of(name)
        if Path(path).is_file():
            return _empty(name, self._config(name))
        if Path(path).is_dir():
            _check_kind(name, path, Path(path) / self._subfolder(name) / "config.json")
        return diffusers_folder.outline_of(path, KINDS[name], self._subfolder(name))

    def _names(self, name: str) -> dict[str, str]:
        """A part's tensors in its file: name without prefix -> name in the file."""
        header = recognise.header(self._path_of(name))
        every = {key: key for key in (header.shapes if header is not None else ())}
        if name not in self.pieces:
            return names.split(every)[name]
        return names.language_model(every) if name == "text_encoder" else every

    def _config(self, name: str) -> dict[str, Any]:
        """What the shapes in a part's file tell of it, and a config beside the file."""
        header = recognise.header(self._path_of(name))
        assert header is not None
        found = {plain: header.shapes[key] for plain, key in self._names(name).items()}
        config: dict[str, Any] = getattr(shapes, name)(found)
        beside = self._config_beside(name)
        if beside is not None and beside.is_file():
            said = json.loads(beside.read_text(encoding="utf-8"))
            config |= {key: said[key] for key in _UNSEEN[name] if key in said}
        if "rope_parameters" in config:
            config.pop("rope_theta", None)
        return config

    def _config_beside(self, name: str) -> Path | None:
        folder = Path(self._path_of(name)).parent
        if name in self.pieces:
            return folder / "config.json"
        return None if recognise.index_of(folder) is None else folder / name / "config.json"

    def _filled(self, name: str) -> nn.Module:
        path, kept = self._path_of(name), self._names(name)
        with init_empty_weights():
            model = _empty(name, self._config(name))
        tensors = tensor_files.read(path, Path(path), list(kept.values()))
        plain = {short: tensors[key] for short, key in kept.items()}
        del tensors  # `fill` frees what it has copied
        return tensor_files.fill(path, name, model, _renamed(name, plain), self.dtype)


@contextmanager
def _named(name: str, pieces: Mapping[str, str]) -> Iterator[None]:
    """Turns whatever model libraries raise into a sentence that names the part, if it has a place."""
    where = f"train.base.{name}:" if name in pieces else "train.base:"
    path = pieces.get(name, pieces["checkpoint"])
    try:
        yield
    except BakeryError as problem:
        raise BakeryError(str(problem).replace("train.base:", where, 1)) from None
    except KeyError as missing:
        raise BakeryError(
            f"{where} {name} of {path} lacks the weight {missing}: download it again"
        ) from None
    except Exception as error:
        raise BakeryError(
            f"{where} {path} cannot be read as Anima's {name} ({first_line(error)}): give the one that "
            "Anima is published with, as a .safetensors file, a folder with config.json, or a hub id"
        ) from None


def _scheduler(file: Path) -> Any:
    """From a folder beside a checkpoint, else with the usual shift."""
    if recognise.index_of(file.parent) is not None and (file.parent / "scheduler").is_dir():
        return KINDS["scheduler"].from_pretrained(file.parent, subfolder="scheduler")
    return KINDS["scheduler"](shift=shapes.SHIFT)


def _empty(name: str, config: Mapping[str, Any]) -> nn.Module:
    if name == "text_encoder":
        return Qwen3Model(Qwen3Config(**config))
    return KINDS[name](**config)


def _renamed(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
