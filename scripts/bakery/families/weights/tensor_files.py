"""The tensors in a file of weights, and a model that is filled with them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from bakery.families import recognise
from bakery.families.recognise import PICKLES
from bakery.io import walk, weight_files
from bakery.io.errors import BakeryError, first_line
from bakery.io.manifest import digest

Tensors = Mapping[str, torch.Tensor]
"""By name."""


def shown(names: Sequence[str]) -> str:
    """The first of them, for a sentence."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def read(path: str, file: Path, wanted: Sequence[str] | None = None) -> Tensors:
    """The tensors of a file by name, all of them or those that are wanted."""
    if file.suffix.lower() != ".safetensors":
        pickled = unpickle(path, file)
        return {name: pickled[name] for name in (pickled if wanted is None else wanted)}
    with weight_files.opened(file, where="train.base: ", framework="pt") as tensors:
        names = tensors.keys() if wanted is None else wanted
        return {name: tensors.get_tensor(name) for name in names}


def unpickle(path: str, file: Path) -> Tensors:
    """The tensors of a `.ckpt` or `.pt`, if nothing in it would run code."""
    if file.suffix.lower() not in PICKLES:
        raise BakeryError(
            f"train.base: {path} is neither .safetensors nor .ckpt: give a checkpoint, a "
            "diffusers folder or a hub id"
        )
    try:
        # a zip is read where it is: a part does not bring the others into memory
        is_zip = zipfile.is_zipfile(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged pickle leads torch's reader anywhere
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


def digest_of(place: Path) -> str | None:
    """sha256 over a file of weights, or over all files of a folder with a part; None for a hub id."""
    if place.is_file():
        return recognise.hashes(str(place))[1]
    if not place.is_dir():
        return None
    listing = [(file.name, digest(file)) for file in walk.files(place)]
    return hashlib.sha256(repr(sorted(listing)).encode()).hexdigest()


def check_finite(path: str, name: str, model: nn.Module) -> None:
    """`BakeryError` for a weight of the part `name` that is NaN or infinite."""
    for key, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise BakeryError(
                f"train.base: {name} of {path} has NaN or infinite values in {key}: "
                "the file is damaged, download or export it again"
            )


def fill(
    path: str, name: str, model: nn.Module, weights: dict[str, torch.Tensor], dtype: torch.dtype
) -> nn.Module:
    """Load `model`'s weights; `BakeryError` for a missing or unexpected one.

    They are copied out of the file one by one: matrix products round differently at other alignments,
    and results should depend only on the numbers.
    """
    for key, value in weights.items():
        if not value.is_floating_point() and key in dict(model.named_parameters()):
            raise BakeryError(
                f"train.base: {key} in {name} of {path} holds {value.dtype} instead of floating-point "
                "numbers: download it again"
            )
    for key in list(weights):
        weights[key] = weights[key].to(dtype, copy=True)
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
