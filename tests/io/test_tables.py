"""Tables: text stays text, numbers are checked, nothing is half written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.io import tables
from bakery.io.errors import BakeryError


def test_cells_stay_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [{"id": "007", "text": 'NA, "x"\nnull'}, {"id": None, "text": math.nan}]
    tables.write(path, rows, ("id", "text"))
    table = tables.read(path, ("id", "text"))
    assert table["id"].tolist() == ["007", ""]
    assert table["text"].tolist() == ['NA, "x"\nnull', ""]
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert b"\r" not in path.read_bytes()


def test_numbers_know_empty_cells_and_refuse_words(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1.5,,\n,,x\n")
    table = tables.read(path, ("a", "b", "c"))
    first, second = tables.numbers(table["a"], path)
    assert first == 1.5
    assert math.isnan(second)
    assert tables.numbers(table["b"], path).isna().all()
    with pytest.raises(BakeryError, match=r"t.csv: column 'c' holds something"):
        tables.numbers(table["c"], path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "does not exist"), ("", "is not a table"), ("a\n1\n", "has no column 'b'"),
     ("a,b\n1,2,3,4\n5\n1,2,3,4,5", "is not a table")],
)  # fmt: skip
def test_bad_tables_are_refused(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(BakeryError, match=f"t.csv {sentence}"):
        tables.read(tmp_path / "t.csv", ("a", "b"))


tags = st.text(st.characters(codec="ascii", categories=("L", "P", "S", "N")), min_size=1)


@given(st.lists(tags.filter(lambda tag: not tag.endswith("; "))))
def test_tags_of_a_cell_come_back(words: list[str]) -> None:
    assert tables.split(tables.join(words)) == words


def test_tags_that_start_with_a_semicolon() -> None:
    assert tables.split(tables.join(["smile", ";d", ";)", "blush"])) == [
        "smile",
        ";d",
        ";)",
        "blush",
    ]


def test_no_cell_breaks_its_row(tmp_path: Path) -> None:
    """A CR, as a file's name may have one, and half a surrogate pair, as JSON may."""
    cells = ["a\rb", "a\r\nb\r", "\ud800", "x\udcffy", '"\r', "a\nb", "\x00\x1b"]
    tables.write(tmp_path / "t.csv", [{"cell": c, "next": "z"} for c in cells], ("cell", "next"))
    read = tables.read(tmp_path / "t.csv", ("cell", "next"))
    assert read["cell"].tolist() == ["a\nb", "a\nb\n", "?", "x?y", '"\n', "a\nb", "\x00\x1b"]
    assert set(read["next"]) == {"z"}
