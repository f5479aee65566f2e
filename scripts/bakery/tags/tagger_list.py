"""A tagger's own list of tags, selected_tags.csv: name, category, and how many pictures taught it each.

The WD taggers write `tag_id,name,category,count`. Others add or order columns (PixAI's:
`id,tag_id,name,category,count,ips`), call the name `tag`, write 9.0 for 9 or categories as words, end in
an empty row, or were saved by a spreadsheet with semicolons or tabs. Such lists mean the same and are
read alike.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bakery.io.errors import BakeryError
from bakery.tags import captions

FILE = "selected_tags.csv"
CATEGORIES = {
    0: "general",
    1: "artist",
    3: "copyright",
    4: "character",
    5: "meta",
    9: "rating",
    10: "year",
}
"""Danbooru's numbers for kinds of tags; the WD models use 0, 4 and 9, and Camie's have 10, too."""
_NAMES = {
    "name": ("name", "tag", "tag_name"),
    "category": ("category", "category_id"),
    "count": ("count", "post_count"),
}
"""What the columns are called, the first name that is there."""


def read(path: Path) -> pd.DataFrame:
    """Each row: `name` as a caption word, `category` as a word, `count` as text ("" if unknown).

    Rows keep their order, as a row belongs to an output of the model. Raises `BakeryError` for a file
    that is no such list.
    """
    table = _table(path)
    categories = table["category"].map(_category)
    strange = table["category"][categories == ""]
    if len(strange):
        raise BakeryError(
            f"tagger: {path} has the category {strange.iloc[0]!r}; known are "
            + ", ".join(f"{number} ({word})" for number, word in CATEGORIES.items())
        )
    counts = table["count"].str.replace(r"\.0+$", "", regex=True)
    no_counts = counts[~counts.str.fullmatch(r"\d*")]
    if len(no_counts):
        raise BakeryError(
            f"tagger: {path} has the count {no_counts.iloc[0]!r} where a whole number is expected"
        )
    if (table["name"] == "").any():
        row = int((table["name"] == "").to_numpy().argmax()) + 2
        raise BakeryError(f"tagger: {path}, row {row} has no name: download the list again")
    names = table["name"].map(captions.normalise)
    return pd.DataFrame({"name": names, "category": categories, "count": counts})


def read_counts(folder: Path) -> dict[str, int]:
    """General tags as caption words -> how many pictures the tagger learnt each from.

    `folder` is a tagger's (see `tagger.fetch`). A tagger without counts has 0 for all.
    """
    table = read(folder / FILE)
    general = table[table["category"] == "general"]
    if general.empty:
        raise BakeryError(
            f"tagger: {folder / FILE} has no general tag: take a tagger such as the WD v3 ones"
        )
    return {
        name: int(count or 0) for name, count in zip(general["name"], general["count"], strict=True)
    }


def _table(path: Path) -> pd.DataFrame:
    """The columns name, category and count, as text without space around it."""
    try:
        # keep_default_na: "null" and "nan" are tags like any other; index_col: a comma too many at the
        # end of each row moves no column
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        table = pd.read_csv(
            path, sep=max(",;\t", key=head.count), dtype=str, keep_default_na=False,
            encoding="utf-8-sig", index_col=False,
        )  # fmt: skip
    except (ValueError, OSError) as problem:  # pandas' parser errors are ValueErrors
        raise BakeryError(f"tagger: {path} cannot be read as a table: {problem}") from None
    there = {str(column).strip().lower(): column for column in table}
    found = {
        meant: next((there[name] for name in names if name in there), None)
        for meant, names in _NAMES.items()
    }
    for meant in ("name", "category"):
        if found[meant] is None:
            raise BakeryError(
                f"tagger: {path} has no column {meant}; expected tag_id,name,category,count, as the WD "
                "taggers have"
            )
    columns = {
        meant: table[column].str.strip() if column is not None else pd.Series("", table.index)
        for meant, column in found.items()
    }
    return _without_empty_end(pd.DataFrame(columns))


def _without_empty_end(table: pd.DataFrame) -> pd.DataFrame:
    filled = (table != "").any(axis=1).to_numpy().nonzero()[0]
    return table.iloc[: filled[-1] + 1 if len(filled) else 0]


def _category(text: str) -> str:
    """`0`, `0.0` or `general` -> `general`; "" for what is no category."""
    if text.lower() in CATEGORIES.values():
        return text.lower()
    number = text.removesuffix(".0")
    return CATEGORIES.get(int(number), "") if number.isascii() and number.isdecimal() else ""
