"""Files in the store of downloads: what may be taken for the file of a post, and what is fetched anew.

Beside each picture are the site's metadata (`<file>.json`, the note) and a seal of both. A picture that
is not as it was fetched, or not the one whose md5 the site names, is never taken on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from bakery.io import images, regular_files, seals
from bakery.io.images import UnreadableImage

log = logging.getLogger(__name__)

OTHER = "what came is not the post's file: its md5 is not the one that the site names"
BROKEN = (
    "what came is {}, and the site names no md5 by which a broken file could be known as its own"
)
FOLDERS = "folders"
"""Copies of local pictures, each with the md5 of its content in its name."""
_PART = ".part"
_MD5 = re.compile(r"[0-9a-fA-F]{32}")


@dataclass
class Shelf:
    """The part of the store that belongs to one site, as it was when it was first asked for."""

    folder: Path
    _files: dict[str, list[Path]] = field(default_factory=dict)
    """Stem -> files, gallery-dl's unfinished ones aside."""

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob("*")):
            if path.suffix != _PART and path.is_file():
                beside = path.suffix in (".json", seals.ENDING)  # <stem>.jpg.json
                stem = path.name.rsplit(".", 2 if beside else 1)[0]
                self._files.setdefault(stem, []).append(path)

    def known(self, stem: str, md5: str) -> Path | None:
        """The file of a post, if it is as it was fetched and the site still has the same one.

        `md5` is empty where the site gives none. All else that is called so is removed: gallery-dl
        would take it for the post's file.
        """
        there = self._files.pop(stem, [])
        notes = [path for path in there if path.suffix == ".json"]
        for note in notes:
            file = note.with_suffix("")
            why = _changed(file, note, md5) if file.is_file() else "is gone"
            if not why:
                return file
            log.warning("%s %s: fetching it again", file, why)
        for path in there:
            path.unlink(missing_ok=True)
        return None


def refused(file: Path, md5: str) -> str:
    """Why a file that was just fetched is not the post's; empty if it is. `md5` may be empty."""
    if _MD5.fullmatch(md5):
        return "" if md5_of(file) == md5.lower() else OTHER
    try:
        images.open_rgb(file)
    except UnreadableImage as problem:
        if problem.reason in ("truncated", "corrupt"):
            return BROKEN.format(problem.reason)
    return ""


def named_for(file: Path) -> str | None:
    """The md5 that the name of a copied picture ends with; None if it ends otherwise."""
    ending = file.stem.rpartition("-")[2]
    return ending if _MD5.fullmatch(ending) else None


def _changed(file: Path, note: Path, md5: str) -> str:
    """Why a file of the store is not taken on; empty if it is."""
    for fault in seals.faults(note):
        return fault.why
    try:
        recorded = json.loads(note.read_text(encoding="utf-8"))["md5"]
    except (ValueError, KeyError, TypeError):
        return "has a note that cannot be read"
    if recorded != md5:
        return "was replaced on the site"
    if not seals.of(note).is_file() and (why := refused(file, md5)):
        return f"has no seal, and {why}"  # an earlier version wrote none
    return ""


def md5_of(file: Path) -> str:
    """md5 of a regular file's bytes, in hex, as sites name it."""
    with regular_files.open_binary(file) as opened:
        return hashlib.file_digest(opened, _md5).hexdigest()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
