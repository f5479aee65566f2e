"""What the infotexts of samples say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bakery.families.recognise import PICKLES, Place, main_part
from bakery.interop import infotext
from bakery.sampling.prompts import Cell, GridRow
from bakery.settings.sample import Sample


def common_settings(
    settings: Sample, base: Place, clip_skip: int | None, schedule_type: str = ""
) -> dict[str, str]:
    """What the infotexts of all pictures say, in A1111's order and words, without empty values.

    `clip_skip` is as other programs call it (`Customs.called_clip_skip`).
    """
    facts = {
        "Steps": str(settings.steps),
        "Sampler": settings.sampler,
        "Schedule type": schedule_type,
        "CFG scale": f"{settings.cfg_scale:g}",
        "Seed": "?",  # each picture's own
        "Size": f"{settings.width}x{settings.height}",
        "Model": model_name(base),
        "Clip skip": str(clip_skip or ""),
        "RNG": "CPU",
    }
    return {name: value for name, value in facts.items() if value}


def describe(
    cell: Cell, epoch: GridRow, negative: str, facts: Mapping[str, str]
) -> infotext.Infotext:
    """The infotext of a picture; `facts` as `common_settings` gives them."""
    facts = {**facts, "Seed": str(cell.seed)}
    if epoch.file is None:
        return infotext.Infotext(cell.prompt, negative, facts)
    name = epoch.file.stem
    # A1111 shows the first 12 digits of sshs_model_hash
    facts["Lora hashes"] = f"{name}: {epoch.sshs_model_hash[:12]}"
    return infotext.Infotext(cell.prompt, negative, facts, {name: epoch.weight})


def model_name(base: Place) -> str:
    """As A1111 calls a checkpoint: the file's name without extension."""
    path = Path(main_part(base))
    if path.suffix.lower() in (".safetensors", *PICKLES):
        return path.stem
    return path.name or path.resolve().name
