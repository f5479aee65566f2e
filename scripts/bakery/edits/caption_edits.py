"""Captions rewritten by hand: `captions/<image stem>.txt` among a dataset's edits."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bakery.io import text_files
from bakery.io.errors import BakeryError
from bakery.io.text_files import UnreadableText
from bakery.tags import captions

LONGEST = 4000
"""Most characters of a caption; a text encoder reads 225 tokens, far less than this."""


@dataclass(frozen=True)
class CaptionEdits:
    """What a person wrote, matched with the pictures."""

    captions: dict[str, str]
    """Picture -> the caption that replaces its own."""
    strangers: tuple[str, ...]
    """A sentence for each file that belongs to no picture."""


def read_captions(folder: Path | None, images: Iterable[str]) -> CaptionEdits:
    """The rewritten captions in `folder` (None: there are none) of `images`.

    Raises `BakeryError` for a caption that is no text, empty or too long.
    """
    if folder is None:
        return CaptionEdits({}, ())
    if not folder.is_dir():
        raise BakeryError(f"{folder} is a file: make it a folder with a <picture>.txt in it")
    of_stem = {_same(Path(image).stem): image for image in images}
    found, strangers = {}, []
    for path in sorted(folder.iterdir()):
        image = of_stem.get(_same(path.stem))
        if path.suffix.lower() == ".txt" and path.is_file() and image is not None:
            found[image] = caption(path)
        else:
            strangers.append(_stranger(path, of_stem))
    return CaptionEdits(found, tuple(strangers))


def caption(path: Path) -> str:
    """The caption in a text file, its lines joined to one.

    Raises `BakeryError` when the file is no text, empty, or too long for a caption.
    """
    try:
        text = text_files.read(path).text
    except UnreadableText as problem:
        raise BakeryError(f"{path} {problem}") from None
    tags = [tag for line in text.splitlines() for tag in captions.split(line)]
    if not tags:
        raise BakeryError(f"{path} is empty: write the caption, or remove the file")
    written = captions.join(tags)
    if len(written) > LONGEST:
        raise BakeryError(
            f"{path} is {len(written)} characters long, and a caption at most {LONGEST}: shorten it"
        )
    return written


def _stranger(path: Path, of_stem: dict[str, str]) -> str:
    if path.suffix.lower() != ".txt" or not path.is_file():
        return f"{path} is not used: a rewritten caption is named <picture>.txt"
    close = difflib.get_close_matches(path.stem, of_stem, n=1)
    hint = f"; did you mean {close[0]}.txt?" if close else ""
    return f"{path} belongs to no picture that is laid out{hint}"


def _same(stem: str) -> str:
    """A form that is equal for all spellings of a name in file systems."""
    return unicodedata.normalize("NFC", stem)
