"""Contact sheets: every picture small, the kept ones first, the others with what speaks against them.

- `draw`: one picture of all, to be looked at;
- `page`: a web page in one file on which a person overrules the filter, by mouse or keyboard, and
  takes home `exclude.txt` and `include.txt`. It starts from the lists as they are, and keeps their
  comments and whatever it does not know.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from bakery.dataset.checks import EXCLUDED
from bakery.edits.image_edits import EXCLUDE, INCLUDE, Line
from bakery.pages import page as web
from bakery.pages.grid import FAINT, INK, PAPER, wrap

THUMBNAIL = 112
"""Pixels of a picture's longer side on the drawn sheet."""
COLUMNS = 12
MOST = 480
"""Pictures drawn in each half; of more, every n-th one, so that the sheet stays a page."""
Coding = tuple[int, int]
"""Of a thumbnail on the page: its longer side in pixels, and its WebP quality."""
_CODINGS: tuple[tuple[int, Coding], ...] = ((1500, (192, 80)), (5000, (128, 70)))
_COARSEST: Coding = (96, 60)
_GAP, _FONT, _HEADING, _LINES = 8, 11, 18, 3
_DROPPED = (170, 40, 30)


@dataclass(frozen=True)
class Item:
    """A picture on the sheet."""

    image: str
    """Its name in posts.csv."""
    kept: bool
    reasons: Sequence[str] = ()
    duplicate_of: str = ""
    by_hand: str = ""
    """`exclude`, `include` or nothing."""
    final: bool = False
    """Whether it cannot be kept by hand."""
    concept: str = ""
    size: tuple[int, int] = (0, 0)
    note: str = ""
    thumbnail: bytes = b""
    """WebP, from `thumbnail`; grey without one."""

    @property
    def kept_by_itself(self) -> bool:
        """Whether it would stay without decisions by hand."""
        return all(reason == EXCLUDED for reason in self.reasons)

    @property
    def source(self) -> str:
        return "data:image/webp;base64," + base64.b64encode(self.thumbnail).decode("ascii")


def coding(pictures: int) -> Coding:
    """Size of the thumbnails of this many pictures, for a page that a browser can still open."""
    return next((fine for most, fine in _CODINGS if pictures <= most), _COARSEST)


def thumbnail(image: Image.Image, coding: Coding) -> bytes:
    """A small copy of an RGB picture, in its own shape, for an `Item`."""
    side, quality = coding
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    encoded = io.BytesIO()
    small.save(encoded, format="WEBP", quality=quality, method=4)
    return encoded.getvalue()


def page(
    items: Sequence[Item],
    *,
    lines: Mapping[str, Sequence[Line]],
    subject: web.Subject,
    order: Sequence[str],
) -> str:
    """The page as HTML. `lines` are the lists as they are, `order` is that of the reasons."""
    counts = Counter(reason for item in items for reason in item.reasons)
    return web.render(
        "contact_sheet",
        tile=128,
        subject=subject,
        halves=[
            ("Kept", [item for item in items if item.kept]),
            ("Dropped", [item for item in items if not item.kept]),
        ],
        reasons=[(reason, counts[reason]) for reason in order if counts[reason]],
        concepts=sorted({item.concept for item in items}),
        lists=[(name, lines.get(name, ())) for name in (EXCLUDE, INCLUDE)],
        total=len(items),
    )


def draw(items: Sequence[Item]) -> Image.Image:
    """The sheet as an RGB picture."""
    halves = [
        ("kept", [item for item in items if item.kept]),
        ("dropped", [item for item in items if not item.kept]),
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
    if item.thumbnail:
        small = Image.open(io.BytesIO(item.thumbnail)).convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        width, height = small.size
        sheet.paste(small, (x + (THUMBNAIL - width) // 2, y + (THUMBNAIL - height) // 2))
    else:
        pen.rectangle((x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1), FAINT)
    font = ImageFont.load_default(_FONT)
    y += THUMBNAIL + 2
    pen.text((x, y), wrap(item.image.rpartition(".")[0], font, THUMBNAIL, 1)[0], INK, font)
    if item.kept:
        return
    reasons = ", ".join(item.reasons).replace("_", " ")
    if item.duplicate_of:
        reasons += f" of {item.duplicate_of}"
    for number, line in enumerate(wrap(reasons, font, THUMBNAIL, _LINES), start=1):
        pen.text((x, y + number * (_FONT + 2)), line, _DROPPED, font)
