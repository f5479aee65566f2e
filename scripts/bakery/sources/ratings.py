"""Ratings of many sites in the words of this project.

| here | elsewhere |
| --- | --- |
| general | `g`, `safe`, `sfw`, `everyone`; `s` unless the site is Danbooru's kind |
| sensitive | `s` on Danbooru and its kind |
| questionable | `q`, `suggestive`, `sketchy`, `mature` |
| explicit | `e`, `unsafe`, `nsfw`, `adult`, `r-18`, `x` |

Danbooru split its `s` into `g` and `s` in 2022; posts written down before that have fields that it has
given up since, and there `s` is safe. On Newgrounds `e` is for everyone. Other words stay as they are.
Pixiv's `x_restrict` and the tag R-18 count more than any word. Where a site says yes or no (`nsfw`,
`sensitive`), yes is explicit or questionable, and no says nothing. Trainers' captions have the rating
as a tag without a prefix: the highest of them counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

DANBOORU = frozenset({"danbooru", "aibooru", "atfbooru", "booruvar"})
"""Sites that run Danbooru's program, by gallery-dl's names."""
PHILOMENA = frozenset({"philomena", "derpibooru", "ponybooru", "furbooru", "twibooru"})
"""Sites that rate by tags."""
ORDER = ("general", "sensitive", "questionable", "explicit")
"""Our words, the mildest first."""

_FIELDS = ("rating", "safety", "rating_name", "ratings", "purity", "maturity_rating",
           "content_rating")  # fmt: skip
_GIVEN_UP = ("is_rating_locked", "is_note_locked", "is_status_locked", "fav_string", "pool_string")
# fmt: off
_WORDS = {
    "g": "general", "general": "general", "s": "general", "safe": "general", "sfw": "general",
    "everyone": "general", "all ages": "general", "sensitive": "sensitive",
    "q": "questionable", "questionable": "questionable", "suggestive": "questionable",
    "sketchy": "questionable", "mature": "questionable", "ecchi": "questionable",
    "e": "explicit", "explicit": "explicit", "unsafe": "explicit", "nsfw": "explicit",
    "adult": "explicit", "r 18": "explicit", "r18": "explicit", "r 18g": "explicit",
    "r18g": "explicit", "x": "explicit", "xxx": "explicit",
}
# fmt: on
_NOTHING = re.compile(r"|[\d.,/ ]+|[?-]|unknown|unrated|not rated|none|null|n/a")
"""What fields called rating say of no rating: nothing, or stars, in lower case."""
_NEWGROUNDS = {"e": "general", "t": "sensitive", "m": "questionable", "a": "explicit"}
_ADULTS_ONLY = frozenset({"r-18", "r-18g", "r18", "r18g"})
"""Pixiv's tags for what only adults may see, in lower case."""
_BY_TAG = ("explicit", "questionable", "suggestive", "safe")
_TAG = re.compile(
    "general|safe|sfw|sensitive|questionable|explicit|nsfw|r[- ]?18g?|"
    "rating ?:? ?(?:[gsqe]|general|safe|sensitive|questionable|explicit)"
)
"""A rating as a tag, in lower case and without underscores."""
# fmt: off
_FLAGS = {
    "nsfw": "explicit", "isnsfw": "explicit", "adult": "explicit", "isadult": "explicit",
    "adultcontent": "explicit", "hasadultcontent": "explicit", "over18": "explicit",
    "r18": "explicit", "isr18": "explicit", "isxrestricted": "explicit", "xrestrict": "explicit",
    "mature": "questionable", "ismature": "questionable", "sensitive": "questionable",
    "issensitive": "questionable", "possiblysensitive": "questionable",
    "sensitiveflags": "questionable",
}
# fmt: on
"""Fields that say yes or no, in lower case and without what is between words."""
_LEVELS = ("nsfwlevel", "nsfw", "browsinglevel")
"""Fields in which Civitai has a level: a word, or a number whose bits are levels."""
_OF_LEVEL = {
    "none": "general", "soft": "sensitive", "mature": "questionable", "x": "explicit",
}  # fmt: skip
_OF_BIT = dict(enumerate((*ORDER, "explicit", "explicit"), start=1))
"""The bits of Civitai's numbers (PG, PG-13, R, X, XXX, blocked), counted from 1."""


def of(data: Mapping[str, Any], site: str, tags: list[str]) -> str:
    """The rating in a post's metadata; empty where there is none.

    `site` is gallery-dl's name of the site, or empty; `tags` are the post's, all of them.
    """
    if data.get("x_restrict") in (1, 2) or _ADULTS_ONLY.intersection(map(str.casefold, tags)):
        return "explicit"
    said = next(filter(None, (_word(data.get(name), site, data) for name in _FIELDS)), "")
    flagged = _flagged(data)
    if said or flagged:
        return highest([said, flagged])
    if site in PHILOMENA or "wilson_score" in data:
        found = next((word for word in _BY_TAG if word in tags), "")
        return _WORDS.get(found, "")
    return in_tags(tags)


def highest(words: Iterable[str]) -> str:
    """The highest of some ratings; a word that is not ours counts more than ours, "" less."""
    worst = {word: place for place, word in enumerate(("", *ORDER))}
    return max(words, key=lambda word: worst.get(word, len(worst)), default="")


def is_tag(tag: str) -> bool:
    """Whether a tag is a rating and nothing else: `explicit`, `rating_safe`."""
    return bool(_TAG.fullmatch(" ".join(tag.casefold().replace("_", " ").split())))


def in_tags(tags: Iterable[str]) -> str:
    """The highest rating among tags; empty where none is a rating."""
    return highest(in_our_words(tag) for tag in tags if is_tag(tag))


def _word(value: Any, site: str, data: Mapping[str, Any]) -> str:
    """The rating in a field: a word, several of which the highest counts, or probabilities."""
    if isinstance(value, Mapping):
        value = _likeliest(value)
    if isinstance(value, (list, tuple)):
        return highest(
            _word(one, site, data) for one in value if not isinstance(one, (list, tuple))
        )
    if not isinstance(value, str) or _NOTHING.fullmatch(value.strip().casefold()):
        return ""
    return in_our_words(value, site, data)


def _flagged(data: Mapping[str, Any]) -> str:
    """The highest rating that fields of yes and no, or of levels, say."""
    found = [""]
    file = data.get("file")
    for key, value in (*data.items(), *(file.items() if isinstance(file, Mapping) else ())):
        name = re.sub(r"[\W_]+", "", str(key)).casefold()
        if name in _LEVELS and isinstance(value, (str, int)) and not isinstance(value, bool):
            found.append(_of_level(value))
        if name in _FLAGS and _is_yes(value):
            found.append(_FLAGS[name])
    return highest(found)


def _of_level(level: str | int) -> str:
    """A level's rating: of several bits the highest counts."""
    if isinstance(level, int):
        return _OF_BIT.get(level.bit_length(), "")
    return _OF_LEVEL.get(level.strip().casefold(), "")


def _is_yes(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() in {"1", "true", "yes"}
    return bool(value) if isinstance(value, (bool, list)) else value in (1, 2)


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
    """The rating of the highest probability that a tagger gives; "" where the names are no ratings."""
    numbers = {
        name: p
        for name, p in table.items()
        if isinstance(p, (int, float)) and in_our_words(str(name)) in ORDER
    }
    return max(numbers, key=numbers.__getitem__) if numbers else ""
