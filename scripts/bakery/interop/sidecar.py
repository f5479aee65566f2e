"""The files that A1111 (and its forks) reads next to a LoRA: `<name>.json` and
`<name>.preview.png`.

Texts are given literally and written as A1111 reads them (`prompt_syntax`). Clicking the card adds
`<lora:name:preferred weight> activation text` to the prompt; the picture, the description and the
notes are shown. Read by modules/ui_extra_networks.py and
extensions-builtin/Lora of AUTOMATIC1111/stable-diffusion-webui.

Steps of `gather`: link each epoch's LoRA under a name of its own, write its sidecar, copy the first
identity sample as its preview. A folder so filled can be A1111's models/Lora.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bakery.families import registry
from bakery.interop import prompt_syntax
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.io.files import link, write_text

VERSIONS = ("SD1", "SD2", "SDXL")
"""A1111's words for the family of a base, as far as we bake for it."""
_COMMENTS = "A1111 cuts a prompt at #: switch off its setting Enable comments for this trigger"


def describe(
    metadata: Mapping[str, str],
    *,
    activation: str = "",
    weight: float = 1.0,
    negative: str = "",
    notes: str = "",
) -> dict[str, Any]:
    """The content of `<name>.json` for a LoRA with this metadata (see `metadata.describe`).

    `activation` and `negative` are literal. Without `activation`, the trigger phrase of the
    metadata is used. `weight` 0 leaves the choice to the program; `notes` is added to what the
    metadata tells.
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
        f"base {known('sd_model_name')}, clip skip {known('clip_skip')}",
        f"sshs_model_hash {metadata.get('sshs_model_hash', '?')}",
        _COMMENTS if prompt_syntax.has_comment(activation) else "",
        notes,
    ]
    return {
        "description": f"{known('output_name')}, {epoch}",
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


def gather(
    train: Path, sample: Path, out: Path, *, name: str, epoch: int | None = None
) -> list[Path]:
    """Fill `out` with the LoRAs of a bake, each with sidecar and preview; gives the LoRA files.

    They are called `<name>-<epoch as six digits>`, so that bakes can lie side by side: A1111 knows
    a LoRA by its file name alone. `epoch` picks one. Raises `BakeryError` if it was not saved.
    """
    saved = tables.records(tables.read(train / "epochs.csv", ("epoch", "file")))
    wanted = [row for row in saved if epoch is None or int(row["epoch"]) == epoch]
    if not wanted:
        known = ", ".join(row["epoch"] for row in saved)
        raise BakeryError(f"{train} has no epoch {epoch}: saved are {known}")
    drawn = manifest.read(sample)["settings"]
    samples = tables.records(tables.read(sample / "samples.csv", ("epoch", "purpose", "image")))
    out.mkdir(parents=True, exist_ok=True)
    return [
        _place(train / row["file"], out / f"{name}-{int(row['epoch']):06d}.safetensors", drawn,
               sample / "images" / _preview(samples, row["epoch"], sample))
        for row in wanted
    ]  # fmt: skip


def sample_of(train: Path) -> Path:
    """The finished sample folder that stands on the bake in `train` (`results/train/<name>`)."""
    for path in sorted((train.parent.parent / "sample").glob(f"*/{manifest.NAME}")):
        if manifest.read(path.parent)["above"].get(train.name) == "train":
            return path.parent
    raise BakeryError(f"{train} has no finished samples, so there is no preview: run the workflow")


def metadata_of(lora: Path) -> dict[str, str]:
    """The metadata of a LoRA file, its tensors left unread."""
    try:
        with safe_open(lora, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BakeryError(f"{lora} is not a readable LoRA file ({reason}): bake it again") from None


def _version(metadata: Mapping[str, str]) -> str:
    """As A1111 itself would tell from the metadata."""
    if metadata.get("ss_v2") == "True":
        return "SD2"
    family = registry.family_of_metadata(metadata)
    return family.webui_version if family else "SD1"


def _preview(samples: list[dict[str, str]], epoch: str, sample: Path) -> str:
    """The first picture that asks for the character alone, else the epoch's first."""
    own = [row for row in samples if int(row["epoch"]) == int(epoch)]
    if not own:
        raise BakeryError(f"{sample} has no picture of epoch {epoch}: run the sample stage again")
    return next((row for row in own if row["purpose"] == "identity"), own[0])["image"]


def _place(lora: Path, target: Path, drawn: Mapping[str, Any], preview: Path) -> Path:
    """One LoRA with what belongs beside it; the trigger is the one written when it was baked."""
    beside = lora.with_suffix(".json")
    told = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    link(lora, target)
    write(
        target,
        activation=prompt_syntax.unescape(told.get("activation text", "")),
        weight=drawn["lora_weight"],
        negative=drawn["negative_prompt"],
    )
    if not preview.is_file():
        raise BakeryError(f"{preview} is missing: run the sample stage again")
    shutil.copyfile(preview, target.with_suffix(".preview.png"))
    return target
