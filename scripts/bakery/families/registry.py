"""The known families, and which of them a model belongs to. Importing this does not load torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bakery.families import recognise
from bakery.families.anima.family import Anima
from bakery.families.family import DENOISER, LATENTS, TEXTS, Family
from bakery.families.recognise import Header, Place
from bakery.families.sd import SD1
from bakery.families.sdxl import SDXL
from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    import torch

    from bakery.families.family import Model

FAMILIES: tuple[Family, ...] = (
    SD1(),
    SDXL(),
    Anima(),
)
"""A line a family."""


def titles() -> str:
    """`SD 1.x, SDXL or Anima`."""
    *others, last = (family.title for family in FAMILIES)
    return f"{', '.join(others)} or {last}"


def family_of(place: Place) -> Family | None:
    """The family of the model at `place`; None for a hub id, which has to be asked.

    Raises `BakeryError` for parts that no family knows, for a file that is no model or a damaged one,
    for a model of no known family and for parts of different models.
    """
    check_parts(place)
    place = ordered(place)
    path = recognise.main_part(place)
    header = recognise.header(path)
    if header is None:
        return None
    family = recognised(path, header)
    if not strange_parts(family, place):
        family.check_place(place)
    return family


def recognised(path: str, header: Header) -> Family:
    """The family that a header shows; `BakeryError` for the rest."""
    signs = (header.stranger, *(family.stranger(header) for family in FAMILIES))
    stranger = next(filter(None, signs), "")
    found = [family for family in FAMILIES if not stranger and family.recognises(header)]
    if found:
        return found[0]
    what = stranger or (f"a {header.pipeline}" if header.pipeline else "not a supported model")
    raise BakeryError(f"train.base: {path} is {what}: give a whole {titles()} model")


def guessed(hub_id: str) -> Family:
    """The family that a hub id's name speaks of; the first one if it says nothing."""
    said = (
        family
        for family in FAMILIES
        if family.hub_words and re.search(family.hub_words, hub_id, re.IGNORECASE)
    )
    return next(said, FAMILIES[0])


def ordered(place: Place) -> Place:
    """`place` with the part first that shows the family."""
    if isinstance(place, str):
        return place
    firsts = [family.parts[0] for family in FAMILIES if family.parts[0] in place]
    return {name: place[name] for name in sorted(place, key=lambda name: name not in firsts)}


def versions(family: Family | None) -> dict[str, int]:
    """The family's part of a bake's key: the code version, once it is above 1.

    If the family is not known before the model is read, all families count.
    """
    counted = FAMILIES if family is None else (family,)
    return {one.name: one.code_version for one in counted if one.code_version > 1}


def outline(
    place: Place,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Model:
    """A model of any family (a diffusers folder, a single checkpoint, a hub id, or its parts), whose
    weights are read part by part when they are needed (`Model.need`).

    `settings` are those of `train` by name (`clip_skip`, `v_parameterization` ...); a family uses
    those it knows. Raises `BakeryError` if the model is missing, incomplete or of no known family, and
    for settings that do nothing with its family.
    """
    import torch  # takes seconds, and families are recognised without

    from bakery.families import diffusers_folder

    family = family_of(place)
    if family is None:
        path = recognise.main_part(ordered(place))
        family = recognised(path, diffusers_folder.hub_header(path))
    check(family, place, settings)
    return family.outline(place, settings, torch.device(device), dtype or torch.float32)


def load(
    place: Place,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Model:
    """As `outline`, with all weights in memory; raises `BakeryError` for damaged ones, too."""
    model = outline(place, device, dtype, **settings)
    model.need(DENOISER, LATENTS, TEXTS)
    return model


def check(family: Family, place: Place, settings: Mapping[str, Any]) -> None:
    """`BakeryError` for parts or settings that a model of this family does not take."""
    if strange := strange_parts(family, place):
        raise BakeryError(
            f"train.base.{strange[0]}: {recognise.main_part(ordered(place))} is {family.article} "
            f"{family.title} model, whose parts are {', '.join(family.parts)}: leave it out"
        )
    family.check(settings)


def strange_parts(family: Family, place: Place) -> list[str]:
    """Parts that are named and that models of this family do not have."""
    return [] if isinstance(place, str) else [name for name in place if name not in family.parts]


def check_sampler(family: Family, sampler: str) -> None:
    """`BakeryError` for a sampler that models of this family are not drawn with."""
    if family.samplers and sampler not in family.samplers:
        raise BakeryError(
            f"sample.sampler is {sampler}, which does not fit {family.article} {family.title} model: "
            f"take {' or '.join(family.samplers)}"
        )


def family_of_lora(keys: Iterable[str]) -> Family | None:
    """The family that a LoRA file with these keys was made for, if they show it."""
    names = list(keys)
    return next((family for family in FAMILIES if family.owns_lora(names)), None)


def family_of_metadata(metadata: Mapping[str, str]) -> Family | None:
    """The family that a LoRA file names in its metadata (ss_base_model_version)."""
    said = metadata.get("ss_base_model_version", "")
    exact = (family for family in FAMILIES if said == family.base_version)
    # v-prediction has a version of its own: sd_v1_v
    alike = (f for f in FAMILIES if said and said.startswith((f.base_version, f.name)))
    return next(exact, next(alike, None))


def check_parts(place: Place) -> None:
    """`BakeryError` unless one family at least has all these parts."""
    if isinstance(place, str):
        return
    names = set(place)
    if any(family.parts[0] in names and names <= set(family.parts) for family in FAMILIES):
        return
    known = list(dict.fromkeys(f"{{{', '.join(family.parts)}}}" for family in FAMILIES))
    strange = sorted(names - {part for family in FAMILIES for part in family.parts})
    if strange:
        raise BakeryError(
            f"train.base.{strange[0]} is not a part of any supported model: give a path, or "
            f"{' or '.join(known)}"
        )
    raise BakeryError(
        f"train.base names {', '.join(sorted(names)) or 'nothing'}, which is not a whole model: "
        f"give a path, or {' or '.join(known)}"
    )
