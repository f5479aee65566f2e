"""Everything written next to and inside a picture's file, read for the gate.

A caption needs what its writer meant; the gate needs what is written anywhere. So
every text file that has the picture's stem or name counts (`a.txt`, `a.png.json`, `A.TAGS.TXT`,
`.a_meta.json`), what is written of the whole folder (`info.json`), tables that name several pictures
(`metadata.jsonl`, `meta_cap.json`), and the texts inside the picture. If a file that should contain
text cannot be read, its content is unknown, so its picture stays out.
"""

from __future__ import annotations

import csv
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from bakery.gate import gate, linked_tables
from bakery.gate.gate import Facts
from bakery.io import images, text_files
from bakery.io.png_texts import MOST_TEXT, TooMuchText
from bakery.io.text_files import DecodedText, UnreadableText

# fmt: off
TEXT_LIKE = frozenset({
    ".txt", ".text", ".caption", ".captions", ".cap", ".tag", ".tags", ".tagger", ".prompt",
    ".prompts", ".json", ".jsonl", ".ndjson", ".json5", ".jsonc", ".csv", ".tsv", ".xmp", ".xml",
    ".rdf", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".md", ".html", ".htm", ".nfo", ".info", ".desc",
    ".description", ".meta", ".metadata", ".booru", ".note", ".notes", ".rating", ".keywords", ".list",
    ".lst", ".log", ".rtf", ".srt", ".wd14", ".blip", ".txt2", ".bak",
})
# fmt: on
"""Extensions of files that may describe a picture."""
MOST_BYTES = 16 * 2**20
"""Longer files are not sidecars."""
ALBUMS = frozenset({"info.json", "info.txt", "info.yaml", "comicinfo.xml"})
"""Names of files that download managers write for all pictures of a folder."""
_LINES = {".jsonl", ".ndjson"}
_TABLES = {".csv", ".tsv"}


class BrokenSidecar(Exception):
    """A sidecar that cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Said:
    """Everything written about one picture."""

    facts: Facts = gate.NOTHING
    trouble: str = ""
    """Why something could not be read; empty if everything was."""


def read_text(path: Path) -> str:
    """The text of a sidecar. Raises `BrokenSidecar` when it is none, or OSError."""
    return decoded(path).text


def decoded(path: Path) -> DecodedText:
    """The text of a sidecar and its encoding. Raises `BrokenSidecar` when it is none, or OSError."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise BrokenSidecar(f"{path.name} is no file, where text should be: remove it")
        if about.st_size > MOST_BYTES:
            raise BrokenSidecar(f"{path.name} is larger than {MOST_BYTES >> 20} MB: shorten it")
        return text_files.read(path)
    except UnreadableText as problem:
        raise BrokenSidecar(f"{path.name} {problem}") from None
    except FileNotFoundError:
        raise BrokenSidecar(f"{path.name} is a link to nothing: repair or remove it") from None


def of_sidecar(path: Path) -> Facts:
    """The facts in one sidecar; where its encoding is a guess, those in the other readings, too.

    Raises `BrokenSidecar`, or OSError.
    """
    read = decoded(path)
    return _of_text(path, read.text) | gate.of_texts(read.others)


def _of_text(path: Path, text: str) -> Facts:
    kind = path.suffix.lower()
    if kind == ".json":
        try:
            return gate.of_json(gate.parse(text))
        except (ValueError, RecursionError) as problem:
            raise BrokenSidecar(
                f"{path.name} is not JSON ({problem}): repair or remove it"
            ) from None
    if kind in _LINES:
        return gate.of_json(_lines(path, text))
    if kind in _TABLES:
        try:
            return gate.together(
                map(_of_row, csv.reader(text.splitlines(), dialect=_dialect(kind)))
            )
        except csv.Error:
            return gate.of_text(text)
    return gate.of_note(text)


def inside(picture: Path) -> Facts:
    """What is written in the picture's file; nothing where that is no picture.

    Raises `BrokenSidecar` where it is more than can be read.
    """
    try:
        texts = images.written_inside(picture)
    except images.UnreadableImage:
        return gate.NOTHING  # no stage takes it for a picture
    except TooMuchText:
        raise BrokenSidecar(
            f"{picture.name} holds more than {MOST_TEXT >> 20} MB of text: save it without its metadata"
        ) from None
    if "prompt" in texts:
        # ComfyUI writes the same twice, and only here it shows what was asked not to be drawn
        texts.pop("workflow", None)
    return gate.of_json(texts)


@dataclass
class Sidecars:
    """The files below a folder, and which of them describe which picture."""

    folder: Path
    _listed: dict[Path, _Listing] = field(default_factory=dict)

    def said_of(self, picture: Path) -> Said:
        """Everything written next to and inside `picture`, and in its path below the folder."""
        within = picture.relative_to(self.folder)
        facts = gate.of_text(", ".join((*within.parts[:-1], within.stem)))
        troubles = []
        try:
            facts |= inside(picture)
        except BrokenSidecar as problem:
            troubles.append(str(problem))
        listing = self._listing(picture.parent)
        for sidecar in (*listing.beside(picture.name), *listing.mirrors):
            try:
                facts |= of_sidecar(sidecar)
            except BrokenSidecar as problem:
                troubles.append(str(problem))
            except OSError as problem:
                troubles.append(f"{sidecar.name} cannot be read: {problem.strerror}")
        facts |= self.of_tables(picture.parent, picture.name)
        return Said(facts, "; ".join(troubles))

    def of_tables(self, folder: Path, picture: str) -> Facts:
        """What the tables in `folder` and those above it say of a picture of this name."""
        facts = gate.NOTHING
        for above in (folder, *folder.parents):
            facts |= self._listing(above).of_tables(picture)
            if above == self.folder:
                break
        return facts

    def _listing(self, folder: Path) -> _Listing:
        if folder not in self._listed:
            self._listed[folder] = _Listing(sorted(folder.iterdir()))
        return self._listed[folder]


class _Listing:
    """The files of one folder."""

    def __init__(self, paths: Iterable[Path]) -> None:
        paths = list(paths)
        self._texts = [path for path in paths if path.suffix.lower() in TEXT_LIKE]
        self._pictures = [path.name for path in paths if path.suffix.lower() not in TEXT_LIKE]

    def beside(self, picture: str) -> list[Path]:
        """The sidecars of a picture: those that have its name, or its stem, and no nearer picture."""
        return [*self._owned[_same(picture)], *self._owned[_stem(picture)]]

    @property
    def mirrors(self) -> list[Path]:
        """What is written of all pictures here."""
        return [path for path in self._texts if path.name.lower() in ALBUMS]

    def of_tables(self, picture: str) -> Facts:
        """What the folder's tables of several pictures say of one."""
        names = {_same(picture), _stem(picture)}
        return gate.together(self._told[name] for name in names if name in self._told)

    @cached_property
    def _owned(self) -> defaultdict[str, list[Path]]:
        """Name or stem -> its sidecars."""
        known = {name for picture in self._pictures for name in (_same(picture), _stem(picture))}
        owned: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self._texts:
            owner = next((name for name in _prefixes(path.name) if name in known), None)
            if owner is not None:
                owned[owner].append(path)
        return owned

    @cached_property
    def _told(self) -> Mapping[str, Facts]:
        """Name or stem -> what the tables say; only tables are read that are no picture's own."""
        owned = {path for paths in self._owned.values() for path in paths}
        told: defaultdict[str, Facts] = defaultdict(Facts)
        for path in self._texts:
            if path in owned or path.suffix.lower() not in {".json", *_LINES, *_TABLES}:
                continue
            for name, facts in _records(path):
                told[name] |= facts
        return told


def _records(path: Path) -> Iterator[tuple[str, Facts]]:
    """Who is spoken of in a table of pictures, and what is said; nothing where it is no table."""
    kind = path.suffix.lower()
    try:
        text = read_text(path)
        if kind in _TABLES:
            rows = csv.reader(text.splitlines(), dialect=_dialect(kind))
            yield from ((_stem(cell), _of_row(row)) for row in rows for cell in row[:3])
            return
        data = _lines(path, text) if kind in _LINES else gate.parse(text)
    except (BrokenSidecar, OSError, ValueError, RecursionError, csv.Error):
        return  # it belongs to no picture in particular
    waiting: list[Any] = [linked_tables.together(data)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            for key, inner in value.items():  # {"folder/a.png": {...}}
                if isinstance(inner, (dict, list, str)):
                    yield _stem(key), gate.of_json({"tags": inner})
            if names := {_stem(name) for name in _names(value)}:
                facts = gate.of_json(value)
                yield from ((name, facts) for name in names)
            waiting += [inner for inner in value.values() if isinstance(inner, (dict, list))]


def _names(table: Mapping[str, Any]) -> Iterator[str]:
    """What may be the name of a picture that a table is about."""
    for value in table.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and "." in one and len(one) < 500:
                yield one


def _of_row(row: list[str]) -> Facts:
    """What a line of a table says, unless a probability in it says that it is not believed."""
    numbers = [_number(cell) for cell in row if "." in cell]
    probable = [number for number in numbers if number is not None and 0 <= number <= 1]
    if probable and max(probable) < gate.BELIEVED["general"]:
        return gate.NOTHING
    return gate.of_texts([", ".join(row)])


def _lines(path: Path, text: str) -> list[Any]:
    try:
        return [gate.parse(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as problem:
        raise BrokenSidecar(
            f"{path.name} is not JSON line by line ({problem}): repair or remove it"
        ) from None


def _dialect(kind: str) -> type[csv.Dialect]:
    return csv.excel_tab if kind == ".tsv" else csv.excel


def _prefixes(name: str) -> Iterator[str]:
    """What a sidecar's picture may be called, the longest first: `a.b.txt` is of `a.b`, or of `a`."""
    plain = _same(name)
    if plain.endswith("_meta.json"):
        plain = plain.removesuffix("_meta.json").removeprefix(".") + ".json"
    while "." in plain[1:]:
        plain = plain.rpartition(".")[0]
        yield plain


def _stem(name: str) -> str:
    return _same(PurePosixPath(name.replace("\\", "/")).stem)


def _same(name: str) -> str:
    """A form that is equal for names that some file system treats as the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
