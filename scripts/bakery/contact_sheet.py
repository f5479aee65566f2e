"""A contact sheet: every picture small, the kept ones first, the others with what speaks against
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from bakery.grid import FAINT, INK, PAPER, wrap

THUMBNAIL = 112
"""Pixels of a thumbnail's longer side."""
COLUMNS = 12
MOST = 480
"""Pictures shown in each half; of more, every n-th one, so that the sheet stays a page."""
_GAP, _FONT, _HEADING, _LINES = 8, 11, 18, 3
_DROPPED = (170, 40, 30)


@dataclass(frozen=True)
class Item:
    """A picture on the sheet; without reasons it is kept, without thumbnail its place is grey."""

    name: str
    reasons: Sequence[str]
    duplicate_of: str
    thumbnail: Image.Image | None


def draw(items: Sequence[Item]) -> Image.Image:
    """The sheet as an RGB picture."""
    halves = [
        ("kept", [item for item in items if not item.reasons]),
        ("dropped", [item for item in items if item.reasons]),
    ]
    shown = [_thinned(half) for _, half in halves]
    rows = [-(-len(half) // COLUMNS) for half in shown]
    wide = THUMBNAIL + _GAP
    tall = [wide + lines * (_FONT + 3) for lines in (1, 1 + _LINES)]
    heading = _HEADING + 2 * _GAP
    height = sum(heading + count * cell for count, cell in zip(rows, tall, strict=True)) + _GAP
    sheet = Image.new("RGB", (_GAP + COLUMNS * wide, height), PAPER)
    pen, y = ImageDraw.Draw(sheet), 0
    for (title, half), some, count, cell in zip(halves, shown, rows, tall, strict=True):
        text = f"{title}: {len(half)} of {len(items)}"
        text += f" (every {-(-len(half) // MOST)}th shown)" if len(some) < len(half) else ""
        pen.text((_GAP, y + _GAP), text, INK, ImageFont.load_default(_HEADING))
        y += heading
        for number, item in enumerate(some):
            place = (_GAP + number % COLUMNS * wide, y + number // COLUMNS * cell)
            _draw_item(sheet, pen, place, item)
        y += count * cell
    return sheet


def _thinned(half: list[Item]) -> list[Item]:
    return half[:: -(-len(half) // MOST)] if half else []


def _draw_item(sheet: Image.Image, pen: ImageDraw.ImageDraw, place: tuple, item: Item) -> None:
    x, y = place
    if item.thumbnail is None:
        pen.rectangle((x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1), FAINT)
    else:
        width, height = item.thumbnail.size
        sheet.paste(item.thumbnail, (x + (THUMBNAIL - width) // 2, y + (THUMBNAIL - height) // 2))
    font = ImageFont.load_default(_FONT)
    y += THUMBNAIL + 2
    pen.text((x, y), wrap(item.name, font, THUMBNAIL, 1)[0], INK, font)
    reasons = ", ".join(item.reasons).replace("_", " ")
    if item.duplicate_of:
        reasons += f" of {item.duplicate_of}"
    lines = wrap(reasons, font, THUMBNAIL, _LINES) if reasons else []
    for number, line in enumerate(lines, start=1):
        pen.text((x, y + number * (_FONT + 2)), line, _DROPPED, font)
