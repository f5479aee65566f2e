"""What a folder of pictures holds, at a glance: no picture is decoded, and no file is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakery.io import images, regular_files, walk
from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.sources import caption_files

PICTURES = frozenset({*images.REAL_EXTENSIONS.values(), ".jpeg", ".tif"})
CAPTIONS = caption_files.EXTENSIONS
CHARACTERS = ("1girl", "1boy", "1other")
"""Tags for one character, which may be the class tokens."""
_MOST_READ = 4096  # bytes of a caption


@dataclass(frozen=True)
class Glance:
    """The pictures of some folders and what is beside them."""

    sizes: tuple[Size, ...] = ()
    """Width and height of each picture whose header can be read."""
    unreadable: int = 0
    """Files that are called like a picture and are none."""
    captions: int = 0
    """Pictures with a caption file of their own."""
    class_tokens: str = ""
    """The one of `CHARACTERS` that most captions have, if most do."""
    kinds: tuple[tuple[str, int], ...] = ()
    """Extensions of the other files, the most frequent first; captions are not among them."""

    @property
    def pictures(self) -> int:
        return len(self.sizes)


def at(folders: Sequence[Path]) -> Glance:
    """All pictures in `folders` and below; hidden folders are left out, as the scrape does."""
    sizes: list[Size] = []
    unreadable, captions = 0, 0
    counted: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for folder in folders:
        for path in walk.shown(folder):
            kind = path.suffix.lower()
            if kind not in PICTURES:
                others[kind or "no extension"] += kind not in CAPTIONS
                continue
            try:
                sizes.append(images.size_of(path))
            except BakeryError:
                unreadable += 1
                continue
            text = _caption(path)
            captions += text is not None
            counted.update(tag for tag in CHARACTERS if tag in (text or ""))
    most = max(CHARACTERS, key=lambda tag: counted[tag])
    return Glance(
        tuple(sizes), unreadable, captions,
        most if captions and counted[most] > captions / 2 else "",
        tuple((kind, n) for kind, n in others.most_common() if n),
    )  # fmt: skip


def _caption(picture: Path) -> str | None:
    """The beginning of the caption beside it, None if there is none."""
    for name in (picture.stem, picture.name):
        for ending in CAPTIONS:
            for beside in (ending, ending.upper()):
                path = picture.with_name(name + beside)
                try:
                    with regular_files.open_binary(path) as file:
                        return file.read(_MOST_READ).decode("utf-8", "replace")
                except OSError:
                    continue
    return None
