"""Ratings of many sites in the words of this project.

| here | elsewhere |
| --- | --- |
| general | `g`, `safe`, `sfw`, `everyone`; `s` unless the site is Danbooru's kind |
| sensitive | `s` on Danbooru and its kind |
| questionable | `q`, `suggestive`, `sketchy`, `mature` |
| explicit | `e`, `unsafe`, `nsfw`, `adult`, `r-18`, `x` |

Danbooru split its `s` into `g` and `s` in 2022; posts written down before that have fields that it has
given up since, and there `s` is safe. On Newgrounds `e` is for everyone. Other words stay as they are.
Pixiv's `x_restrict` and the tag R-18 count more than any word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DANBOORU = frozenset({"danbooru", "aibooru", "atfbooru", "booruvar"})
"""Sites that run Danbooru's program, by gallery-dl's names."""
PHILOMENA = frozenset({"philomena", "derpibooru", "ponybooru", "furbooru"})
"""Sites that rate by tags."""

_FIELDS = ("rating", "safety", "rating_name", "purity", "maturity_rating", "content_rating")
_GIVEN_UP = ("is_rating_locked", "is_note_locked", "is_status_locked", "fav_string", "pool_string")
# fmt: off
_WORDS = {
    "g": "general", "general": "general", "s": "general", "safe": "general", "sfw": "general",
    "everyone": "general", "all ages": "general", "sensitive": "sensitive",
    "q": "questionable", "questionable": "questionable", "suggestive": "questionable",
    "sketchy": "questionable", "mature": "questionable",
    "e": "explicit", "explicit": "explicit", "unsafe": "explicit", "nsfw": "explicit",
    "adult": "explicit", "r 18": "explicit", "r18": "explicit", "r 18g": "explicit",
    "r18g": "explicit", "x": "explicit", "xxx": "explicit",
}
# fmt: on
_NEWGROUNDS = {"e": "general", "t": "sensitive", "m": "questionable", "a": "explicit"}
_ADULTS_ONLY = frozenset({"r-18", "r-18g", "r18", "r18g"})
"""Pixiv's tags for what only adults may see, in lower case."""
_BY_TAG = ("explicit", "questionable", "suggestive", "safe")


def of(data: Mapping[str, Any], site: str, tags: list[str]) -> str:
    """The rating in a post's metadata; empty where there is none.

    `site` is gallery-dl's name of the site, or empty; `tags` are the post's, all of them.
    """
    restricted = data.get("x_restrict")
    if restricted in (1, 2) or _ADULTS_ONLY.intersection(map(str.casefold, tags)):
        return "explicit"
    for name in _FIELDS:
        value = data.get(name)
        if isinstance(value, Mapping):
            value = _likeliest(value)
        if isinstance(value, str) and value.strip():
            return in_our_words(value, site, data)
    if site in PHILOMENA or "wilson_score" in data:
        found = next((word for word in _BY_TAG if word in tags), "")
        return _WORDS.get(found, "")
    return ""


def in_our_words(value: str, site: str = "", data: Mapping[str, Any] = {}) -> str:
    """A rating as a site or a person writes it, in our words; a word that is not known as it is."""
    plain = " ".join(value.casefold().replace("_", " ").replace("-", " ").split())
    plain = plain.removeprefix("rating").lstrip(" :=")
    if site == "newgrounds" and plain in _NEWGROUNDS:
        return _NEWGROUNDS[plain]
    if plain == "s" and site in DANBOORU and not any(name in data for name in _GIVEN_UP):
        return "sensitive"
    return _WORDS.get(plain, plain)


def _likeliest(table: Mapping[str, Any]) -> str:
    """The rating of the highest probability that a tagger gives."""
    numbers = {name: p for name, p in table.items() if isinstance(p, (int, float))}
    return max(numbers, key=numbers.__getitem__) if numbers else ""
