"""The parts of a model in a diffusers folder or hub repository."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from bakery.families.recognise import Header
from bakery.io import weight_files
from bakery.io.errors import BakeryError, first_line, reworded

log = logging.getLogger(__name__)

_WEIGHTS = (".weight", ".bias")
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_")
"""How the names of safetensors' floating-point types begin."""


def hub_header(path: str) -> Header:
    """The index of a hub repository."""
    from diffusers import DiffusionPipeline, ModularPipeline  # take seconds, and are seldom wanted

    try:
        try:
            config = DiffusionPipeline.load_config(path)
        except OSError:  # it has no such index
            config = ModularPipeline.load_config(path)
        return Header(pipeline=str(config["_class_name"]))
    except Exception as error:  # model libraries raise anything for a config that makes no sense
        raise BakeryError(
            f"train.base: cannot read the index of {path} ({first_line(error)}): "
            "check the hub id and the connection"
        ) from None


def outline(path: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of the folder or hub repository `path`, models without weights.

    `kinds` has the name of a subfolder -> the class of what it holds.
    """
    folder = Path(path)
    if folder.is_dir():
        missing = [name for name in kinds if not (folder / name).is_dir()]
        if missing:
            raise BakeryError(
                f"train.base: {path} lacks its {missing[0]} folder: download or export it again"
            )
    parts: dict[str, Any] = {}
    for name, kind in kinds.items():
        with _readable(path, name):
            if issubclass(kind, nn.Module):
                parts[name] = outline_of(path, kind, name)
            else:
                parts[name] = kind.from_pretrained(path, subfolder=name)
    return parts


def outline_of(path: str, kind: Any, inside: str) -> nn.Module:
    """A part in the subfolder `inside`, as its config describes it; all weights are on torch's meta
    device."""
    if issubclass(kind, PreTrainedModel):
        assert kind.config_class is not None
        config = kind.config_class.from_pretrained(path, subfolder=inside)
        with torch.device("meta"):
            return kind(config)
    settings = kind.load_config(path, subfolder=inside)
    with torch.device("meta"):
        return kind.from_config(settings)


def load(path: str, name: str, kind: Any, dtype: torch.dtype) -> nn.Module:
    """The part `name` of the folder or hub repository `path`, with its weights."""
    with _readable(path, name):
        return load_model(path, name, kind, dtype)


def _readable(path: str, name: str) -> AbstractContextManager[None]:
    return reworded(
        lambda problem: (
            f"train.base: cannot read {name} of {path} ({problem}): "
            "check the path, or download or export the model again"
        )
    )


def load_model(
    path: str, name: str, kind: Any, dtype: torch.dtype, subfolder: str | None = None
) -> nn.Module:
    """One part with all its weights; it is in the subfolder of its name, or in another."""
    inside = name if subfolder is None else subfolder
    check_numbers(path, name, Path(path) / inside)
    with _no_progress_bars():
        model, report = kind.from_pretrained(
            path,
            subfolder=inside,
            torch_dtype=dtype,
            output_loading_info=True,
        )
    if report["missing_keys"]:  # the libraries would fill them with random numbers
        raise BakeryError(
            f"train.base: {name} of {path} lacks the weight "
            f"{sorted(report['missing_keys'])[0]}: download or export it again"
        )
    if surplus := sorted(report["unexpected_keys"]):
        shown = ", ".join(surplus[:3]) + (" ..." if surplus[3:] else "")
        sentence = "%s: %d tensors of %s belong to no layer and are left out (%s)"
        log.warning(sentence, path, len(surplus), name, shown)
    return model


def check_numbers(path: str, name: str, folder: Path) -> None:
    """`BakeryError` for weights in `folder` that are no floating-point numbers.

    The libraries would turn them into such, and the model would be another one.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with weight_files.opened(file, where="train.base: ") as tensors:
            for key in tensors.keys():  # noqa: SIM118  no dict
                kind = tensors.get_slice(key).get_dtype()
                if key.endswith(_WEIGHTS) and not kind.startswith(_FLOATS):
                    raise BakeryError(
                        f"train.base: {key} in {name} of {path} holds {kind} instead of floating-point "
                        "numbers: download or export the model again"
                    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Progress bars of half a second of loading are useless and end up in log files."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
