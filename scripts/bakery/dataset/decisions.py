"""Which pictures the filter kept, as later stages read it."""

from __future__ import annotations

from pathlib import Path

from bakery.io import tables
from bakery.io.errors import BakeryError


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
