"""What became of one attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["taken", "refused", "recorded", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How one case ended: `taken` as good, `refused` with a sentence, `recorded` as dropped while
    the rest went on, or `failed`: a traceback, a sentence that names neither file nor key, a write
    outside, a case that must not pass and did."""

    ending: Ending
    said: str = ""
    """The sentence, or what failed."""
