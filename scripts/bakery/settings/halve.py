"""Successive halving: which bakes of a sweep are stopped early."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, field_validator

from bakery.settings.sections import Section


class Halving(Section):
    """Successive halving: the worst bakes of a sweep are stopped early, by score."""

    after: Annotated[tuple[int, ...], Field(min_length=1)]
    """Epochs after which the bakes are ranked, in rising order. Each must be a saved epoch before
    the last one."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the remaining bakes that continues each time, rounded up."""

    @field_validator("after")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or list(value) != sorted(set(value)):
            raise ValueError(f"is {list(value)}: name each epoch once, from 1, the earlier first")
        return value

    def places(self, bakes: int) -> int:
        """How many of `bakes` go on: ceil(keep * bakes)."""
        return math.ceil(round(self.keep * bakes, 9))  # 0.07 * 100 is a little more than 7
