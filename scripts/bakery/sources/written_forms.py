"""The forms that programs give a whole caption: lists in quotes, labels, bullets, hashtags, entities, a
generator's settings.

Nothing here knows what a tag is; `caption_grammar` reads what is left.
"""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
from collections import Counter

_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
"""Marks without width that web pages leave in copied text; joiners of emoji and scripts stay."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|amp|lt|gt|quot|apos|nbsp);", re.IGNORECASE)
_LABEL = re.compile(r"\s*(?:tags?|captions?|(?:positive )?prompts?|description)\s*:", re.IGNORECASE)
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
    if label := _LABEL.match(text):
        changes["label"] += 1
        text = text[label.end() :]
    if (listed := _listed(text.strip())) is not None:
        changes["list in quotes"] += 1
        text = listed
    return _without_settings(text, changes)


def without_bullets(lines: list[str], changes: Counter[str]) -> list[str]:
    """Lines of a list without what is before each entry, and hashtags without their signs."""
    if len(lines) > 1 and all(map(_BULLET.match, lines)):
        changes["bullet"] += len(lines)
        lines = [_BULLET.sub("", line, count=1) for line in lines]
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
    """The entries of `["a", "b"]`, `"a", "b"` or `"a, b"` with commas between them; else None."""
    if not text or len(text) > _LONGEST:
        return None
    if text[0] in "[(" and text[-1] in ")]":
        return _entries(text)
    closing = _QUOTES.get(text[0])
    if closing is None:
        return None
    inside = rf"{text[0]}([^{text[0]}{closing}]*){closing}"
    if re.fullmatch(rf"{inside}(?:\s*[,，、]\s*{inside})*\s*[,，、]?", text):
        return ", ".join(re.findall(inside, text))
    return None


def _entries(text: str) -> str | None:
    """Those of a list of texts as JSON or Python writes it; None where it is no such list."""
    for read in (json.loads, ast.literal_eval):
        try:
            entries = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(entries, (list, tuple)) and entries:
            return ", ".join(entries) if all(isinstance(one, str) for one in entries) else None
    return None
