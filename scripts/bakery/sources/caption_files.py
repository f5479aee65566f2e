"""Captions that lie beside pictures: which file is a picture's, and what it says.

For a picture `a.jpg` these are looked for, in any case: `a.jpg.txt`, `a.jpg.caption` ..., `a.txt`,
`a.caption` ... with each of `ENDINGS`. The first that is not empty counts, as most programs write
`.txt`; the others are on record.
Pictures whose names differ in their extension only share one caption.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.gate import sidecars
from bakery.gate.sidecars import BrokenSidecar
from bakery.io import images, tables, walk
from bakery.io.text_files import UTF8, DecodedText
from bakery.sources import candidates, ratings
from bakery.sources.caption_grammar import TooLong, WrittenCaption, parse, together

EXTENSIONS = (".txt", ".caption", ".captions", ".cap", ".text", ".tags", ".tag", ".wd14", ".blip")
"""Of caption files, the one that counts first."""
ENDINGS = (*EXTENSIONS, ".tags.txt", ".caption.txt")
"""What may follow a picture's name or stem in its caption's name, the one that counts first. Hydrus
writes `.tags.txt` where it writes addresses or notes, too."""
NAME = "captions.csv"
"""The table beside posts.csv, where there are captions."""
CANDIDATES = "candidates.csv"
"""The table beside it of pictures with several captions in a file (`candidates.py`)."""
COLUMNS = ("image", "caption", "file", "changes")
"""Of `NAME`: the caption as one line, the file it is from, and what was taken out of it."""
_CANDIDATE_COLUMNS = ("image", "caption")
"""Of `CANDIDATES`, a row for each candidate."""


@dataclass(frozen=True)
class OwnCaption:
    """What a person or a program wrote beside a picture."""

    caption: WrittenCaption
    """Without pieces where all its files are empty."""
    file: str
    """Name of the file."""
    encoding: str = UTF8
    unused: tuple[str, ...] = ()
    """Other caption files of the picture."""
    candidates: tuple[str, ...] = ()
    """The captions in the file, if it has several."""

    @property
    def rating(self) -> str:
        """What it says of the rating, in our words."""
        said = ratings.in_our_words(self.caption.rating)
        return said or ratings.in_tags(one.text for one in self.caption.pieces)


@dataclass
class CaptionFiles:
    """The caption files of the folders that pictures lie in."""

    _listed: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def of(self, picture: Path) -> OwnCaption | None:
        """The caption of a picture, None where there is no file.

        Raises `BrokenSidecar` when a file is no text or too long a one, or OSError.
        """
        read = [(path, sidecars.decoded(path)) for path in self.beside(picture)]
        parsed = [(path, _parsed(path, text), text) for path, text in read]
        if not parsed:
            return None
        path, caption, text = next((one for one in parsed if one[1].pieces), parsed[0])
        unused = tuple(other.name for other, _, _ in parsed if other is not path)
        several = candidates.parsed(text.text)
        return OwnCaption(caption, path.name, text.encoding, unused, several)

    def beside(
        self, picture: Path, *, stem_only: bool = False, endings: Sequence[str] = ENDINGS
    ) -> list[Path]:
        """The caption files of a picture, the one that counts first; their content is not looked at.

        `stem_only`: `a.jpg.txt` is none, as for trainers. `endings` are those of caption files.
        """
        listing = self._listing(picture.parent)
        stems = (picture.stem,) if stem_only else (picture.name, picture.stem)
        names = [stem + ending for stem in stems for ending in endings]
        return [listing[same] for name in names if (same := _same(name)) in listing]

    def _listing(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            paths = sorted(folder.iterdir())  # of `a.TXT` and `a.txt` the latter counts
            self._listed[folder] = {_same(path.name): path for path in paths}
        return self._listed[folder]


def count(folder: Path) -> tuple[int, int]:
    """(pictures below `folder` that have a caption file with something in it, all pictures there).

    Goes by names and sizes; nothing is read.
    """
    known = {*images.REAL_EXTENSIONS.values(), ".jpeg"}
    pictures = [path for path in walk.shown(folder) if path.suffix.lower() in known]
    files = CaptionFiles()
    captioned = (any(map(_has_content, files.beside(path))) for path in pictures)
    return sum(captioned), len(pictures)


def write(path: Path, own: Iterable[tuple[str, str, OwnCaption]]) -> None:
    """Writes `NAME` from (image, address of its caption file, caption); no captions, no file."""
    rows = [
        {
            "image": image,
            "caption": one.caption.text,
            "file": file,
            "changes": tables.join(f"{what} {n}" for what, n in one.caption.changes.items()),
        }
        for image, file, one in own
        if one.caption.pieces
    ]
    if rows:
        tables.write(path, rows, COLUMNS)
    else:
        path.unlink(missing_ok=True)


def write_candidates(path: Path, several: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Writes `CANDIDATES` from (image, its captions); no candidates, no file."""
    rows = [{"image": image, "caption": text} for image, texts in several for text in texts]
    if rows:
        tables.write(path, rows, _CANDIDATE_COLUMNS)
    else:
        path.unlink(missing_ok=True)


def read_candidates(path: Path) -> dict[str, tuple[str, ...]]:
    """Image -> its captions, from a table as `write_candidates` makes it; {} where there is none."""
    found: dict[str, tuple[str, ...]] = {}
    for row in tables.records(tables.read(path, _CANDIDATE_COLUMNS)) if path.exists() else ():
        found[row["image"]] = (*found.get(row["image"], ()), row["caption"])
    return found


def read(path: Path) -> dict[str, str]:
    """Image -> its own caption, from the scrape stage's `NAME`; {} where there is none."""
    if not path.exists():
        return {}
    return {row["image"]: row["caption"] for row in tables.records(tables.read(path, COLUMNS))}


def summary(own: Sequence[OwnCaption], pictures: int) -> dict[str, Any]:
    """Counts for the manifest: captions, what was taken out of them, other encodings, other files."""
    several = sum(bool(one.candidates) for one in own)
    encodings = Counter(one.encoding for one in own if one.encoding != UTF8)
    return {
        "captions": sum(bool(one.caption.pieces) for one in own),
        "of_pictures": pictures,
        "empty": sum(not one.caption.pieces for one in own),
        "unused_files": sum(len(one.unused) for one in own),
        "encodings": dict(sorted(encodings.items())),
        "changes": together(one.caption for one in own),
    } | ({"with_candidates": several} if several else {})


def told(counts: dict[str, Any]) -> str:
    """`summary` as a line for the log."""
    parts = [f"{counts['captions']} of {counts['of_pictures']} pictures have captions of their own"]
    parts += [f"{what}: {n}" for what, n in _counted(counts)]
    changes = ", ".join(f"{what} {n}" for what, n in counts["changes"].items())
    return "; ".join([*parts, *([f"taken out or made plain: {changes}"] if changes else [])])


def _counted(counts: dict[str, Any]) -> Iterator[tuple[str, int]]:
    if counts["empty"]:
        yield "empty caption files", counts["empty"]
    if counts["unused_files"]:
        yield "second caption files of a picture, not used", counts["unused_files"]
    if counts.get("with_candidates"):
        yield "with several captions in their file", counts["with_candidates"]
    for name, n in counts["encodings"].items():
        yield f"read as {name}", n


def _parsed(path: Path, text: DecodedText) -> WrittenCaption:
    try:
        return parse(text.text)
    except TooLong as problem:
        raise BrokenSidecar(f"{path.name} {problem}") from None


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _same(name: str) -> str:
    """A form that is equal for names that some file system treats as the same."""
    return unicodedata.normalize("NFC", name).casefold()
