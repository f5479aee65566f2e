"""Tags in the shapes in which sites, downloaders and taggers write them, by category.

| shape | from |
| --- | --- |
| `tag_string_general: "1girl solo"`, `tags_artist: [...]` | Danbooru, gallery-dl |
| `general_tags: [...]`, `wd14_tags: "1girl, hat"` | makers of data sets |
| `tags: {general: [...], species: [...]}` | e621, and gallery-dl before 2020 |
| `tags: "1girl solo"`, `"1girl, blue hair"`, `[...]` | Gelbooru, moebooru, kohya's meta_cap.json |
| `tags: [{names: [...], category: ...}]`, `[{name: ..., type: 4}]` | szurubooru, Sankaku, Pixiv |
| `tags: {1girl: 0.98}`, `[{general: 0.9}, {1girl: 0.98}]` | waifuc, WD taggers |
| `tags: {<service>: {storage_tags: {"0": [...]}}}`, `character:ada` | Hydrus |
| `general: [["1girl", 0.98]]` | taggers' services |

A tag with a probability counts from the gate's threshold for general tags.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bakery.gate.gate import BELIEVED

GENERAL, CHARACTER, COPYRIGHT, ARTIST, META = "general", "character", "copyright", "artist", "meta"
OURS = (GENERAL, CHARACTER, COPYRIGHT, ARTIST, META)
Groups = dict[str, list[str]]
"""Category -> its tags, underscored; `rating` is a category, too."""

# fmt: off
CATEGORIES: dict[str, str | None] = {
    "general": GENERAL, "default": GENERAL, "tag": GENERAL, "species": GENERAL, "theme": GENERAL,
    "character": CHARACTER, "characters": CHARACTER, "oc": CHARACTER,
    "copyright": COPYRIGHT, "series": COPYRIGHT, "parody": COPYRIGHT, "studio": COPYRIGHT,
    "game": COPYRIGHT, "franchise": COPYRIGHT,
    "artist": ARTIST, "artists": ARTIST, "creator": ARTIST, "mangaka": ARTIST, "circle": ARTIST,
    "meta": META, "metadata": META, "medium": META, "lore": META, "faults": META, "source": META,
    "contributor": META, "director": META, "editor": META, "automatic": META, "language": META,
    "rating": "rating",
    "invalid": None, "deprecated": None, "uploader": None, "title": None, "url": None,
    "filename": None, "md5": None,
}
# fmt: on
"""What sites call a category -> ours; None for what says nothing of the picture. Unknown ones are
general."""
_NUMBERED = {1: ARTIST, 2: COPYRIGHT, 3: COPYRIGHT, 4: CHARACTER, 8: META, 9: META}
"""Categories as Danbooru, Gelbooru and Sankaku number them; others are general."""
_OF_CATEGORY = re.compile(r"(?:tags|tag_string)_(?!string|count|search|ids?$|locked)(\w+)")
_TAGGERS = ("tagger", "auto", "wd", "wd14", "booru", "danbooru")
"""Whose tags they are, where a field is called so: `wd14_tags`."""
_NAMED_TAGS = re.compile(rf"({'|'.join((*CATEGORIES, *_TAGGERS))})_tags")
_FLAT = ("tags", "tag_string", "tag_names", "tag_list", "keywords", "service_keys_to_statuses_to_tags",
         "service_names_to_statuses_to_tags")  # fmt: skip
_OF_TAGGERS = ("general", "character", "copyright", "artist")
_NAMES = ("name", "tag", "tagName", "tag_name", "label")
_OF_TYPE = ("category", "type", "namespace", "tag_type")
_CHANCES = ("confidence", "probability", "prob", "score")
_CURRENT = "0"
"""Hydrus' status of tags that a file has; others are pending or deleted."""
_DEEPEST = 20
"""Tables in tables in which tags are looked for; Hydrus' are four deep."""
_ESCAPED = re.compile(r"\\([()])")  # as prompts need them
_ENTITY = re.compile(r"&#?\w+;")  # Gelbooru's API gives tags as its pages have them
_DECIMAL = re.compile(r"[01]?\.\d+")
_WITH_NUMBER = re.compile(r"(?:page|chapter|volume|score|id|parent|pool|width|height):\d+")


def read(data: Mapping[str, Any]) -> Groups:
    """The tags in a post's metadata, each once."""
    found = _Found()
    for key, value in data.items():
        name = str(key)
        if match := _OF_CATEGORY.fullmatch(name) or _NAMED_TAGS.fullmatch(name):
            found.add(value, _category(match[1]))
    for key in _FLAT:  # those that are in no category; moebooru's have one only where it is known
        found.add(data.get(key), GENERAL)
    if not found.groups:
        for key in _OF_TAGGERS:
            if isinstance(data.get(key), (list, tuple, Mapping)):
                found.add(data[key], _category(key))
    return found.lists()


def words(text: str) -> list[str]:
    """The tags in one text: a line each, or with commas between them, or with spaces."""
    if re.search(r"[,\n]", text):
        pieces = re.split(r"[,\n]", text)
    else:
        pieces = text.split()
    return [tag for tag in map(_underscored, pieces) if tag]


class _Found:
    """Tags by category; a tag belongs to the category in which it was seen first."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, None]] = {}
        self._seen: set[str] = set()
        self._depth = 0

    def lists(self) -> Groups:
        return {name: list(tags) for name, tags in self.groups.items()}

    def add(self, value: Any, category: str | None) -> None:
        """The tags of `value`, of whatever shape, to `category` unless they name their own."""
        if self._depth == _DEEPEST:
            return
        self._depth += 1
        if isinstance(value, str):
            for tag in words(value):
                self._one(tag, category)
        elif isinstance(value, (list, tuple)):
            for one in value:
                self._entry(one, category)
        elif isinstance(value, Mapping):
            self._table(value, category)
        self._depth -= 1

    def _entry(self, entry: Any, category: str | None) -> None:
        """An entry of a list: a tag, a tag with its probability, or a table about a tag."""
        if isinstance(entry, str):
            self._one(_underscored(entry), category)
        elif isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str):
            if _believed(entry[1]):
                self._one(_underscored(entry[0]), category)
        elif isinstance(entry, Mapping):
            several = entry.get("names")
            names = several if isinstance(several, list) else []
            names = names or [entry.get(name) for name in ("names", *_NAMES)]
            name = next((n for n in names if isinstance(n, str) and n.strip()), None)
            if name is None or not all(_believed(entry[c]) for c in _CHANCES if c in entry):
                return
            kinds = (entry[kind] for kind in _OF_TYPE if entry.get(kind) is not None)
            self._one(_underscored(name), _category(next(kinds, category)))

    def _table(self, table: Mapping[str, Any], category: str | None) -> None:
        """Probabilities by tag, tags by category, or Hydrus' services."""
        for key, value in table.items():
            if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
                value = float(value)
            if value is None or isinstance(value, (int, float)):
                if _believed(value):
                    self._one(_underscored(str(key)), category)
            elif isinstance(value, Mapping) and (
                "storage_tags" in value or "display_tags" in value
            ):
                self.add(value.get("storage_tags") or value["display_tags"], category)
            elif str(key).isdecimal():
                if key == _CURRENT:
                    self.add(value, category)
            elif isinstance(value, Mapping) and _CURRENT in value:
                self.add(value[_CURRENT], category)
            else:
                self.add(value, _category(str(key)))

    def _one(self, tag: str, category: str | None) -> None:
        """Adds a tag; of category None it is only noted, lest it count as another's."""
        prefix, colon, rest = tag.partition(":")
        if _WITH_NUMBER.fullmatch(tag):
            return
        if colon and rest and prefix.lower() in CATEGORIES:
            tag, category = rest, CATEGORIES[prefix.lower()]
        if tag and tag not in self._seen:
            self._seen.add(tag)
            if category is not None:
                self.groups.setdefault(category, {})[tag] = None


def _category(name: Any) -> str | None:
    if name is None:
        return None
    plain = str(name).casefold()
    if plain.isdecimal():  # rows of Danbooru's own tables have numbers as texts
        return _NUMBERED.get(int(plain), GENERAL)
    for word in (plain, plain.rpartition("_")[2]):  # szurubooru: `art_artist`
        if word in CATEGORIES:
            return CATEGORIES[word]
    return GENERAL


def _believed(chance: Any) -> bool:
    """Whether a number beside a tag keeps it: a probability must be high enough; a count is none."""
    if isinstance(chance, bool) or chance is None:
        return chance is not False
    if not isinstance(chance, (int, float)):
        return True
    return chance >= BELIEVED["general"] if isinstance(chance, float) else chance > 0


def _underscored(tag: str) -> str:
    tag = _ENTITY.sub(lambda entity: html.unescape(entity[0]), tag)
    return "_".join(_ESCAPED.sub(r"\1", tag).split())


def flat(groups: Groups) -> Iterator[str]:
    """Every tag of all categories."""
    for tags in groups.values():
        yield from tags
