"""What the writer of a caption meant: tags and sentences, without what only a prompt box understands.

`parse` takes the text of a caption file, whatever wrote it (taggers, editors, download managers,
captioning models, generators), and gives its pieces. Steps:

1. The form of the whole goes (`written_forms.py`: lists in quotes, labels, bullets, hashtags), and a
   generator's settings (`Negative prompt:`, `Steps:`) are cut off.
2. Lines: several lines that begin with the same piece are alternatives, of which the first counts;
   other lines are parts of one caption.
3. Words of other programs (`BREAK`, `AND`, `<lora:x:1>`, `embedding:x`, `|||`) end a piece and go.
4. Sentences are found (`sentences.py`); the rest is split into tags: at commas of any width, else at
   semicolons, else at upright strokes, else at spaces where a word can only be a whole tag (`1girl`,
   `blue_hair`; two of them where each line may be a tag).
5. In each piece weights and emphasis go (`(x:1.2)`, `((x))`, `[x]`, `{x}`, `1.2::x::`), escaped brackets
   become plain ones, and emoticons stay. Brackets after a word are part of the tag: `hoshi (blue
   archive)`.
6. A namespace of download managers (`character:hoshi`) becomes the tag's category.

`[trigger]`, `{trigger}`, `[name]` and `{name}` all become `PLACEHOLDER`, which the prune stage fills in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bakery.sources import ratings, sentences, written_forms
from bakery.sources.emoticons import is_emoticon

PLACEHOLDER = "{trigger}"
SENTENCE = "sentence"
CATEGORIES = ("general", "character", "copyright", "artist")
"""Kinds of tags that may stay in a caption."""
MOST_LETTERS = 20_000
"""Of a caption; text encoders read some hundreds."""
_READINGS = 10  # two are enough for nearly all captions

_PLACE = re.compile(r"[\[{]\s*(?:trigger|trigger[ _]?word|name)\s*[\]}]", re.IGNORECASE)
_PLACE_LETTER = "\ue000"
_FILES = re.compile(r"<(?:lora|lyco|lycoris|hypernet|dora)\s*:[^<>\n]*>", re.IGNORECASE)
_EMBEDDING = re.compile(r"\(?\bembedding:[^\s,()]+(?:\s*:\s*[\d.]+\))?\)?", re.IGNORECASE)
_EDGE = r"[^\s,，、。！？()\[\]{}]"
_KEYWORD = re.compile(rf"(?<!{_EDGE})(?:BREAK|AND|ADDCOMM|ADDBASE|ADDROW|ADDCOL)(?!{_EDGE})")
_SEPARATOR = re.compile(r"(?<!\S)\|\|\|(?!\S)|;;;")
_COMMAS = re.compile(f"[{sentences.SEPARATORS}]")
_SEMICOLON = re.compile(r"(?<=[^;:_]);(?=\s|[^\W_]{2}|$)")
_STROKE = re.compile(r"(?<=[\w)])\s*\|\s*(?=[\w(])")
_IN_BRACKETS = re.compile(r"[\[{(<][^\]})>]*\|")
_WHOLE_TAG = re.compile(r"\w\S*_\S+|\d+\+?(?:girl|boy|other)s?|rating:\w+", re.IGNORECASE)
_NAMED_TAG = re.compile(r"[a-z]+:\w\S+", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+([()\[\]{}])")
_HIDDEN = {bracket: chr(0xE010 + n) for n, bracket in enumerate("()[]{}")}
_SHOWN = str.maketrans({hidden: bracket for bracket, hidden in _HIDDEN.items()})
_OPEN, _CLOSE = "([{", ")]}"
_DEEPEST = 40
"""Brackets around a word that are taken for emphasis; whoever nests more is not emphasising."""
_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)"
_WEIGHT = re.compile(rf"\s*:\s*{_NUMBER}\s*$")
_PROBABILITY = re.compile(r"(?<=\S)\s*\(\s*(?:0?\.\d+|1\.0+)\s*\)$")
_BEHIND = re.compile(rf"(?<=\))(?:{_NUMBER}|[+-]+)$")
_FRACTION = re.compile(r"(?<=[^\W\d])\s*:\s*-?\d*\.\d+\s*$")
_NUMBERED = re.compile(rf"^\s*{_NUMBER}::(.*?)(?:::)?\s*$|^(.*[^\s:])\s*::\s*$", re.DOTALL)
_INNER = re.compile(
    rf"\(([^()]*?):\s*{_NUMBER}\s*\)|(?<!\()\(\(++([^()]+)\)+\)|\[([^\[\]]+)\]|{{([^{{}}]+)}}"
)
_EDIT = re.compile(rf"^([^:|]*):([^:|]*):\s*{_NUMBER}$")
_NAMESPACE = re.compile(r"([a-z]+)\s*:\s*([^\s:/].*)", re.IGNORECASE)
_NAMESPACES = {
    **dict.fromkeys(("general", "species", "clothing", "body"), "general"),
    **dict.fromkeys(("character", "char", "person"), "character"),
    **dict.fromkeys(("copyright", "series", "studio", "franchise"), "copyright"),
    **dict.fromkeys(("rating", "safety"), "rating"),
    **dict.fromkeys(
        ("creator", "meta", "medium", "source", "title", "page", "url", "filename"), ""
    ),
}
"""Namespace -> category; "" for what describes the file and not the picture."""
_KEEPS_UNDERSCORE = re.compile(r"score_\d+(?:_up)?|(?:source|rating)_[a-z]+")
"""Words that some bases were trained on with their underscore."""


class TooLong(Exception):
    """A text of more than `MOST_LETTERS`; the message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class Piece:
    """A tag or a sentence of a caption."""

    text: str
    """Tags with spaces, as prompts are written; an artist's keeps its namespace, as some bases want."""
    kind: str = "general"
    """One of `CATEGORIES`, or `SENTENCE`."""


@dataclass(frozen=True)
class WrittenCaption:
    """A caption as its writer meant it."""

    pieces: tuple[Piece, ...] = ()
    rating: str = ""
    """What `rating:...` says, as written."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """What was taken out or read in another way -> how often."""

    @property
    def text(self) -> str:
        """One line: pieces with commas between them, a space after a full stop where that is enough."""
        line = ""
        for piece in self.pieces:
            between = ", " if line else ""
            if line and sentences.ends(line) and _read_apart(line, piece.text):
                between = " "
            line += between + piece.text
        return line

    def tags(self, category: str) -> str:
        """The tags of a category, underscored and separated by spaces; placeholders and ratings left
        out."""
        mine = [
            one.text for one in self.pieces if one.kind == category and not ratings.is_tag(one.text)
        ]
        if category == "artist":
            mine = [text.partition(":")[2] for text in mine]
        return " ".join(
            dict.fromkeys("_".join(text.split()) for text in mine if PLACEHOLDER not in text)
        )


def _read_apart(line: str, more: str) -> bool:
    """Whether a space is enough between two texts: they are read together as each by itself."""
    apart = [*sentences.parts(line), *sentences.parts(more)]
    return sentences.parts(f"{line} {more}") == apart


def parse(text: str) -> WrittenCaption:
    """The caption in the text of a file; no pieces where it holds none. Raises `TooLong`.

    It is read again until it stays as it is, so that its own line, without the breaks and brackets
    that told how its pieces are meant, is the same caption.
    """
    if len(text) > MOST_LETTERS:
        raise TooLong(
            f"holds a caption of {len(text):,} letters, and one has at most {MOST_LETTERS:,}: shorten it"
        )
    caption = _read(text)
    for _ in range(_READINGS):
        again = _read(caption.text)
        if again.text == caption.text:
            break
        # what only the first reading knew: namespaces, and what was taken out
        kinds = {one.text: one.kind for one in caption.pieces if one.kind in CATEGORIES[1:]}
        pieces = tuple(replace(one, kind=kinds.get(one.text, one.kind)) for one in again.pieces)
        caption = WrittenCaption(pieces, caption.rating or again.rating, caption.changes)
    return caption


def _read(text: str) -> WrittenCaption:
    """One reading of a text."""
    changes: Counter[str] = Counter()
    text = written_forms.plain(text, changes)
    lines = [" ".join(line.split()).strip(f"{sentences.SEPARATORS} ") for line in text.splitlines()]
    lines = written_forms.without_bullets([line for line in lines if line], changes)
    lines = _first_alternative(lines, changes)
    pieces, rating = list[Piece](), ""
    spaced = 0 if any(map(_COMMAS.search, lines)) else min(len(lines), 2)
    for line in lines:
        line, found = _without_keywords(line)
        changes += found
        begin = len(pieces)
        for part in sentences.parts(line):
            texts = [part.text] if part.is_sentence else split_tags(part.text, spaced)
            for one in texts:
                piece, said = _piece(one, part.is_sentence, changes)
                rating = rating or said
                pieces += [piece] if piece else []
        around = pieces[begin - 1 : begin + 1] if begin else []
        told = [one.text for one in around if one.kind == SENTENCE]
        if len(told) == 2 and (both := sentences.together(*told)):
            pieces[begin - 1 : begin + 1] = [Piece(both, SENTENCE)]
    return WrittenCaption(tuple(pieces), rating, dict(sorted((+changes).items())))


def split_tags(text: str, spaced: int = 1) -> list[str]:
    """The tags in a text without sentences, as written.

    Where there is neither comma, semicolon nor upright stroke, spaces separate tags if at least `spaced`
    words can only be whole tags; 0: spaces never do.
    """
    if _COMMAS.search(text):
        found = _COMMAS.split(text)
    elif _SEMICOLON.search(text):
        found = _SEMICOLON.split(text)
    elif _STROKE.search(text) and not _IN_BRACKETS.search(text) and not is_emoticon(text):
        found = _STROKE.split(text)
    elif spaced and _whole_tags(text) >= spaced:
        found = text.split()
    else:
        found = [text]
    return [one.strip() for one in found if one.strip()]


def _whole_tags(text: str) -> int:
    """How many words of a text can only be whole tags."""
    words = text.split()
    whole = sum(bool(_WHOLE_TAG.fullmatch(word)) for word in words)
    if whole <= 1 and re.search(r"\([^()]*\s[^()]*\)", text):
        return 0  # `hoshi_(blue archive)` is one tag
    named = sum(bool(_NAMED_TAG.fullmatch(word)) for word in words)
    return whole + (named if named > 1 else 0)


def _first_alternative(lines: list[str], changes: Counter[str]) -> list[str]:
    """The lines that count: of several that begin with the same piece only the first."""
    if len(lines) < 2 or not all(map(_COMMAS.search, lines)):
        return lines
    fronts = {_COMMAS.split(line)[0].strip().casefold() for line in lines}
    if len(fronts) > 1:
        return lines
    changes["other line"] += len(lines) - 1
    return lines[:1]


def _without_keywords(line: str) -> tuple[str, Counter[str]]:
    """A line without what only a prompt box understands, and what that was."""
    changes: Counter[str] = Counter()

    def out(pattern: re.Pattern[str], name: str, text: str, by: str = " , ") -> str:
        text, count = pattern.subn(by, text)
        changes[name] += count
        return text

    line = out(_PLACE, "placeholder", line, _PLACE_LETTER)
    line = out(_FILES, "LoRA or embedding", line)
    line = out(_EMBEDDING, "LoRA or embedding", line)
    if not _KEYWORD.sub("", line).isupper():  # else all words are in capitals
        line = out(_KEYWORD, "BREAK or AND", line)
    line = out(_SEPARATOR, "separator", line)
    return line, +changes


def _piece(text: str, is_sentence: bool, changes: Counter[str]) -> tuple[Piece | None, str]:
    """The piece that a text is, None where nothing is left of it; and the rating that it names."""
    if is_sentence:
        plain = _shown(_inner_bare(_hidden(text, changes), changes))
        return (Piece(plain, SENTENCE) if plain else None), ""
    plain = bare(text, changes)
    if not is_emoticon(plain):
        plain = sentences.without_stop(plain)
    if not plain or _KEYWORD.fullmatch(plain):
        return None, ""
    kind = "general"
    named = None if is_emoticon(plain) else _NAMESPACE.fullmatch(plain)
    if named and named[1].lower() == "artist":
        kind = "artist"
    elif named and (category := _NAMESPACES.get(named[1].lower())) is not None:
        kind, plain = category, named[2]
        if kind == "rating":
            changes["rating"] += 1
            return None, plain
        if not kind:
            changes["note about the file"] += 1
            return None, ""
    if not is_emoticon(plain) and not _KEEPS_UNDERSCORE.fullmatch(plain):
        plain = " ".join(plain.replace("_", " ").split())
    return (Piece(plain, kind) if plain else None), ""


def bare(piece: str, changes: Counter[str] | None = None) -> str:
    """A tag without weight and emphasis, escaped brackets made plain; counts what goes in `changes`."""
    counted: Counter[str] = Counter() if changes is None else changes
    text = piece.strip()
    if face := _face_in(text):
        counted["weight"] += face != text
        return face
    text = _hidden(text, counted)
    if numbered := _NUMBERED.match(text):
        counted["weight"] += 1
        text = (numbered[1] if numbered[1] is not None else numbered[2]).strip()
    text = _PROBABILITY.sub("", _BEHIND.sub("", text))
    for _ in range(_DEEPEST):
        if _is_face(text) or (inner := _outer_bare(text)) == text:
            break
        text = inner
    if not _is_face(text):
        text = _FRACTION.sub("", text)
        text = _inner_bare(text, Counter())
    plain = _shown(text)
    counted["weight"] += plain != _shown(_hidden(piece.strip(), Counter())) and not numbered
    return plain


def _face_in(text: str) -> str:
    """The emoticon in a text that is one, perhaps with brackets around and a weight; else nothing."""
    for _ in range(_DEEPEST):
        for face in (text, _WEIGHT.sub("", text)):
            if is_emoticon(face):
                return face
        if not text or text[0] not in _OPEN or text[-1] != _CLOSE[_OPEN.index(text[0])]:
            break
        text = text[1:-1].strip()
    return ""


def _outer_bare(text: str) -> str:
    """`text` without its outermost bracket: a pair around all of it, or one that has no other here."""
    first, last = _unpaired(text)
    face_behind = is_emoticon(_shown(text.rsplit(" ", 1)[-1]))
    if first is None and last is None:
        if text[:1] in _OPEN and text[-1:] in _CLOSE and text and _pair_of(text) == len(text) - 1:
            return _emphasised(text[1:-1], edited=text[0] == "[")
        return text
    if first is not None:
        return f"{text[:first]} {text[first + 1 :]}".strip() if first else text[1:].strip()
    if last is not None and not face_behind:
        return _WEIGHT.sub("", text[:last].strip()) + text[last + 1 :]
    return text


def _emphasised(text: str, *, edited: bool = False) -> str:
    """What was inside a pair of brackets: without its weight; of alternatives the first.

    `edited`: square ones, in which `a:b:0.5` draws one first and then the other.
    """
    text = text.strip()
    if _is_face(text):
        return text
    if edited and (edit := _EDIT.match(text)):
        return (edit[1] or edit[2]).strip()
    text = _WEIGHT.sub("", text).strip()
    return text if _is_face(text) else text.split("|")[0].strip()


def _inner_bare(text: str, changes: Counter[str]) -> str:
    """`text` without emphasis in its middle; brackets that explain a word stay."""

    def inside(match: re.Match[str]) -> str:
        changes["weight"] += 1
        inner = next(group for group in match.groups() if group is not None)
        return _emphasised(inner, edited=match[0][0] == "[")

    for _ in range(_DEEPEST):
        before, text = text, _INNER.sub(inside, text)
        if before == text:
            break
    return " ".join(text.split())


def _unpaired(text: str) -> tuple[int | None, int | None]:
    """Places of the first bracket that opens and does not close here, and of the last the other way."""
    waiting: list[int] = []
    closing = None
    for place, letter in enumerate(text):
        if letter in _OPEN:
            waiting.append(place)
        elif letter in _CLOSE:
            if waiting and _OPEN.index(text[waiting[-1]]) == _CLOSE.index(letter):
                waiting.pop()
            else:
                closing = place
    return (waiting[0] if waiting else None), closing


def _pair_of(text: str) -> int:
    """Where the bracket at the start of `text` closes."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0:
            return place
    return -1


def _is_face(text: str) -> bool:
    return is_emoticon(_shown(text))


def _hidden(text: str, changes: Counter[str]) -> str:
    """`text` with letters of no meaning for escaped brackets."""
    text, count = _ESCAPED.subn(lambda match: _HIDDEN[match[1]], text)
    changes["escaped bracket"] += count
    return text.replace("\\_", "_")


def _shown(text: str) -> str:
    return text.translate(_SHOWN).replace(_PLACE_LETTER, PLACEHOLDER)


def together(captions: Iterable[WrittenCaption]) -> dict[str, int]:
    """The changes of several captions, added up."""
    total: Counter[str] = Counter()
    for one in captions:
        total.update(one.changes)
    return dict(sorted(total.items()))
