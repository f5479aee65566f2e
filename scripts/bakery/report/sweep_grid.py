"""The whole sweep as one picture: bakes and their epochs under each other, prompts beside each other.

For places where a page does not fit: a chat, a model's page, a print.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from PIL import Image

from bakery.io.images import open_rgb
from bakery.pages import grid
from bakery.report import picture_table
from bakery.report.results import BakeResult

MOST_PIXELS = 40_000_000
"""Of all tiles together; a sweep with more pictures gets smaller ones."""
SIDES = (48, 256)
"""Pixels of a tile's longer side, least and most."""


def draw(baked: Sequence[BakeResult], title: str) -> Image.Image:
    """The first seed of every prompt that epochs draw; a base that all bakes share comes once."""
    table = picture_table.arrange(baked, range(len(baked)), 1)
    columns = [p for p, prompt in enumerate(table.prompts) if prompt.purpose != "base"]
    rows = list(_rows(baked, table))
    side = math.isqrt(MOST_PIXELS // max(1, len(rows) * len(columns)))
    side = min(max(side, SIDES[0]), SIDES[1])
    tiles = [[_tile(table, b, p, e, side) for p in columns] for _, b, e in rows]
    prompts = [table.prompts[p] for p in columns]
    return grid.draw(
        tiles,
        [label for label, _, _ in rows],
        [f"{p.id}: {picture_table.in_words(p.text, baked)}" for p in prompts],
        title=f"{title}: seed {table.seeds[0]}",
        tile=min(side, grid.TILE),
    )


def _rows(
    baked: Sequence[BakeResult], table: picture_table.PictureTable
) -> Iterator[tuple[str, int, int]]:
    """Name of the LoRA file, number of the bake, and place of the epoch in the table."""
    for b, one in enumerate(baked):
        for e, epoch in enumerate(table.epochs):
            if epoch not in {known.number for known in one.epochs}:
                continue
            if epoch:
                yield one.bake.lora_name(epoch), b, e
            elif not table.shared_base:
                yield f"{one.bake.label}, base", b, e
            elif not b:
                yield "base", b, e


def _tile(
    table: picture_table.PictureTable, b: int, p: int, e: int, side: int
) -> Image.Image | None:
    number = table.cells[b][p][e][0]
    if number == picture_table.ABSENT:
        return None
    picture = open_rgb(table.shots[number].path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
