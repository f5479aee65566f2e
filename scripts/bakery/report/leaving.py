"""A LoRA file that leaves results/train, with what belongs beside it.

Its name says the bake and the epoch (`mirael-lr0.002-e03`), so that all epochs of all bakes can lie in
one folder of an image generator, which knows a LoRA by its file name alone.
"""

from __future__ import annotations

from pathlib import Path

from bakery.interop import previews, sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.files import link
from bakery.report.results import BakeResult, Shot

EXTENSION = ".safetensors"


def place(one: BakeResult, epoch: int, out: Path, *, notes: str = "") -> list[Path]:
    """Write the LoRA of `epoch` into `out`, as another name of the trained file if possible, with
    A1111's sidecar and preview; return the three files.

    Raises `BakeryError` where the LoRA or a picture of it is missing, or is not as it was made.
    """
    source = one.bake.folders["train"] / one.epoch(epoch).file
    if not source.is_file():
        raise BakeryError(f"{source} does not exist: run the train stage again")
    manifest.checked(one.bake.folders["train"], source.name)
    name = one.bake.lora_name(epoch)
    lora = out / f"{name}{EXTENSION}"
    link(source, lora)
    card = sidecar.write(
        lora,
        name=name,
        activation=one.bake.trigger,
        weight=one.weight,
        negative=str(one.bake.settings.get("sample.negative_prompt", "")),
        notes=notes,
    )
    beside = out / f"{name}{previews.SUFFIX}"
    shot = preview(one, epoch)
    previews.write(shot.path, beside, shot.infotext)
    return [lora, card, beside]


def preview(one: BakeResult, epoch: int) -> Shot:
    """The identity picture of the first seed with the highest score; among equals the first."""
    shots = [shot for shot in one.shots.values() if shot.epoch == epoch]
    if not shots:
        folder = one.bake.folders["sample"]
        raise BakeryError(f"{folder} has no picture of epoch {epoch}: run the sample stage again")
    shots = [shot for shot in shots if shot.purpose == "identity"] or shots
    first = [shot for shot in shots if shot.seed == shots[0].seed]
    return max(first, key=lambda shot: -1.0 if shot.score != shot.score else shot.score)
