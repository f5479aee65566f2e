"""The compare section: the page."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from bakery.settings.sections import Section


class Compare(Section):
    """The comparison page."""

    model_config = ConfigDict(serialize_by_alias=True)

    title: str = "LoRA Bakery"
    """Heading of the page."""
    thumbnail: Annotated[int, Field(ge=32, le=512)] = 96
    """Side of a picture in the page's grid, in pixels."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 4
    """How many seeds to show on the page; each adds as many pictures as the first."""
    max_mb: Annotated[float, Field(ge=1, le=200)] = 4.5
    """Largest size of the page in MB. Pictures are made smaller, then fewer, until it fits;
    full-size pictures that do not fit are linked to their files."""
    with_: Annotated[tuple[str, ...], Field(alias="with")] = ()
    """Finished bakes of other configs or days to compare with: folders such as
    `results/train/<name>`, `results/score/<name>`, or `results/compare/<name>` for all bakes of a
    page."""
