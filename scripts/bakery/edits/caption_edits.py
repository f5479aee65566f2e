"""Captions rewritten by hand, among a dataset's edits.

Either `captions.csv`, with the columns image and caption, which the captions page writes; or
`captions/<image stem>.txt`, a file for each.
"""

from __future__ import annotations

import csv
import difflib
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bakery.io import regular_files, text_files
from bakery.io.errors import BakeryError
from bakery.io.text_files import UnreadableText
from bakery.tags import captions

TABLE = "captions.csv"
COLUMNS = ("image", "caption")
LONGEST = 4000
"""Most characters of a caption; a text encoder reads 225 tokens, far less than this."""


@dataclass(frozen=True)
class CaptionEdits:
    """What a person wrote, matched with the pictures."""

    captions: dict[str, str]
    """Picture -> the caption that replaces its own."""
    strangers: tuple[str, ...]
    """A sentence for each file, or line of the table, that is not used."""
    in_files: frozenset[str] = frozenset()
    """The pictures whose caption is in a file of its own."""
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Picture -> its lines by hand, each as one caption, where there are several."""


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
    lines: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        image = of_stem.get(_same(path.stem))
        if path.suffix.lower() == ".txt" and path.is_file() and image is not None:
            found[image], several = caption(path)
            lines |= {image: several} if len(several) > 1 else {}
        else:
            strangers.append(_stranger(path, of_stem))
    return CaptionEdits(found, tuple(strangers), frozenset(found), lines)


def with_table(edits: CaptionEdits, path: Path | None, images: Iterable[str]) -> CaptionEdits:
    """`edits` with the captions of the table at `path` (None: there is none) of `images`.

    A caption of the table replaces one in a file, which is then a stranger. Raises `BakeryError` for a
    table that cannot be read, and for a caption that is empty, too long, or there twice.
    """
    if path is None:
        return edits
    names, table, strangers = {_same(image): image for image in images}, {}, []
    lines = dict(edits.lines)
    for line, name, text in _rows(path):
        image = names.get(_same(name))
        if image is None:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            strangers.append(f"{path}: line {line} names {name!r}, which is not laid out{hint}")
            continue
        if image in table:
            raise BakeryError(
                f"{path} has two captions of {image}: delete line {line} or the other"
            )
        table[image] = _written(
            text, f"{path}: line {line}", "write the caption, or delete the line"
        )
        lines[image] = _lines(text)
    strangers += [
        f"captions/{Path(image).stem}.txt is not used: {path.name} has a caption of {image}, too"
        for image in sorted(edits.in_files & table.keys())
    ]
    return CaptionEdits(
        edits.captions | table,
        (*edits.strangers, *strangers),
        edits.in_files - table.keys(),
        {image: several for image, several in lines.items() if len(several) > 1},
    )


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image and caption of each row of the table."""
    try:
        # a spreadsheet may have put a byte order mark in front
        text = regular_files.read_bytes(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise BakeryError(
                f"{path} has no column {missing[0]!r}; its first line is image,caption"
            )
        for row in reader:
            yield reader.line_num, (row["image"] or "").strip(), row["caption"] or ""
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BakeryError(
            f"{path} cannot be read as a table in UTF-8 ({problem}): save it as the captions page does"
        ) from None
    except OSError as problem:
        raise BakeryError(f"{path} cannot be read ({problem.strerror}): repair it") from None


def caption(path: Path) -> tuple[str, tuple[str, ...]]:
    """The caption in a text file, its lines joined to one; and each of its lines as one.

    Raises `BakeryError` when the file is no text, empty, or too long for a caption.
    """
    text = _text(path)
    return _written(text, f"{path}", "write the caption, or remove the file"), _lines(text)


def _text(path: Path) -> str:
    try:
        return text_files.read(path).text
    except UnreadableText as problem:
        raise BakeryError(f"{path} {problem}") from None
    except OSError as problem:
        raise BakeryError(f"{path} cannot be read ({problem.strerror}): repair it") from None


def _lines(text: str) -> tuple[str, ...]:
    """Each line of a text as one caption; empty ones are none."""
    tags = map(captions.split, text.splitlines())
    return tuple(captions.join(one) for one in tags if one)


def _written(text: str, where: str, cure: str) -> str:
    """A caption as it is used: its lines joined to one."""
    tags = [tag for line in text.splitlines() for tag in captions.split(line)]
    if not tags:
        raise BakeryError(f"{where} is empty: {cure}")
    written = captions.join(tags)
    if len(written) > LONGEST:
        raise BakeryError(
            f"{where} is {len(written)} characters long, and a caption at most {LONGEST}: shorten it"
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
