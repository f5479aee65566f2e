"""A word to call a new character by: its name, made unusual where the name already means something."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from bakery.families import tokenizer_probe
from bakery.interop import import_folders
from bakery.tags import captions, tagger_list

KNOWN_WELL = 0.5
"""A word of one token in this first part of the base's vocabulary means something to it."""
_ENDING = "oc"
"""Appended to a name that is a word: of a name and an ending, the base has seen no picture."""


def propose(name: str, taken: Collection[str], base: Path | None = None) -> tuple[str, str]:
    """(the trigger for a character called `name`, why it is not just the name, or "").

    `taken` are tags, spelled as captions spell them; `base` is a folder with a tokenizer, if there is
    one.
    """
    plain = unicodedata.normalize("NFKC", name)
    word = re.sub(r"[\W_]+", "", plain).lower()
    if not word:
        return "mychar", f"{name} has no letter"
    known = {captions.same(tag) for tag in taken}
    same = {captions.same(word), captions.same(plain.replace("_", " ").replace("-", " ").lower())}
    if same & known or any(map(import_folders.ordinary, same)):
        return word + _ENDING, f"{name} is an ordinary tag, which already means something"
    cut = tokenizer_probe.cut(base, word) if base is not None else None
    if cut is not None and cut.whole and cut.rank < KNOWN_WELL:
        return word + _ENDING, f"{word} is a word that the base knows well"
    return word, ""


def tags_of(tagger: Path) -> set[str]:
    """The tags of the tagger in this folder; none if it has no list."""
    return set(tagger_list.read_counts(tagger)) if (tagger / tagger_list.FILE).is_file() else set()
