"""benchmarks/kohya/dataset.py: every difference between a layout and its reader is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakery.io import tables
from bakery.stages import layout
from benchmarks.kohya import dataset as kohya_dataset

ROWS = [
    {"file": "5_mirael/a.png", "repeats": 5, "caption": "mirael, ☆", "kind": "picture"},
    {"file": "reg/1_1girl/b.png", "repeats": 1, "caption": "1girl", "kind": "reg"},
    {"file": "holdout/1_mirael/c.png", "repeats": 1, "caption": "mirael", "kind": "holdout"},
]


@pytest.fixture
def written(tmp_path: Path) -> kohya_dataset.Seen:
    tables.write(tmp_path / "layout.csv", ROWS, layout.COLUMNS)
    return kohya_dataset.ours(tmp_path)


def test_layout_csv_is_read(written: kohya_dataset.Seen) -> None:
    assert written == {
        "5_mirael/a.png": (5, "mirael, ☆", False),
        "reg/1_1girl/b.png": (1, "1girl", True),
    }
    assert list(kohya_dataset.differences(written, dict(written))) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"5_mirael/a.png": (5, "mirael", False)}, "a.png: layout.csv says"),
        ({"5_mirael/a.png": (4, "mirael, ☆", False)}, "sd-scripts reads (4,"),
        ({"5_mirael/c.png": (5, "x", False)}, "reads 5_mirael/c.png, which is not in layout.csv"),
    ],
)
def test_each_difference_is_told(written: kohya_dataset.Seen, changes: dict, words: str) -> None:
    (told,) = kohya_dataset.differences(written, written | changes)
    assert words in told


def test_a_picture_that_is_not_read_is_told(written: kohya_dataset.Seen) -> None:
    (told,) = kohya_dataset.differences(written, dict(list(written.items())[:1]))
    assert told == "reg/1_1girl/b.png is in layout.csv, but sd-scripts does not read it"
