"""The pictures of a page, within a limit of bytes.

Every picture is encoded once, as WebP in base64, a line each. If they do not all fit, they are
first encoded at lower quality, then there are fewer seeds, then smaller pictures, and last the
bakes at the end of the list lose theirs. Remaining room is used for full-size pictures instead of
links.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bakery.io.images import open_rgb


@dataclass(frozen=True)
class Coding:
    """How a thumbnail is made: its longer side in tiles, and the WebP quality."""

    tiles: float
    quality: int


BEST = Coding(2, 92)
"""Two pixels a tile's pixel, for dense displays. At 96 px, quality below 92 loses the colour of an
eye."""
LADDER = (BEST, Coding(2, 80), Coding(1.5, 75), Coding(1, 70), Coding(1, 45), Coding(0.7, 40))
STEPS_WITH_SEEDS = 3
"""Steps of the ladder that are tried before a seed is dropped."""
_PROBES = 12
"""Pictures encoded to estimate their size."""


def encode(picture: Image.Image, quality: int) -> str:
    """`picture` as WebP in base64."""
    data = io.BytesIO()
    picture.save(data, format="WEBP", quality=quality, method=4)
    return base64.b64encode(data.getvalue()).decode("ascii")


def data_uri(line: str) -> str:
    return f"data:image/webp;base64,{line}"


def thumbnail(picture: Image.Image, side: int, coding: Coding) -> Image.Image:
    """`picture` with its longer side at most `coding.tiles` * `side` pixels; never enlarged."""
    small = picture.copy()
    most = round(coding.tiles * side)
    small.thumbnail((most, most), Image.Resampling.LANCZOS)
    return small


def step_down(
    paths: Sequence[Path], side: int, room: int, ladder: Sequence[Coding]
) -> tuple[Coding, int] | None:
    """The first of `ladder` at which all `paths` fit into `room` bytes, with their mean size."""
    probes = paths[:: max(1, len(paths) // _PROBES)]
    pictures = [open_rgb(path) for path in probes]
    for coding in ladder:
        sizes = [len(encode(thumbnail(p, side, coding), coding.quality)) for p in pictures]
        mean = round(1.05 * sum(sizes) / max(1, len(sizes))) + 1
        if mean * len(paths) <= room:
            return coding, mean
    return None


@dataclass
class ThumbnailSheet:
    """Encoded pictures, a line each, of at most `room` bytes together; each content once."""

    side: int
    room: int
    coding: Coding = BEST
    lines: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def thumb(self, path: Path) -> tuple[int, bool, tuple[int, int]]:
        """Line of the thumbnail (-1: no room), whether it is the whole picture, and its size.

        The size is the whole picture's.
        """
        picture = open_rgb(path)
        small = thumbnail(picture, self.side, self.coding)
        whole = small.size == picture.size and self.coding == BEST
        return self._add(encode(small, self.coding.quality)), whole, picture.size

    def whole(self, path: Path) -> int:
        """Line of the whole picture, -1 when there is no room."""
        return self._add(encode(open_rgb(path), BEST.quality))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _add(self, line: str) -> int:
        if line not in self._known:
            if len(line) + 1 > self.room:
                return -1
            self.room -= len(line) + 1
            self._known[line] = len(self.lines)
            self.lines.append(line)
        return self._known[line]
