"""Which pictures are kept, as later stages read it."""

from __future__ import annotations

from pathlib import Path

from bakery.io import tables
from bakery.io.errors import BakeryError

SECOND_LOOK = "second_look.csv"
"""In the folder of the prune stage, where pictures had no booru tags (`second_look.py`)."""


def kept(folder: Path) -> list[str]:
    """Names of the kept pictures, sorted, from the `decisions.csv` in the filter's folder.

    Raises `BakeryError` if the table is broken, or if it keeps nothing.
    """
    path = folder / "decisions.csv"
    table = tables.read(path, ("image", "kept"))
    strange = set(table["kept"]) - {"true", "false"}
    if strange:
        raise BakeryError(
            f"{path}: column 'kept' holds {min(strange)!r} where true or false is expected; "
            "delete its folder and run the filter stage again"
        )
    names = sorted(table.loc[table["kept"] == "true", "image"])
    if not names:
        raise BakeryError(
            f"{path} keeps none of {len(table)} pictures; look at its reasons, and loosen the "
            "filter section or scrape more"
        )
    return names


def dropped_later(prune: Path) -> dict[str, list[str]]:
    """Picture -> reasons, of those that the filter kept and the prune stage's second look dropped.

    {} where the folder of the prune stage has no such table: all pictures had booru tags.
    """
    if not (prune / SECOND_LOOK).is_file():
        return {}
    table = tables.read(prune / SECOND_LOOK, ("image", "kept", "reasons"))
    dropped = table[table["kept"] == "false"]
    return {row["image"]: row["reasons"].split(";") for row in tables.records(dropped)}


def repeated(folder: Path) -> list[tuple[str, str]]:
    """(picture, the one that it nearly repeats) as the filter in `folder` found them; a person may have
    kept both."""
    path = folder / "decisions.csv"
    if not path.is_file():
        return []
    rows = tables.records(tables.read(path, ("image", "duplicate_of")))
    return [(row["image"], row["duplicate_of"]) for row in rows if row["duplicate_of"]]
