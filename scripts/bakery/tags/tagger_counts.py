"""A tagger's vocabulary: the general tags of its selected_tags.csv."""

from __future__ import annotations

from pathlib import Path

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.tags import captions

FILE = "selected_tags.csv"
_GENERAL = "0"  # Danbooru's number for general tags


def read_counts(folder: Path) -> dict[str, int]:
    """General tags as caption words -> how many pictures the tagger learnt each from.

    `folder` is a tagger's (see `tagger.fetch`). A tagger without counts has 0 for all.
    """
    path = folder / FILE
    table = tables.read(path, ("name", "category"))
    if "count" not in table:
        table["count"] = "0"
    general = table[table["category"] == _GENERAL]
    counts = tables.numbers(general["count"], path).fillna(0)
    if general.empty:
        raise BakeryError(f"{path} has no general tag: take a tagger such as the WD v3 ones")
    return {
        captions.normalise(name): int(count)
        for name, count in zip(general["name"], counts, strict=True)
    }
