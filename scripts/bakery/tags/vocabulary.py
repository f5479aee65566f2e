"""The vocabulary: what every tag is about, from one table.

`resources/vocabulary.csv` lists some 8,400 tags, labelled one by one: topic, kind, whether a derived
prompt may ask for it, and the tags that it implies. `resources/tag_aliases.csv` leads from other names
to these. Both are read once. All that needs to know what a tag means asks here; there is no second list.

Tags may be spelled in any way (see `captions.same`).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.tags import captions, tag_forms
from bakery.tags.tag_forms import Entry, is_doing

KINDS: Mapping[str, tuple[str, ...]] = {
    "trait": (
        "hair", "eyes", "ears", "tail", "wings", "horns", "halo", "ornament", "mark", "skin", "teeth",
        "species", "build", "face",
    ),
    "outfit": ("garment", "accessory", "pattern", "cut"),
    "scene": ("place", "scenery", "light", "time", "background"),
    "expression": ("",),
    "pose": ("",),
    "framing": ("", "several"),
    "action": ("",),
    "object": ("",),
    "people": ("", "one", "several"),
    "style": ("", "several", "colorless"),
    "meta": ("", "text", "page"),
    "sexual": ("",),
}  # fmt: skip
"""Topics and their kinds. Outside of traits, outfits and scenes few tags have one: `several` (more than
one character or picture), `one` (a subject alone), `colorless`, `text` (some writing), `page` (much)."""

ASKED = ("outfit", "scene", "expression")
"""Topics that derived prompts ask for."""
COLUMNS = ("tag", "topic", "kind", "ask", "implies")

_HOME = Path(__file__).parents[3]
_NOTHING = Entry()
_NOT_WORN = frozenset({
    "no", "fake", "alternate", "unworn", "in", "on", "under", "over", "own", "another's", "behind",
})  # fmt: skip
"""Words before a thing that take it back: `no hat`, `cat on head`."""


@dataclass(frozen=True)
class Table:
    """The two files."""

    entries: Mapping[str, Entry]
    implies: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    sexual: frozenset[str]
    """The sexual tags of one word."""


def of(tag: str) -> Entry:
    """What `tag` is about: by the table, by its alias there, or else by its form.

    A tag of which neither says anything has an entry without a topic.
    """
    return _of(captions.same(tag))


def listed(tag: str) -> bool:
    """Whether the table has `tag`, by this name or another."""
    return bool(_listed(captions.same(tag)))


def askable(tag: str) -> str | None:
    """The topic of a tag that a derived prompt may ask for; None for any other."""
    entry = of(tag)
    return entry.topic if entry.ask else None


def plain(tag: str) -> str:
    """A garment without its colours and patterns: `red jacket` -> `jacket`.

    "" where nothing that may be asked remains, or nothing was there to be removed.
    """
    rest = tag_forms.without_plain_words(captions.same(tag).split(" "))
    return rest if rest and askable(rest) == "outfit" else ""


def implied(tag: str, known: Container[str]) -> set[str]:
    """The tags of `known` that `tag` contains: `cat ears` are animal ears, `red jacket` is a jacket.

    By the table (Danbooru's implications), and for traits and what is worn also by form: the tag
    ends in another of its kind, and nothing before takes it back. What is implied implies in turn.
    """
    start = captions.same(tag)
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in _direct(waiting.pop()):
            if other not in found and other != start:
                found.add(other)
                waiting.append(other)
    return {other for other in found if other in known}


@functools.cache
def table() -> Table:
    """The table and the aliases. Raises `BakeryError` where a file is damaged."""
    entries: dict[str, Entry] = {}
    implies: dict[str, tuple[str, ...]] = {}
    for row in _rows(_HOME / "resources/vocabulary.csv", COLUMNS):
        tag, topic, kind, ask, wider = row
        entries[tag] = Entry(topic, kind, ask == "1")
        if wider:
            implies[tag] = tuple(tables.split(wider))
    aliases = {
        row[0]: row[1] for row in _rows(_HOME / "resources/tag_aliases.csv", ("alias", "tag"))
    }
    sexual = (tag for tag, entry in entries.items() if entry.topic == "sexual" and " " not in tag)
    return Table(entries, implies, aliases, frozenset(sexual))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    """The rows of a file below its head. Not by pandas, which takes three times as long."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != list(columns):
            raise BakeryError(f"{path} does not begin with the columns {', '.join(columns)}")
        for row in reader:
            if len(row) != len(columns):
                raise BakeryError(
                    f"{path}, line {reader.line_num}: {len(row)} cells instead of {len(columns)}; quote "
                    "a tag that holds a comma"
                )
            yield row


def _listed(name: str) -> str:
    """The name of the table for a tag; "" if it has none."""
    known = table()
    return name if name in known.entries else known.aliases.get(name, "")


@functools.lru_cache(maxsize=1 << 16)
def _of(name: str) -> Entry:
    known = table()
    if there := _listed(name):
        return known.entries[there]
    return tag_forms.judge(name, known.entries, known.sexual)


@functools.lru_cache(maxsize=1 << 16)
def _direct(name: str) -> tuple[str, ...]:
    """What a tag implies in one step: its canonical name, the table's, and endings of its own kind."""
    there = _listed(name)
    by_form = (end for end in _endings(name) if _same_kind(of(name), of(end)))
    canonical = (there,) if there and there != name else ()
    return (*canonical, *table().implies.get(there, ()), *by_form)


def _endings(name: str) -> Iterator[str]:
    words = name.split(" ")
    for place in range(1, len(words)):
        if words[place - 1] in _NOT_WORN or is_doing(words[place - 1]):
            return
        yield " ".join(words[place:])


def _same_kind(one: Entry, other: Entry) -> bool:
    if one.topic != other.topic or one.topic not in ("trait", "outfit"):
        return False
    worn = ("garment", "accessory")
    return one.kind == other.kind if one.topic == "trait" else {one.kind, other.kind} <= {*worn}
