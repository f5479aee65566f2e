"""Tags or a sentence: the rule that decides about the pieces of a caption.

Between commas stands a *segment*. A segment is prose if one of these holds:

- it has three words or more, and `a` or `an`, a pronoun, or a verb such as `is` or `has` among them
  (`SAYS`), or `the` after the first word;
- it has seven words or more, in a script with spaces;
- it ends like a sentence and has five words or more, or three where nothing stands before it;
- it has ten Chinese or Japanese letters or more, or eight with three hiragana, or five and ends in `。`.

Quotes and brackets that close behind a full stop belong to what it ends, in either width: `。」`, `.”`.

A sentence begins with the first prose segment and goes on to the next full stop, over commas, unless
a segment on the way can only be a tag (`1girl`, `long_hair`, `best quality`). Without a full stop only
neighbouring prose segments belong together. What follows a sentence directly, without a comma, and
ends with a full stop or holds prose belongs to it. Everything else is a tag, however many words it
has: `blue hair`, `hand on own hip`, `looking at viewer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SAYS = frozenset(
    {
        "a", "an", "is", "are", "was", "were", "has", "have", "had", "she", "he", "they", "it", "her",
        "his", "their", "its", "there", "this", "that", "these", "those", "who", "which", "while",
        "appears", "seems", "wears", "stands", "sits", "smiles", "looks", "holds",
    }
)  # fmt: skip
"""Words that sentences have and tags do not."""

SEPARATORS = ",，、"
_SEGMENT = re.compile(rf"[^{SEPARATORS}]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff々]")
_HIRAGANA = re.compile(r"[\u3041-\u309f]")
CLOSING = "”’）」』】》〉〕｣"
"""Quotes and brackets that only close; straight ones and `)` may, too."""
_CLOSES = rf"[\"'){CLOSING}]*"
_WIDE = r"(?:[。！？｡]|(?<![0-9０-９])．|．(?![0-9０-９]))+"
_CLOSES_WIDE = rf"(?: ?[{CLOSING}]|[\"'](?=[\s\"'{CLOSING}{SEPARATORS}]|$))*"
"""Without a space behind a wide stop, a straight quote may as well open the next sentence."""
_ENDS = re.compile(rf"[^\s.!?][.!?]+{_CLOSES}$|{_WIDE}{_CLOSES_WIDE}$")
_LAST = frozenset(f".!?。！？｡．\"'){CLOSING}")
"""The letters that `_ENDS` may end with: whatever else a long text ends with, it is not searched."""
_STOP = re.compile(
    rf"(?<=[^\s.!?])([.!?]+){_CLOSES}(?:\s+(?=[\"'“(]?[A-ZÀ-ÞА-Я0-9])|\s*$)|{_WIDE}{_CLOSES_WIDE}|"
    rf"(?<=[^\s.!?])(?<!etc)\.{_CLOSES}(?=,)"
)
"""Also before a comma, as where a sentence stands among tags: `smiling., hat`."""
_STOP_IN_PROSE = re.compile(rf"(?:[.!?]|{_WIDE})+{_CLOSES}(?=\s|$|[^\x00-\x7f])")
"""Where no tags are, the next sentence may begin small."""
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|st|vs|no|jr|sgt|prof|[a-z])\.\s*$", re.IGNORECASE
)
_LONGEST = 40
"""Letters before a stop among which an abbreviation is looked for."""
_LAST_STOP = re.compile(rf"([.!?…。！？｡．])([\"'{CLOSING}]+)$")
_FULL_STOPS = (".", "。", "｡", "．")
_NO_TAG = frozenset(f"\"'。｡．{CLOSING}")
_OPENING = dict(zip(CLOSING, "“‘（「『【《〈〔｢", strict=True))
_ONLY_A_TAG = re.compile(
    r"\S*\w_\w\S*|\d+\+?(?:girl|boy|other)s?|multiple (?:girls|boys)|solo(?: focus)?|no humans|"
    r"masterpiece|absurdres|highres|(?:best|high|amazing|normal|good|great) quality|"
    r"looking at viewer|simple background|white background",
    re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a line: a sentence (or several in a row), or the text of one or more tags."""

    text: str
    is_sentence: bool


def parts(line: str) -> list[Part]:
    """The sentences of a line, and what is between them, in order and without outer separators."""
    found: list[Part] = []
    begin = 0
    for end, stopped in [*_stops(line), (len(line), False)]:
        stretch = line[begin:end]
        follows = bool(found) and found[-1].is_sentence and stretch.lstrip()[:1] not in SEPARATORS
        for part in _divided(stretch, stopped=stopped, follows=follows):
            _append(found, part, glued=stretch.startswith(part.text) and begin > 0)
        begin = end
    return [
        Part(text, part.is_sentence)
        for part in found
        if (text := part.text.strip(f"{SEPARATORS} \t"))
    ]


def is_prose(segment: str, *, first: bool = True, stopped: bool = False) -> bool:
    """Whether a segment is part of a sentence by itself, by the rule above.

    `first`: nothing stands before it; `stopped`: its stretch of text ends with a full stop.
    """
    words = segment.split()
    letters = len(_CJK.findall(segment))
    if letters:
        spoken = letters >= 8 and len(_HIRAGANA.findall(segment)) >= 3
        return letters >= 10 or spoken or (stopped and letters >= 5)
    if len(words) < 3:
        return False
    plain = [word.strip("\"'“”‘’().!?;:").lower() for word in words]
    if SAYS.intersection(plain) or "the" in plain[1:] or len(words) >= 7:
        return True
    return bool(_ENDS.search(segment)) and (len(words) >= 5 or (first and segment.endswith(".")))


def ends(text: str) -> bool:
    """Whether a text ends like a sentence."""
    return text.rstrip("\n")[-1:] in _LAST and bool(_ENDS.search(text))


def together(one: str, more: str) -> str:
    """Two paragraphs in one line, if a space between them is enough; else empty. A comma behind the
    first one's full stop would be none of the writer's."""
    both = f"{one} {more}"
    return both if ends(one) and parts(both) == [Part(both, True)] else ""


def whole(text: str) -> str:
    """The sentences of a text without tags up to its last stop; "" where it has none."""
    ends = [stop.end() for stop in _STOP_IN_PROSE.finditer(text)]
    return text[: next((end for end in reversed(ends) if _is_end(text, end)), 0)]


def without_stop(tag: str) -> str:
    """A tag without a sentence's end: its full stop, and quotes that close there and open elsewhere."""
    last = _LAST_STOP.search(tag)
    if last and not any(_is_open(tag[: last.start()], quote) for quote in last[2]):
        tag = tag[: last.end(1)]
    if tag.endswith(_FULL_STOPS) and not tag.endswith(".."):
        tag = tag[:-1].rstrip()
    return "" if _NO_TAG.issuperset(tag) else tag


def _is_open(text: str, closing: str) -> bool:
    """Whether the quote that `closing` closes is open at the end of `text`."""
    opening = _OPENING.get(closing)
    return text.count(opening) > text.count(closing) if opening else text.count(closing) % 2 == 1


def _stops(line: str) -> Iterator[tuple[int, bool]]:
    """Where sentences may end in a line: the place behind the stop and its space."""
    for stop in _STOP.finditer(line):
        if _is_end(line, stop.end()):
            yield stop.end(), True


def _is_end(text: str, end: int) -> bool:
    """Whether a stop before `end` ends a sentence: behind `Dr.` it does so where the text ends, too."""
    return end == len(text) or not _ABBREVIATED.search(text, max(0, end - _LONGEST), end)


def _divided(stretch: str, *, stopped: bool, follows: bool) -> list[Part]:
    """The parts of a stretch that ends at a stop, or at the end of the line."""
    segments = [
        (match.start(), match.end(), match[0].strip()) for match in _SEGMENT.finditer(stretch)
    ]
    prose = [
        is_prose(text, first=number == 0, stopped=stopped)
        for number, (_, _, text) in enumerate(segments)
    ]
    tag_only = [bool(_ONLY_A_TAG.fullmatch(text.rstrip("."))) for _, _, text in segments]
    if follows and (stopped or any(prose)) and not any(tag_only):
        return [Part(stretch, True)]
    if stopped:
        last_tag = max((n for n, only in enumerate(tag_only) if only), default=-1)
        later = next((n for n, one in enumerate(prose) if one and n > last_tag), None)
        runs = _runs(prose[: last_tag + 1])
        runs += [(later, len(segments))] if later is not None else []
    else:
        runs = _runs(prose)
    found, place = [], 0
    for first, last in runs:
        begin, end = segments[first][0], segments[last - 1][1]
        found += [Part(stretch[place:begin], False), Part(stretch[begin:end], True)]
        place = end
    return [part for part in [*found, Part(stretch[place:], False)] if part.text.strip()]


def _runs(prose: list[bool]) -> list[tuple[int, int]]:
    """(first, end) of each run of prose segments."""
    runs, start = [], None
    for number, one in enumerate([*prose, False]):
        if one and start is None:
            start = number
        elif not one and start is not None:
            runs.append((start, number))
            start = None
    return runs


def _append(found: list[Part], part: Part, *, glued: bool) -> None:
    """Adds a part, joined with the one before where both are of a kind and no comma is between."""
    before = found[-1] if found else None
    if before and glued and before.is_sentence == part.is_sentence:
        found[-1] = Part(before.text + part.text, part.is_sentence)
    else:
        found.append(part)
