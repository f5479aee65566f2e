"""The forms in which programs write one LoRA: kohya's names, and paths with dots.

    kohya            lora_unet_blocks_0_mlp_layer1.lora_down.weight, with an alpha for each layer
    diffusion_model  diffusion_model.blocks.0.mlp.layer1.lora_A.weight

The library works on kohya's names; which layer a path means, and the other way round, its family knows
(`Family.lora_name`, `Family.lora_path`). The second form is written without alphas, since diffusers and
other readers take none: the scale alpha / rank is in `lora_B`. Read, a layer without alpha has its rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from bakery.families import registry
from bakery.io.errors import BakeryError
from bakery.lora import lora_file

Tensor = TypeVar("Tensor")
"""A tensor, or what stands for one."""
KOHYA, DOTTED = "kohya", "diffusion_model"
"""train.save_format."""
_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_WORDS = {
    "lora_A.weight": _DOWN,
    "lora_B.weight": _UP,
    "lora_A.default.weight": _DOWN,
    "lora_B.default.weight": _UP,
    "lora.down.weight": _DOWN,
    "lora.up.weight": _UP,
    _DOWN: _DOWN,
    _UP: _UP,
    _ALPHA: _ALPHA,
}
"""What ends a key in any form -> kohya's word for it."""
_OTHERS = {
    ".lokr_": "a LoKr",
    ".hada_": "a LoHa",
    ".dora_scale": "a DoRA",
    ".lora_magnitude_vector": "a DoRA",
    ".oft_": "an OFT",
    ".lora_mid": "a LoCon with Tucker's decomposition",
}
"""A part of a key -> the kind of network that has it."""


@dataclass(frozen=True)
class Converted:
    """A file that was written in another form."""

    form: str
    layers: int
    model_hash: str


def convert(source: Path, target: Path, form: str | None = None) -> Converted:
    """Write the LoRA file `source` as `target` in `form`, None for the one that it does not have.

    Its metadata go along, with the hashes of the new file and that of the old one. Raises `BakeryError`
    for what is no LoRA file, or has no such form.
    """
    state, metadata = lora_file.read_lora(source)
    before = form_of(state)
    form = form or {KOHYA: DOTTED, DOTTED: KOHYA}[before]
    try:
        if form == before:
            raise BakeryError(f"LoRA: it has the form {form} already: use it as it is")
        plain = with_alphas(kohya(state))
        written = dotted(plain) if form == DOTTED else plain
    except BakeryError as error:
        raise BakeryError(f"{source}: {error}") from None
    model_hash = lora_file.model_hash(source) or ""
    more = {lora_file.CONVERTED: metadata.get(lora_file.CONVERTED, model_hash)}
    new_hash = lora_file.write(target, written, {**metadata, **more})
    return Converted(form, len({key.partition(".")[0] for key in plain}), new_hash)


def with_alphas(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A LoRA with kohya's names and an alpha for each layer, as sd-scripts wants it: else the rank."""
    found = dict(state)
    for key, down in state.items():
        name, _, word = key.partition(".")
        if word == _DOWN and f"{name}.{_ALPHA}" not in state:
            found[f"{name}.{_ALPHA}"] = torch.tensor(float(down.shape[0]), dtype=down.dtype)
    return found


def form_of(names: Mapping[str, object]) -> str:
    """The form of a file with these keys."""
    return DOTTED if any(_renamed(name) != name for name in names) else KOHYA


def kohya(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A LoRA of any form under kohya's names; what is in no known form stays as it is.

    Only the keys are looked at: their values may be anything that stands for the tensors.

    Raises `BakeryError` where two keys mean the same tensor, and for other kinds of networks.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if kind := next((what for part, what in _OTHERS.items() if part in key), None):
            raise BakeryError(f"LoRA: {key} is of {kind}: only plain LoRAs are read")
        name = _renamed(key)
        if name in found:
            raise BakeryError(f"LoRA: the key {key} is there in two forms: use a file with one")
        found[name] = tensor
    return found


def dotted(
    state: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """A LoRA with kohya's names in the dotted form, as numbers of `dtype`, else of their own.

    Raises `BakeryError` for LoRAs of families that have no such files, for other layers' keys and for
    half an adapter.
    """
    family = registry.family_of_lora(state)
    found = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in state):
        path = family.lora_path(name) if family is not None else None
        if path is None:
            whose = f"LoRAs for {family.title}" if family is not None else "it"
            raise BakeryError(
                f"LoRA: {name} has no name in the form {DOTTED}: {whose} can only be written in the "
                f"form {KOHYA}"
            )
        down, up, alpha = (state.get(f"{name}.{word}") for word in (_DOWN, _UP, _ALPHA))
        if down is None or up is None:
            lacking = _UP if up is None else _DOWN
            raise BakeryError(f"LoRA: {name} has no {lacking}: the file is incomplete")
        scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
        scaled = (up.float() * scale).to(dtype or up.dtype)
        found[f"{path}.lora_A.weight"] = down.to(dtype or down.dtype).contiguous()
        found[f"{path}.lora_B.weight"] = scaled.contiguous()
    return found


def _renamed(key: str) -> str:
    """kohya's key for the same tensor, or the key itself."""
    for end, word in _WORDS.items():
        path = key.removesuffix(f".{end}")
        if path == key or "." not in path:
            continue
        name = next((found for f in registry.FAMILIES if (found := f.lora_name(path))), None)
        return key if name is None else f"{name}.{word}"
    return key
