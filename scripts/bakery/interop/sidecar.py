"""The files that A1111 (and its forks) reads next to a LoRA: `<name>.json` and
`<name>.preview.png`.

Texts are given literally and written as A1111 reads them (`prompt_syntax`). Clicking the card adds
`<lora:name:preferred weight> activation text` to the prompt; the picture, the description and the
notes are shown. Read by modules/ui_extra_networks.py and
extensions-builtin/Lora of AUTOMATIC1111/stable-diffusion-webui.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakery.families import registry
from bakery.interop import prompt_syntax
from bakery.io import weight_files
from bakery.io.files import write_text

VERSIONS = ("SD1", "SD2", "SDXL")
"""A1111's words for the family of a base, as far as we bake for it."""
TOGETHER = "bakery_baked_together"
"""In the metadata: how many bakes shared the process, `4, then 2` where that changed on the way."""
_COMMENTS = "A1111 cuts a prompt at #: switch off its setting Enable comments for this trigger"


def describe(
    metadata: Mapping[str, str],
    *,
    name: str = "",
    activation: str = "",
    weight: float = 1.0,
    negative: str = "",
    notes: str = "",
) -> dict[str, Any]:
    """The content of `<name>.json` for a LoRA with this metadata (see `metadata.describe`).

    `name` is what the file is called; without it, the name in the metadata. `activation` and
    `negative` are literal. Without `activation`, the trigger phrase of the metadata is used. `weight`
    0 leaves the choice to the program; `notes` is added to what the metadata tells.
    """

    def known(key: str) -> str:
        return metadata.get(f"ss_{key}", "?")

    activation = activation or metadata.get("modelspec.trigger_phrase", "")
    epoch = f"epoch {known('epoch')} of {known('num_epochs')}"
    size = f"dim {known('network_dim')}, alpha {known('network_alpha')}"
    rates = f"unet_lr {known('unet_lr')}, text_encoder_lr {known('text_encoder_lr')}"
    told = [
        f"{epoch}, {known('steps')} steps of {known('max_train_steps')}",
        f"{size}; {rates}; {known('lr_scheduler')}",
        f"base {known('sd_model_name')}{_clip_skip(metadata)}",
        f"sshs_model_hash {metadata.get('sshs_model_hash', '?')}",
        _COMMENTS if prompt_syntax.has_comment(activation) else "",
        notes,
    ]
    return {
        "description": f"{name or known('output_name')}, {epoch}",
        "sd version": _version(metadata),
        "activation text": prompt_syntax.escape(activation),
        "preferred weight": weight,
        "negative text": prompt_syntax.escape(negative),
        "notes": "\n".join(line for line in told if line),
    }


def write(lora: Path, **facts: Any) -> Path:
    """Write `<name>.json` beside `lora`, from its own metadata and `facts` (see `describe`)."""
    path = lora.with_suffix(".json")
    text = json.dumps(describe(metadata_of(lora), **facts), indent=4, ensure_ascii=False)
    write_text(path, text + "\n")
    return path


def metadata_of(lora: Path) -> dict[str, str]:
    """The metadata of a LoRA file. Raises `BakeryError` for one that cannot be read."""
    return weight_files.metadata(lora, "download or bake it again")


def trained_together(lora: Path) -> str:
    """How many bakes shared the process of a LoRA: `1`, `3`, `4, then 2`. Raises as `metadata_of`."""
    return metadata_of(lora).get(TOGETHER, "1")


def _clip_skip(metadata: Mapping[str, str]) -> str:
    """`, clip skip 2`, as A1111 calls it; "" where there is none."""
    said = metadata.get("ss_clip_skip", "?")
    family = registry.family_of_metadata(metadata)
    if family is not None and said != "?":
        said = str(family.called_clip_skip(int(said) if said.isdecimal() else 1) or "")
    return said and f", clip skip {said}"


def _version(metadata: Mapping[str, str]) -> str:
    """As A1111 itself would tell from the metadata."""
    if metadata.get("ss_v2") == "True":
        return "SD2"
    family = registry.family_of_metadata(metadata)
    return family.webui_version if family else "SD1"
