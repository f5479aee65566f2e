"""What the files of a folder say about a picture: its own sidecars, and tables of many pictures.

For `a.jpg`, in this order: `a.jpg.json`, `a.json` or `.a_meta.json` (metadata in any shape that
`metadata` knows), its caption (`caption_files`), `a.csv`; then tables in its
folder and those above, the nearest first: `{"sub/a.jpg": {...}}` in any depth, lists and lines of
`{"file_name": "a.jpg", ...}`, and CSV with a column of file names. What the first does not say is taken
from the next. Names match in any case.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from bakery.gate import linked_tables
from bakery.gate import sidecars as gate_files
from bakery.gate.gate import BELIEVED
from bakery.gate.sidecars import BrokenSidecar
from bakery.io import images
from bakery.sources import metadata, ratings, tag_shapes
from bakery.sources.caption_files import ENDINGS, EXTENSIONS, CaptionFiles, OwnCaption
from bakery.sources.caption_grammar import CATEGORIES, TooLong
from bakery.sources.posts import Post

NOT_READ = "text beside a picture that is not named as its caption or metadata"
NOT_KNOWN = "its .json holds no metadata that we know"
_LINES, _CELLS = {".jsonl", ".ndjson"}, {".csv", ".tsv"}
SIDECARS = frozenset({*EXTENSIONS, ".json", *_LINES, *_CELLS})
"""Files that are never pictures; those that say nothing of any picture are recorded by name."""
PICTURES = frozenset({*images.REAL_EXTENSIONS.values(), ".jpeg", ".tif", ".jfif", ".heic", ".jxl"})
_NAME_COLUMNS = {"filename", "file_name", "file", "image", "image_path", "image_file", "path", "name",
                 "filepath"}  # fmt: skip
_TAG_COLUMNS = {"tag", "tags", "name", "label", "category", "score", "confidence", "probability", "prob",
                "weight", "count", "rank", "id", "tag_id"}  # fmt: skip
"""What a tagger calls the columns of a picture's own table."""


@dataclass(frozen=True)
class Note:
    """What is written of one picture."""

    post: Post
    remark: str = ""
    """What could not be used, for the record."""


@dataclass
class Notes:
    """The files below `root` that say something about pictures."""

    root: Path
    captions: CaptionFiles = field(default_factory=CaptionFiles)
    _folders: dict[Path, _Folder] = field(default_factory=dict)

    def of(self, picture: Path, md5: str) -> Note:
        """What is written of `picture`. Raises `BrokenSidecar`, or OSError."""
        folder, post = self._folder(picture.parent), Post()
        noted = [_named(_chosen(own, picture, md5), own) for own in folder.own(picture, (".json",))]
        for told in filter(None, noted):
            post = metadata.filled(post, told)
        if own := self.captions.of(picture):
            post = metadata.filled(post, _of_caption(own))
            post.own = own
        for cells in folder.own(picture, (".csv", ".tsv"))[:1]:
            post = metadata.filled(post, _of_own_cells(cells))
        for above in (picture.parent, *picture.parent.parents):
            if of_table := self._folder(above).told(picture):
                up = "../" * len(picture.parent.relative_to(above).parts)
                post = metadata.filled(post, _under(up, of_table))
            if above == self.root:
                break
        return Note(post, NOT_KNOWN if noted and not any(noted) else "")

    def strangers(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """The sidecars of `folder` that say nothing of any picture there or below, and why."""
        return self._folder(folder).strangers()

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            self._folders[path] = _Folder(path)
        return self._folders[path]


class _Folder:
    """The files of one folder by name, and what its tables say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = sorted(path for path in folder.iterdir() if not path.is_dir() or path.suffix)
        self._texts = [path for path in paths if path.suffix.lower() in gate_files.TEXT_LIKE]
        self._by_name = {_same(path.name): path for path in reversed(self._texts)}
        pictures = [path for path in paths if path.suffix.lower() not in gate_files.TEXT_LIKE]
        self._stems = {_same(name) for path in pictures for name in (path.name, path.stem)}
        self._useless: dict[Path, str] = {}
        self._of_none: set[Path] = set()
        """Tables of which no record is of a picture here, as far as pictures were asked for."""

    def own(self, picture: Path, endings: tuple[str, ...]) -> list[Path]:
        """The sidecars of `picture` with these endings, the most exact name first."""
        names = [stem + ending for ending in endings for stem in (picture.name, picture.stem)]
        names += [f".{picture.stem}_meta{ending}" for ending in endings if ending == ".json"]
        exact = [self.folder / name for name in names]
        there = [self._by_name[_same(name)] for name in names if _same(name) in self._by_name]
        listed = set(self._texts)
        return list(dict.fromkeys([path for path in exact if path in listed] + there))

    def told(self, picture: Path) -> Post | None:
        """What the folder's tables say of `picture`, which is in it or below; None for nothing."""
        parts = tuple(_same(part) for part in picture.relative_to(self.folder).parts)
        best: tuple[int, Post] | None = None
        for key, post, table in self._told.get(_same(picture.stem), ()):
            if alike := _alike(key, parts):
                self._of_none.discard(table)
                if best is None or alike > best[0]:
                    best = alike, post
        return best and best[1]

    def strangers(self) -> Iterator[tuple[Path, str]]:
        _ = self._told  # tables are read by now, or never are
        for path in self._texts:
            if path.suffix.lower() not in SIDECARS:
                continue
            why = self._useless.get(path, "")
            if self._owned(path):
                why = "" if self._read(path) else NOT_READ
            elif path in self._of_none:
                why = "a table that names no picture here"
            elif path.suffix.lower() in EXTENSIONS:
                why = "text that belongs to no picture"
            if why:
                yield path, why

    def _read(self, path: Path) -> bool:
        """Whether a text that has a picture's name is one of those that are read."""
        plain = _same(path.name)
        if plain.endswith("_meta.json"):
            return True
        return any(
            plain.endswith(end) and plain.removesuffix(end) in self._stems
            for end in (*ENDINGS, ".json", *_CELLS)
        )

    def _owned(self, path: Path) -> bool:
        """Whether a text's name is that of a picture here."""
        plain = _same(path.name)
        if plain.endswith("_meta.json") and plain[1:].removesuffix("_meta.json") in self._stems:
            return True
        while "." in plain[1:]:
            plain = plain.rpartition(".")[0]
            if plain in self._stems:
                return True
        return False

    @cached_property
    def _told(self) -> Mapping[str, list[tuple[tuple[str, ...], Post, Path]]]:
        """Stem -> (parts of the path as the table has it, post, the table)."""
        told: defaultdict[str, list[tuple[tuple[str, ...], Post, Path]]] = defaultdict(list)
        for path in self._texts:
            kind = path.suffix.lower()
            if kind not in {".json", *_LINES, *_CELLS} or self._owned(path):
                continue
            try:
                found = list(_records(path))
            except (BrokenSidecar, OSError) as problem:
                self._useless[path] = str(problem)
                continue
            except TooLong as problem:
                self._useless[path] = f"{path.name} {problem}"
                continue
            if not found:
                self._useless[path] = "no metadata that we know"
            else:
                self._of_none.add(path)
            for name, post in found:
                _named(post, path)
                parts = tuple(map(_same, PurePosixPath(name.replace("\\", "/")).parts))
                if parts:
                    told[_stem(parts[-1])].append((parts, post, path))
        return told


def _alike(key: tuple[str, ...], parts: tuple[str, ...]) -> int:
    """How many parts of two paths agree from the end on; 0 where they contradict each other.

    A key without a picture's extension, as kohya writes it, goes with any.
    """
    *folders, name = key
    if name != parts[-1] and (_extension(name) or name != _stem(parts[-1])):
        return 0
    pairs = list(zip(reversed(folders), reversed(parts[:-1]), strict=False))
    return 1 + len(pairs) if all(one == other for one, other in pairs) else 0


def _named(post: Post | None, file: Path) -> Post | None:
    """`post` with the name of the file that its caption is from."""
    if post and post.own:
        post.own = replace(post.own, file=file.name)
    return post


def _under(up: str, post: Post) -> Post:
    """`post` with its caption's file as seen from the picture's folder; `up` leads to the file's."""
    return replace(post, own=post.own and replace(post.own, file=up + post.own.file))


def _of_caption(own: OwnCaption) -> Post:
    """The tags and the rating in a caption."""
    post = Post(rating=own.rating)
    for name in CATEGORIES:
        setattr(post, f"tags_{name}", own.caption.tags(name))
    return post


def _chosen(file: Path, picture: Path, md5: str) -> Post | None:
    """The post in a picture's own metadata: of several the one of its name, md5 or number."""
    try:
        tables = list(metadata.several(_parsed(file)))
        posts = [metadata.of_table(table) for table in tables]
    except TooLong as problem:
        raise BrokenSidecar(f"{file.name} {problem}") from None
    if len(tables) > 1:
        stem = _same(picture.stem)
        posts = [
            post
            for table, post in zip(tables, posts, strict=True)
            if post.md5 == md5
            or stem in {_stem(_same(name)) for name in metadata.named_in(table)}
            or (post.id and post.id in re.findall(r"\d+", stem))
        ]
    return next((post for post in posts if metadata.known(post)), None)


def _records(path: Path) -> Iterator[tuple[str, Post]]:
    """(a picture as a table names it, what is said of it).

    Raises `BrokenSidecar`, `TooLong` or OSError.
    """
    kind = path.suffix.lower()
    if kind in _CELLS:
        yield from _of_rows(_rows(path))
    elif kind in _LINES:
        for line in gate_files.read_text(path).splitlines():
            if line.strip():
                yield from _in_tree(_json(path, line))
    else:
        yield from _in_tree(linked_tables.together(_parsed(path)))


def _in_tree(data: Any, above: str = "") -> Iterator[tuple[str, Post]]:
    """The records in a tree of folders and files, or in lists of tables that name a file."""
    waiting: list[tuple[Any, str]] = [(data, above)]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, list):
            waiting += [(one, place) for one in reversed(value)]
            continue
        if not isinstance(value, Mapping):
            continue
        post = metadata.of_table(value)
        if metadata.known(post) and (names := metadata.named_in(value)):
            yield from ((name, post) for name in names)
            continue
        for key, inner in value.items():
            here = f"{place}/{key}" if place else str(key)
            told = _said_under(str(key), inner)
            if told is not None:
                yield here, told
            elif isinstance(inner, (Mapping, list)):
                waiting.append((inner, here if isinstance(inner, Mapping) else place))


def _said_under(key: str, value: Any) -> Post | None:
    """What a table says of the picture `key`; None where that is no picture."""
    if isinstance(value, Mapping):
        found = (metadata.of_table(table) for table in metadata.several(value))
        post = next((post for post in found if metadata.known(post)), None)
        return post if post and (_extension(key) or not _holds_pictures(value)) else None
    if not _extension(key) or not isinstance(value, (str, list)):
        return None
    texts = value if isinstance(value, str) else [one for one in value if isinstance(one, str)]
    post = metadata.of_table(metadata.of_words(texts))
    return post if metadata.known(post) else None


def _holds_pictures(table: Mapping[str, Any]) -> bool:
    return any(_extension(str(key)) for key in table)


def _of_rows(rows: list[list[str]]) -> Iterator[tuple[str, Post]]:
    """The records of a CSV file, with a line of headings or without."""
    heads = [cell.strip().casefold() for cell in rows[0]] if rows else []
    column = next((n for n, head in enumerate(heads) if head in _NAME_COLUMNS), None)
    told: dict[str, Post] = {}
    for row in rows[column is not None :]:
        if not row or len(row) <= (column or 0):
            continue
        if column is None:
            text = row[1] if len(row) == 2 else ""
            name, post = row[0], metadata.of_table({"caption": text})
            if not metadata.known(post):
                post = _of_tags(_of_row(row[1:]))
        else:
            table = dict(zip(heads, row, strict=False))
            name = table.pop(heads[column])
            post = metadata.of_table(table)
            if not metadata.known(post) or not (post.tags() or post.own):
                rest = _of_tags(_of_row([c for c in row if c != name]))
                post = metadata.filled(post, rest)
        before = told.get(name)
        if before is not None:  # a line for each tag
            post.tags_general = f"{before.tags_general} {post.tags_general}".strip()
            post.rating = ratings.highest([before.rating, post.rating])
        told[name] = post
    yield from ((name, post) for name, post in told.items() if metadata.known(post))


def _of_own_cells(file: Path) -> Post:
    """What a CSV that belongs to one picture says of it."""
    rows = _rows(file)
    heads = {cell.strip().casefold() for cell in rows[0]} if len(rows) > 1 else set()
    tagged = rows[heads <= _TAG_COLUMNS and bool(heads) :]
    try:
        return _of_tags([tag for row in tagged for tag in _of_row(row)])
    except TooLong as problem:
        raise BrokenSidecar(f"{file.name} {problem}") from None


def _of_tags(tags: list[str]) -> Post:
    """What a list of tags in cells says; no caption, as the cells hold tags only."""
    return replace(metadata.of_table({"tags": tags}), own=None)


def _of_row(cells: Iterable[str]) -> list[str]:
    """The tags in a line's cells, unless a probability in it says that they are not believed."""
    numbers = [float(cell) for cell in cells if re.fullmatch(r"\s*[01]?\.\d+\s*", cell)]
    if numbers and max(numbers) < BELIEVED["general"]:
        return []
    texts = [cell for cell in cells if not re.fullmatch(r"\s*-?[\d.]*\s*", cell)]
    return [tag for text in texts for tag in tag_shapes.words(text if "," in text else f"{text},")]


def _rows(path: Path) -> list[list[str]]:
    text = gate_files.read_text(path)
    first = text.partition("\n")[0]
    between = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    try:
        return list(csv.reader(text.splitlines(), delimiter=between))
    except csv.Error as problem:
        raise BrokenSidecar(f"{path.name} is no CSV ({problem}): repair or remove it") from None


def _parsed(path: Path) -> Any:
    return _json(path, gate_files.read_text(path))


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BrokenSidecar(f"{path.name} is not JSON ({problem}): repair or remove it") from None


def _extension(name: str) -> str:
    """The picture's extension that a name ends with; else empty."""
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    return suffix if suffix in PICTURES else ""


def _stem(name: str) -> str:
    """A name without the picture's extension; `a.b` stays, as kohya's keys have none."""
    return name.removesuffix(_extension(name))


def _same(name: str) -> str:
    """A form that is equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
