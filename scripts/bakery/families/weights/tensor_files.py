"""The tensors in a file of weights, and a model that is filled with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from bakery.families.recognise import PICKLES
from bakery.io.errors import BakeryError, first_line

Tensors = Mapping[str, torch.Tensor]
"""By name."""


def shown(names: Sequence[str]) -> str:
    """The first of them, for a sentence."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def read(path: str, file: Path, wanted: Sequence[str] | None = None) -> Tensors:
    """The tensors of a safetensors file by name, all of them or those that are wanted."""
    try:
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys() if wanted is None else wanted
            return {name: tensors.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BakeryError(
            f"train.base: cannot read {path} ({first_line(error)}): download it again"
        ) from None


def unpickle(path: str, file: Path) -> Tensors:
    """The tensors of a `.ckpt` or `.pt`, if nothing in it would run code."""
    if file.suffix.lower() not in PICKLES:
        raise BakeryError(
            f"train.base: {path} is neither .safetensors nor .ckpt: give a checkpoint, a "
            "diffusers folder or a hub id"
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
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


def every(path: str, file: Path) -> Tensors:
    """All tensors of a file of either kind."""
    return read(path, file) if file.suffix.lower() == ".safetensors" else unpickle(path, file)


def check_finite(path: str, name: str, model: nn.Module) -> None:
    """`BakeryError` for a weight of the part `name` that is NaN or infinite."""
    for key, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise BakeryError(
                f"train.base: {name} of {path} has NaN or infinite values in {key}: "
                "the file is damaged, download or export it again"
            )


def fill(path: str, name: str, model: nn.Module, weights: Tensors, dtype: torch.dtype) -> nn.Module:
    """Load `model`'s weights; `BakeryError` for a missing or unexpected one.

    They are copied out of the file: matrix products round differently at other alignments, and
    results should depend only on the numbers.
    """
    for key, value in weights.items():
        if not value.is_floating_point() and key in dict(model.named_parameters()):
            raise BakeryError(
                f"train.base: {key} in {name} of {path} holds {value.dtype} instead of floating-point "
                "numbers: download it again"
            )
    weights = {key: value.to(dtype, copy=True) for key, value in weights.items()}
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
