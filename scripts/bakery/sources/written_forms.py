"""The forms that programs give a whole caption: lists in quotes, JSON, labels, bullets, hashtags,
Markdown, entities, probabilities, a chat model's preface, a generator's settings.

Nothing here knows what a tag is; `caption_grammar` reads what is left.
"""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
"""Marks without width that web pages leave in copied text; joiners of emoji and scripts stay."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|amp|lt|gt|quot|apos|nbsp);", re.IGNORECASE)
_LABEL = re.compile(
    r"^[^\S\n]*(?:tags?|captions?|(?:positive )?prompts?|description)[^\S\n]*:[^\S\n]*",
    re.IGNORECASE | re.MULTILINE,
)
_PREFACE = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|okay|ok)\b[!.,]*\s*)?"
    r"here(?:['’]s| is| are)\b[^\n:]{0,100}:",
    re.IGNORECASE,
)
"""How chat models begin an answer."""
_FENCE = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)
_HEADING = re.compile(r"^[^\S\n]*#{1,6}[^\S\n]+\S[^\n]*$", re.MULTILINE)
_BOLD_LABEL = re.compile(
    r"^[^\S\n]*(?:[-*•·][^\S\n]+)?\*\*[^*\n]{1,40}(?::\*\*|\*\*[^\S\n]*:)", re.MULTILINE
)
_BOLD = re.compile(r"\*\*(?=[^\s*])([^*\n]+)(?<=[^\s*])\*\*")
_SCORED = re.compile(
    r"(?!\(.*\)$)(.*[^\s:=(])(?:\s*[:=]\s*|\s+|\s*\(\s*)(?:0?\.\d+|1\.0+|\d{1,3}(?:\.\d+)?\s*%)\s*\)?"
)
"""A tag and its probability, as taggers print them."""
_LONGEST_TAG = 200
"""Letters of what may be a tag with a probability; longer ones take long to try."""
CAPTION_FIELDS = ("caption", "text", "captions", "long_caption", "prompt", "description",
                  "high_level_description", "caption_short", "short_caption")  # fmt: skip
"""Fields in which trainers and captioners have captions, the one that counts first."""
_QUOTES = {'"': '"', "“": "”", "'": "'", "「": "」", "『": "』"}
_BULLET = re.compile(r"(?:[-*•·]|\d{1,3}[.)])\s+(?=\S)")
_HASHTAGS = re.compile(r"#[^\s,#]+(?:[\s,]+#[^\s,#]+)+[\s,]*")
_SETTINGS = re.compile(r"^[^\S\n]*(?:Negative prompt:|Steps: *\d)", re.MULTILINE)
_STEPS = re.compile(r"^[^\S\n]*Steps: *\d", re.MULTILINE)
_LONGEST = 100_000
"""Characters of a text that is tried as a list; Python's own reader of lists is slow with more."""


def plain(text: str, changes: Counter[str]) -> str:
    """The caption without its form as a whole and a generator's settings; counts what goes in `changes`.

    Whatever reads the lines of a caption file by themselves reads those of this.
    """
    text, marks = _INVISIBLE.subn("", unicodedata.normalize("NFC", text))
    changes["invisible sign"] += marks
    text, entities = _ENTITY.subn(lambda found: html.unescape(found[0]), text)
    changes["HTML entity"] += entities
    text = _without_chat(text, changes)
    if (listed := _listed(text.strip())) is not None:
        changes["list in quotes"] += 1
        text = listed
    return _without_settings(_without_scores(text, changes), changes)


def _without_chat(text: str, changes: Counter[str]) -> str:
    """A text without a chat model's preface, Markdown and labels."""
    if preface := _PREFACE.match(text):
        changes["label"] += 1
        text = text[preface.end() :]
    if fence := _FENCE.fullmatch(text):
        changes["Markdown"] += 1
        text = fence[1]
    for name, mark, by in (
        ("heading", _HEADING, ""),
        ("label", _BOLD_LABEL, ""),
        ("Markdown", _BOLD, r"\1"),
        ("label", _LABEL, ""),
    ):
        text, count = mark.subn(by, text)
        changes[name] += count
    return text


def _without_scores(text: str, changes: Counter[str]) -> str:
    """A text without probabilities, where each of its tags has one."""
    found = re.split(r"([,\n])", text)
    tags = [one for one in found[::2] if one.strip()]
    if len(tags) < 2 or max(map(len, tags)) > _LONGEST_TAG:
        return text
    if not all(_SCORED.fullmatch(one.strip()) for one in tags):
        return text
    changes["weight"] += len(tags)
    found[::2] = [m[1] if (m := _SCORED.fullmatch(one.strip())) else one for one in found[::2]]
    return "".join(found)


def without_bullets(lines: list[str], changes: Counter[str]) -> list[str]:
    """Lines of a list without what is before each entry, and hashtags without their signs."""
    listed = [bool(_BULLET.match(line)) for line in lines]
    if sum(listed) > 1:
        changes["bullet"] += sum(listed)
        # what introduces the list ends in a colon
        lines = [
            _BULLET.sub("", line, count=1) if is_entry else line.rstrip(":") if follows else line
            for line, is_entry, follows in zip(lines, listed, [*listed[1:], False], strict=True)
        ]
    found = []
    for line in lines:
        if _HASHTAGS.fullmatch(line):
            changes["hashtag"] += line.count("#")
            line = ", ".join(word.strip("#") for word in re.split(r"[\s,]+", line) if word)
        found.append(line)
    return found


def _without_settings(text: str, changes: Counter[str]) -> str:
    """A generator's text without its negative prompt and settings."""
    if not _STEPS.search(text):
        return text
    changes["generation settings"] += 1
    return _SETTINGS.split(text, maxsplit=1)[0]


def _listed(text: str) -> str | None:
    """The entries of `["a", "b"]`, `"a", "b"` or `"a, b"` with commas between them, or on a line each if
    they have commas themselves; what JSON says as a caption; else None."""
    if not text or len(text) > _LONGEST:
        return None
    if text[0] == "{" and text[-1] == "}":
        return _of_object(text)
    if text[0] in "[(" and text[-1] in ")]":
        return _entries(text)
    closing = _QUOTES.get(text[0])
    if closing is None:
        return None
    inside = rf"{text[0]}([^{text[0]}{closing}]*){closing}"
    if re.fullmatch(rf"{inside}(?:\s*[,，、]\s*{inside})*\s*[,，、]?", text):
        return _joined(re.findall(inside, text))
    return None


def _joined(entries: Sequence[str]) -> str:
    return ("\n" if any("," in one for one in entries) else ", ").join(entries)


def _entries(text: str) -> str | None:
    """Those of a list of texts as JSON or Python writes it; None where it is no such list."""
    for read in (json.loads, ast.literal_eval):
        try:
            entries = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(entries, (list, tuple)) and entries:
            return _joined(entries) if all(isinstance(one, str) for one in entries) else None
    return None


def _of_object(text: str) -> str | None:
    """What a JSON object says as a caption; all its texts where no field of it is known as one."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    said = next((one for name in CAPTION_FIELDS if (one := list(_texts(table.get(name))))), [])
    said += _texts(table.get("tags"))
    if not said:
        return _joined(list(_texts(table)))
    rating = table.get("rating")
    return _joined([*said, *([f"rating:{rating}"] if isinstance(rating, str) else [])])


def _texts(value: Any) -> Iterator[str]:
    """The texts in JSON, in order, without those that say what is not seen."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and one.strip():
            yield one
        elif isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, dict):
            waiting += reversed([inner for key, inner in one.items() if "negative" not in key])
