"""Grid: every tile where it belongs, enlarged by a whole factor, captions that fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from bakery.pages import grid

COLOURS = ((200, 30, 30), (30, 160, 30), (30, 30, 200), (180, 150, 20))


def tile(number: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[number])


def places(picture: Image.Image, number: int) -> np.ndarray:
    """(y, x) of every pixel of a tile's colour."""
    return np.argwhere((np.asarray(picture) == COLOURS[number]).all(axis=2))


def test_tiles_stand_in_rows_and_columns_at_a_whole_factor() -> None:
    picture = grid.draw([[tile(0), tile(1)], [tile(2), tile(3)]], ["base", "epoch 1"], ["a", "b"])
    corners = []
    for number in range(4):
        found = places(picture, number)
        assert len(found) == (32 * 6) ** 2  # 32 px -> 192 px
        corners.append(found.min(axis=0).tolist())
    (y0, x0), (y1, x1), (y2, x2), (y3, x3) = corners
    assert y0 == y1 < y2 == y3
    assert x0 == x2 < x1 == x3


def test_enlarging_adds_no_shift_and_keeps_large_pictures() -> None:
    assert grid.scale(96) == 2
    assert grid.scale(192) == 1
    assert grid.scale(512) == 1
    half = Image.new("L", (8, 8), 0)
    half.paste(255, (4, 0, 8, 8))
    large = np.asarray(grid.enlarge(half, 4)).astype(int)
    assert large.shape == (32, 32)
    assert (large + large[:, ::-1] == 255).all()  # the edge stays in the middle


def test_other_sizes_are_centred_and_empty_cells_stay_empty() -> None:
    picture = grid.draw([[tile(0), tile(1, (32, 16)), None]], ["r"], ["a", "b", "c"])
    full, flat = places(picture, 0), places(picture, 1)
    assert flat[:, 0].min() - full[:, 0].min() == full[:, 0].max() - flat[:, 0].max()
    empty = (np.asarray(picture) == grid.FAINT).all(axis=2).sum()
    assert empty == 192 * 192


def test_labels_and_title_are_drawn() -> None:
    def ink(**words: object) -> int:
        given = {"row_labels": [""], "column_labels": [""]} | words
        picture = np.asarray(grid.draw([[tile(0)]], **given))
        return int((picture.sum(axis=2) < 250).sum() - 192 * 192 * (sum(COLOURS[0]) < 250))

    blank = ink()
    assert ink(row_labels=["epoch 3"]) > blank + 50
    assert ink(column_labels=["beach: mirael, smile"]) > blank + 100
    assert ink(title="seed 1") > blank + 50


@settings(max_examples=60)
@given(text=st.text(max_size=120), width=st.integers(40, 300), lines=st.integers(1, 5))
def test_captions_fit(text: str, width: int, lines: int) -> None:
    font = ImageFont.load_default(grid.FONT_SIZE)
    wrapped = grid.wrap(text, font, width, lines)
    assert 1 <= len(wrapped) <= lines
    assert all(font.getlength(line) <= width for line in wrapped)


def test_captions_keep_every_word_or_say_that_they_do_not() -> None:
    font = ImageFont.load_default(grid.FONT_SIZE)
    text = "beach: mirael, blue shirt, shirt, beach, smile"
    assert " ".join(grid.wrap(text, font, 150, 5)) == text
    assert grid.wrap(text, font, 150, 1)[-1].endswith("...")
    assert grid.wrap("café ピ", font, 150, 1) == ["cafe ?"]
    assert "".join(grid.wrap("x" * 60, font, 100, 9)) == "x" * 60


def test_a_grid_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="one label for each"):
        grid.draw([[tile(0)]], ["a", "b"], ["c"])
    with pytest.raises(ValueError, match="at least one picture"):
        grid.draw([[None]], ["a"], ["b"])
