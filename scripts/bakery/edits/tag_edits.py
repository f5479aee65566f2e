"""Decisions about tags by hand: `config/edits/<dataset>/tags.csv`, with the columns tag and decision.

A line has `prune` or `keep` for one tag, in any spelling; it overrules the config. The
prune page writes the same file.
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.tags import captions

NAME = "tags.csv"
COLUMNS = ("tag", "decision")
DECISIONS = ("prune", "keep")


def read_decisions(path: Path) -> dict[str, str]:
    """Tag, as `captions.same` spells it -> `prune` or `keep`.

    Raises `BakeryError` for a file that is not such a table, and for two decisions about one tag.
    """
    try:
        # a spreadsheet may have put a byte order mark in front
        table = pd.read_csv(
            io.BytesIO(regular_files.read_bytes(path)),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as problem:  # pandas' parser errors are ValueErrors
        first_line = next(iter(str(problem).strip().splitlines()), "unreadable")
        raise BakeryError(
            f"{path} cannot be read as a table ({first_line}); its first line is tag,decision"
        ) from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise BakeryError(f"{path} has no column {missing[0]!r}; its first line is tag,decision")
    found: dict[str, str] = {}
    lines = range(2, len(table) + 2)
    for line, tag, decision in zip(lines, table["tag"], table["decision"], strict=True):
        name, word = captions.same(tag), decision.strip().lower()
        if not name:
            raise BakeryError(f"{path}: line {line} has no tag; delete it or fill it in")
        if word not in DECISIONS:
            raise BakeryError(
                f"{path}: line {line} decides {decision!r} about {tag!r}; write prune or keep"
            )
        if found.setdefault(name, word) != word:
            raise BakeryError(
                f"{path} has two decisions about {tag!r}, prune and keep; delete one of the lines"
            )
    return found
