"""One picture of many: a labelled grid.

    corner | column | column
    -------+--------+-------
    row    | tile   | tile
    row    | tile   | tile

Tiny pictures are enlarged by a whole factor, so that every tile is scaled alike.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bakery.io.files import whole

PAPER, INK, FAINT = (250, 247, 242), (43, 38, 34), (228, 221, 211)
"""Background, text, and the colour of a cell without a picture."""
TILE = 192
"""Pixels a tile's longer side has at least; smaller pictures are enlarged."""
MARGIN = 12
LABEL_WIDTH = 132
FONT_SIZE = 15
LINES = 4
"""Lines a column's caption has at most; what does not fit ends in three dots."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(
    rows: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    title: str = "",
    tile: int = TILE,
) -> Image.Image:
    """The grid as an RGB picture.

    `rows[r][c]` is the tile under `column_labels[c]`, None leaves its cell empty. Tiles of
    different sizes are centred in their cell; tiny ones are enlarged to `tile` pixels. Raises
    `ValueError` when the labels do not count as many as the rows and columns, or when there is no
    picture at all.
    """
    if len(rows) != len(row_labels) or any(len(row) != len(column_labels) for row in rows):
        raise ValueError("a grid needs one label for each row and one for each column")
    tiles = [picture for row in rows for picture in row if picture is not None]
    if not tiles:
        raise ValueError("a grid needs at least one picture")
    factor = scale(max(max(one.size) for one in tiles), tile)
    width = max(one.width for one in tiles) * factor
    height = max(one.height for one in tiles) * factor

    font = ImageFont.load_default(FONT_SIZE)
    line = FONT_SIZE + 5
    captions = [wrap(label, font, width, LINES) for label in column_labels]
    heading = wrap(title, font, len(column_labels) * (width + MARGIN), 1) if title else []
    top = MARGIN + (line + MARGIN) * len(heading) + line * max(map(len, captions)) + MARGIN
    left = MARGIN + LABEL_WIDTH
    size = (left + (width + MARGIN) * len(column_labels), top + (height + MARGIN) * len(rows))

    grid = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(grid)
    if heading:
        pen.text((MARGIN, MARGIN), heading[0], INK, font)
    for column, caption in enumerate(captions):
        x, y = left + column * (width + MARGIN), top - MARGIN - line * len(caption)
        pen.multiline_text((x, y), "\n".join(caption), INK, font, spacing=5)
    for r, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = top + r * (height + MARGIN)
        text = "\n".join(wrap(label, font, LABEL_WIDTH - MARGIN, 6))
        pen.multiline_text((MARGIN, y + height // 2), text, INK, font, anchor="lm", spacing=5)
        for c, picture in enumerate(row):
            x = left + c * (width + MARGIN)
            if picture is None:
                pen.rectangle((x, y, x + width - 1, y + height - 1), FAINT)
                continue
            picture = enlarge(picture.convert("RGB"), factor)
            corner = (x + (width - picture.width) // 2, y + (height - picture.height) // 2)
            grid.paste(picture, corner)
    return grid


def save(picture: Image.Image, path: Path, **how: Any) -> None:
    """Write a grid, whole or not at all; `how` are Pillow's `format` and its options."""
    with whole(path) as part:
        picture.save(part, **how)


def scale(side: int, tile: int = TILE) -> int:
    """The smallest whole factor that brings `side` pixels to `tile` or more."""
    return max(1, math.ceil(tile / side))


def enlarge(picture: Image.Image, factor: int) -> Image.Image:
    """`picture` with each side `factor` times as long; Lanczos keeps small features crisp."""
    if factor == 1:
        return picture
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.LANCZOS)


def wrap(text: str, font: Font, width: float, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; what is left out shows as three dots."""
    done = [""]
    for word in _drawable(text).split():
        for piece in _pieces(word, font, width):
            longer = f"{done[-1]} {piece}".strip()
            if not done[-1] or font.getlength(longer) <= width:
                done[-1] = longer
            else:
                done.append(piece)
    if len(done) <= lines:
        return done
    last = done[lines - 1]
    while last and font.getlength(last + "...") > width:
        last = last[:-1]
    return [*done[: lines - 1], last.rstrip(" ,") + "..."]


def _pieces(word: str, font: Font, width: float) -> list[str]:
    """`word` cut where it is too long for a line of `width` pixels."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _drawable(text: str) -> str:
    """`text` in the characters that Pillow's own font has: no accents, `?` for other scripts."""
    flat = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in flat if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()
