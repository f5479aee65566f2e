"""CSV tables between stages: text in, text out, written whole or not at all.

Cells stay text when read, so that a prompt called `007` or `NA` keeps its name; `numbers` turns a
column into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.io.files import whole

SEPARATOR = "; "
"""Separator of the tags in one cell. The space matters: tags such as `;d` start with a
semicolon."""


def read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The table at `path`, every cell a string. It must have `columns`, and may have more."""
    try:
        regular_files.check(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: run the stage that writes it again") from None
    except (ValueError, regular_files.Unopened) as problem:  # pandas' parser errors are ValueErrors
        raise BakeryError(f"{path} is not a table ({problem}): delete it and run again") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise BakeryError(
            f"{path} has no column {missing[0]!r}: it was written by another version; "
            "delete its folder and run again"
        )
    return table


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes `rows` with exactly `columns`, LF line ends; None and NaN become empty cells.

    Half a surrogate pair, from JSON or from a file name that is no UTF-8, becomes `?`.
    """
    table = pd.DataFrame(list(rows), columns=list(columns))
    for name in table.select_dtypes(exclude=["number", "bool"]):
        table[name] = _without_returns(table[name])
    with whole(path) as part:
        table.to_csv(part, index=False, lineterminator="\n", errors="replace")


def _without_returns(column: pd.Series) -> pd.Series:
    """CR, which would end a row unquoted, becomes LF."""
    if not any(isinstance(cell, str) and "\r" in cell for cell in column):
        return column
    return column.replace("\r\n?", "\n", regex=True)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `table`, each a dict by the names of its columns."""
    rows = table.to_dict("records")
    return cast("list[dict[str, Any]]", rows)  # names are text, though pandas takes others


def numbers(column: pd.Series, path: Path) -> pd.Series:
    """`column` of the table at `path` as numbers; empty cells become NaN."""
    try:
        return pd.to_numeric(column.where(column != ""))
    except ValueError:
        raise BakeryError(
            f"{path}: column {column.name!r} holds something that is not a number; "
            "delete its folder and run again"
        ) from None


def join(tags: Iterable[str]) -> str:
    """Tags as one cell."""
    return SEPARATOR.join(tags)


def split(cell: str) -> list[str]:
    """The tags of one cell; [] for an empty one."""
    return cell.split(SEPARATOR) if cell else []
