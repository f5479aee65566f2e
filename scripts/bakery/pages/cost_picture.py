"""What a page's bakes took, as a small picture of text: time, memory and disk, a row for each stage.

A picture, because a page may show one from the file beside it and stays the same without it: what a bake
took differs from run to run, and the page does not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from bakery.io.quantities import clock, memory, size

WIDTH, LINE, TOP = 620, 22, 20
"""Pixels: of the picture, from row to row, above the first."""
COLUMNS = (0, 250, 370, 490)
"""Where the columns are: the first begins there, the others end there."""
LETTERS = 92
"""Letters in a line of a note."""
STYLE = (
    "text{font:13px ui-sans-serif,system-ui,'Liberation Sans',Arial,sans-serif;fill:#2a2520}"
    ".m{fill:#6d645a}.b{font-weight:600}.r{text-anchor:end}"
    "@media(prefers-color-scheme:dark){text{fill:#ece5db}.m{fill:#a79c8f}}"
)

Row = tuple[str, float, int, int]
"""Stage, seconds, bytes of memory, bytes of disk."""


def draw(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The picture as SVG; the last row is the sum, `notes` are sentences below."""
    table = [("", "time", "memory", "disk")]
    table += [(name, clock(time), memory(held), size(disk)) for name, time, held, disk in rows]
    lines = []
    for number, cells in enumerate(table):
        kind = "m" if number == 0 else "b" if number == len(rows) else ""
        lines += [
            _text(x, number, cell, f"{kind} r" if x else kind)
            for x, cell in zip(COLUMNS, cells, strict=True)
        ]
    below = [line for note in notes for line in textwrap.wrap(note, LETTERS)]
    lines += [_text(0, len(table) + number, line, "m") for number, line in enumerate(below)]
    height = TOP + LINE * (len(table) + len(below))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}"><style>{STYLE}</style>\n' + "\n".join(lines) + "\n</svg>\n"
    )


def _text(x: int, row: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{TOP + LINE * row}" class="{kind.strip()}">{escape(text)}</text>'
