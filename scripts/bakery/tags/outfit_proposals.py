"""The rows of outfits.csv: each outfit, with a line for `prune.outfits` if it is worth a word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bakery.io import tables
from bakery.settings.prune import Prune
from bakery.tags import outfits
from bakery.tags.evidence import Evidence
from bakery.tags.outfits import Outfit

PROPOSED = 5
"""Fewest pictures for proposing an outfit as a sub-trigger: fewer teach it nothing."""


def rows(
    settings: Prune, worn: Sequence[Outfit], found: Sequence[Evidence], of: int
) -> list[dict[str, Any]]:
    """A row for each outfit, with a line for `prune.outfits` where it is worth a sub-trigger."""
    listed = []
    for number, outfit in enumerate(worn, start=1):
        mine = [
            one.tag
            for one in found
            if one.outfit == outfit.label and (one.kind or outfits.garment(one.name))
        ]
        enough = len(outfit.images) >= max(PROPOSED, of / 10) and mine
        word = f"{settings.trigger} outfit {number}"
        line = f"{json.dumps(word)}: {json.dumps(mine)}" if enough else ""
        listed.append(
            {
                "outfit": outfit.label,
                "pictures": len(outfit.images),
                "tags": tables.join(mine),
                "proposal": line,
            }
        )
    return listed
