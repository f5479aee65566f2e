"""The gate that no setting turns off: it keeps out pictures of sexualised minors and prompts for
them.

Everything known about a picture (every sidecar, the site's metadata, the tagger's tags, its
caption, its ratings) is read into `Facts`, which add up. A picture is refused if anything names
sexualised minors, or if something names children and something, there or elsewhere, a rating above
sensitive or sex. Prompts are checked with the same words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import Any

from bakery.gate import words
from bakery.gate.spelling import forms

FORBIDDEN = "forbidden_tag"
"""The recorded reason for everything the gate keeps out."""
BELIEVED = {"general": 0.35, "character": 0.85}
"""Probability from which a tagger's tag counts for the gate, whatever the settings are: kohya's
usual thresholds. A word at 0.02 keeps nothing out."""
SURE_RATING = 0.5
"""A tagger's rating counts from here: it is then likelier than all others together."""

_ABOVE = frozenset({"questionable", "explicit"})
_NOT_SEEN = re.compile(
    r"negative|(^|_)uc(_|$)|undesired|blacklist|exclude|^search|(^|_)(md5|sha1|sha256|hash)$"
)
_PEOPLE = re.compile(
    r"url|link|href|source|site|domain|upload|user|author|artist|creator|account|owner|approver|"
    r"comment_|comments|^notes?$|pools?$|file_?name|path|^file$|preview|directory|category$"
)
_RATING = re.compile(r"(^|_)(rating|ratings|safety)(_name)?$")
_FLAGS = re.compile(r"^(is_)?(nsfw|adult|mature|over_18|r18|r_18|explicit|x_restrict)$")
_TAGS = re.compile(r"tag|keyword|^(general|species|character|copyright|lore|meta|invalid)$")
_FORMED = re.compile(r"^\s*[\[{]|Steps:")
_NO = frozenset({"", "0", "0.0", "false", "no", "none", "null"})
_PLAIN_KEY = re.compile(r"[^0-9a-z]+")
_LONGEST_PIECE, _OVERLAP = 20_000, 200
_LONGEST_REMEMBERED = 2000
_CUTS = (",", "\n", "\r")
_NUMBER = re.compile(r"[\d.,/ +-]*")
_NEGATIVE = re.compile(
    r"^[ \t]*Negative prompt:.*?(?=^[^\n]*\bSteps: *\d)", re.MULTILINE | re.DOTALL
)
_NEGATIVE_SETTING = re.compile(
    r'\b[Nn]egative (?:prompt|template)[^:\n,]*: *(?:"(?:[^"\\\n]|\\.)*"|[^,\n]*)'
)


@dataclass(frozen=True)
class Facts:
    """What the gate knows; `a | b` combines both."""

    named: bool = False
    """Sexualised minors are named."""
    minor: bool = False
    """Children are named."""
    adult: bool = False
    """A rating is above sensitive, or something is unmistakably sexual."""

    def __or__(self, other: Facts) -> Facts:
        return Facts(self.named | other.named, self.minor | other.minor, self.adult | other.adult)

    def __bool__(self) -> bool:
        return self.named or self.minor or self.adult

    @property
    def refused(self) -> bool:
        return self.named or (self.minor and self.adult)


NOTHING = Facts()


def together(facts: Iterable[Facts]) -> Facts:
    return reduce(or_, facts, NOTHING)


def of_text(text: str) -> Facts:
    """The facts in a caption, a list of tags, a prompt, or megabytes of it."""
    return _in_pieces(text, _read)


def of_name(text: str) -> Facts:
    """The facts in the name of a person or a site, or in an address: the plainest words only."""
    return _in_pieces(text, _read_name)


def _in_pieces(text: str, read: Callable[[str], Facts]) -> Facts:
    return together(
        _remembered(piece, read) if len(piece) <= _LONGEST_REMEMBERED else read(piece)
        for piece in dict.fromkeys(_pieces(text))
    )


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces that need little memory, cut between tags where there are any.

    Where there are none, a piece begins with the end of the one before.
    """
    start = 0
    while len(text) - start > _LONGEST_PIECE:
        end = start + _LONGEST_PIECE
        cut = max(text.rfind(mark, start + 1, end) for mark in _CUTS)
        again = 0
        if cut < 0:
            space = text.rfind(" ", start + 2 * _OVERLAP, end)
            cut, again = (end if space < 0 else space), _OVERLAP
        yield text[start:cut]
        start = cut - again
    yield text[start:]


@lru_cache(maxsize=16384)
def _remembered(text: str, read: Callable[[str], Facts]) -> Facts:
    return read(text)


def _read(text: str) -> Facts:
    named = minor = adult = False
    for form in forms(text):
        form = words.INNOCENT.of(form).sub("-", form)
        named = named or bool(words.NAMED.of(form).search(form))
        minor = minor or bool(words.MINOR.of(form).search(form))
        adult = adult or bool(words.ADULT.of(form).search(form))
    return Facts(named, minor, adult)


def _read_name(text: str) -> Facts:
    return Facts(named=any(words.EXACT.of(form).search(form) for form in forms(text)))


def of_texts(texts: Iterable[str]) -> Facts:
    return together(map(of_text, texts))


def of_rating(value: Any) -> Facts:
    """The facts in a field called rating: text, a list of texts, or a table of probabilities."""
    if isinstance(value, str):
        plain = value.strip().casefold().replace("_", " ").replace("-", " ").strip(" .")
        plain = plain.removeprefix("rating").lstrip(" :=")
        harmless = plain in words.HARMLESS_RATINGS or bool(_NUMBER.fullmatch(plain))
        return Facts(adult=not harmless) | of_text(value)
    if isinstance(value, Mapping):
        numbers = {k: v for k, v in value.items() if isinstance(v, (int, float))}
        if numbers and len(numbers) == len(value):
            return of_rating(str(max(numbers, key=numbers.__getitem__)))
        return together(map(of_rating, value.values()))
    if isinstance(value, (list, tuple, set)):
        return together(map(of_rating, value))
    return NOTHING  # a number is a score, as of stars


def of_tagger(tags: Iterable[tuple[str, str, float]], limits: Mapping[str, float] = {}) -> Facts:
    """The facts in a tagger's output: (tag, category, probability) of one picture.

    A tag counts from the lower of `BELIEVED` and `limits` (by category); of ratings the
    likeliest, from `SURE_RATING`.
    """
    tags = list(tags)
    ratings = [(p, tag) for tag, category, p in tags if category == "rating"]
    sure = [tag for p, tag in ratings if p >= SURE_RATING and p == max(ratings)[0]]
    least = {kind: min(usual, limits.get(kind, usual)) for kind, usual in BELIEVED.items()}
    believed = [
        tag
        for tag, category, p in tags
        if category != "rating" and p >= least.get(category, least["general"])
    ]
    above = any(tag.lower() in _ABOVE for tag in sure)
    return Facts(adult=above) | of_texts(believed)


def parse(text: str) -> Any:
    """JSON in which a repeated name keeps all its values. Raises as `json.loads` does."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        once = dict(pairs)
        if len(once) == len(pairs):
            return once
        return {name: [value for key, value in pairs if key == name] for name in once}

    return json.loads(text, object_pairs_hook=table)


def of_note(text: str) -> Facts:
    """The facts in a file next to or inside a picture, without a generator's negative prompt."""
    if "Steps:" in text:
        text = _NEGATIVE_SETTING.sub("", _NEGATIVE.sub("", text))
    if text.lstrip()[:1] in ("{", "["):
        try:
            return of_json(parse(text))
        except (ValueError, RecursionError):
            pass  # a prompt may begin with a bracket
    return of_text(text)


def of_json(data: Any) -> Facts:
    """The facts in metadata of any shape: all texts in it, however deep, and all names of tags.

    Search terms and negative prompts are left out. People's names and
    addresses are read for the plainest words only. A number next to a tag is its probability.
    """
    found = NOTHING
    waiting: list[tuple[Any, str]] = [(data, "")]
    while waiting:
        value, kind = waiting.pop()
        if isinstance(value, str):
            found |= of_name(value) if kind == "people" else of_note(value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            texts = [one for one in value if isinstance(one, str) and not _FORMED.search(one)]
            found |= (of_name if kind == "people" else of_text)(", ".join(texts))
            # what is no list of words: text of a form of its own, and what lies deeper
            waiting += [(one, kind) for one in value
                        if not isinstance(one, str) or _FORMED.search(one)]  # fmt: skip
        elif isinstance(value, Mapping):
            value = _asked_nodes(value)
            for key, inner in value.items():
                said, inside = _entry(str(key), inner, kind)
                found |= said
                waiting += inside
    return found


def _entry(key: str, value: Any, kind: str) -> tuple[Facts, list[tuple[Any, str]]]:
    """What an entry of a table says itself, and what is still to be read, of which kind."""
    plain = _PLAIN_KEY.sub("_", key.casefold()).strip("_")
    if _NOT_SEEN.search(plain):
        return NOTHING, []
    if _RATING.search(plain):
        return of_rating(value), []
    if _FLAGS.fullmatch(plain) and not isinstance(value, (list, Mapping)):
        return Facts(adult=str(value).strip().lower() not in _NO), []
    if kind != "tags" and _PEOPLE.search(plain) and not plain.startswith("tag"):
        return NOTHING, [(value, "people")]
    inside = "tags" if _TAGS.search(plain) else kind
    probability = isinstance(value, float) or (kind == "tags" and isinstance(value, (int, float)))
    if value is None or value is False or (probability and value < BELIEVED["general"]):
        return NOTHING, []
    told = of_text(key)
    # `has_children: true` describes the post; under `tags` or with a probability it is a tag
    return (told if probability or kind == "tags" else Facts(told.named)), [(value, inside)]


def _asked_nodes(graph: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """ComfyUI's graph without the nodes that only feed an input called negative; others as they are."""
    nodes = [node for node in graph.values() if isinstance(node, Mapping)]
    if not nodes or len(nodes) < len(graph) or not all("class_type" in node for node in nodes):
        return graph

    def links(name: str) -> list[tuple[str, str]]:
        inputs = graph[name].get("inputs") if name in graph else None
        inputs = inputs if isinstance(inputs, Mapping) else {}
        return [(str(key), str(to[0])) for key, to in inputs.items()
                if isinstance(to, list) and len(to) == 2]  # fmt: skip

    linked = {to for name in graph for _, to in links(name)}
    asked, waiting = set(), [name for name in graph if name not in linked]
    while waiting:
        name = waiting.pop()
        if name not in asked:
            asked.add(name)
            waiting += [to for key, to in links(name) if "negative" not in key.lower()]
    return {name: node for name, node in graph.items() if name in asked}


def allowed(text: str) -> str:
    """`text`, for captions or prompts; ValueError if the gate refuses it."""
    if of_text(text).refused:
        raise ValueError(
            "speaks of sexualised minors, which are never trained on or drawn: remove these words"
        )
    return text
