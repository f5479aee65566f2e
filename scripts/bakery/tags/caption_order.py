"""Captions in the order that `prune.caption_order` asks for.

A caption has parts: quality, year, rating, class, trigger, series, artist, tags, sentence. What a part
holds is from the picture's post, from its tags, or from sentences written about it; the order of parts
is the config's. Tags that belong to another part (`1girl`, `masterpiece`, `@nameko`) leave the tags for
it, and only if the order names it: a part that is not named takes nothing away.

The words for ratings and years, and `@` before an artist, are those of Anima's model card.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakery.settings.prune import CaptionPart, Prune
from bakery.sources.caption_grammar import SENTENCE, Piece, WrittenCaption
from bakery.sources.posts import Post
from bakery.tags import captions
from bakery.tags.trigger import Trigger

RATINGS: Mapping[str, str] = {
    "general": "safe", "sensitive": "sensitive", "questionable": "nsfw", "explicit": "explicit",
}  # fmt: skip
"""A site's rating -> the word for it in captions."""
_QUALITY = re.compile(
    r"masterpiece|(?:best|amazing|great|high|good|normal|average|low|bad|worst) quality|"
    r"(?:very |extremely )?(?:aesthetic|displeasing)|score_\d+(?:_up)?|highres|absurdres|lowres",
    re.IGNORECASE,
)
_YEAR = re.compile(r"year \d{4}|newest|oldest", re.IGNORECASE)
_RATING = re.compile(r"safe|sensitive|nsfw|explicit|rating[_ :]\w+", re.IGNORECASE)
_COUNT = re.compile(r"\d+\+?(?:girl|boy|other)s?|multiple (?:girls|boys|others)", re.IGNORECASE)
_ARTIST = re.compile(r"(?:artist:|@)\s*(\S.*)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}(?=-\d\d)")


@dataclass(frozen=True)
class PictureFacts:
    """What is known of a picture besides its tags; empty where nothing is known."""

    quality: str = ""
    year: str = ""
    rating: str = ""
    series: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()
    sentence: str = ""


def of_post(post: Post, *, quality: str = "", rating: str = "", sentence: str = "") -> PictureFacts:
    """The facts about a picture; `rating` counts where its post has none."""
    year = _DATE.match(post.created_at)
    return PictureFacts(
        quality=quality,
        year=f"year {year[0]}" if year else "",
        rating=RATINGS.get(post.rating or rating, ""),
        series=tuple(map(captions.normalise, post.tags_copyright.split())),
        artists=tuple(map(captions.normalise, post.tags_artist.split())),
        sentence=sentence,
    )


def by_score(words: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, str]:
    """Picture -> its quality word, by the share of `scores` that are lower; "" for too low a one.

    `words` lead from a word to the least share, 0..1.
    """
    sorted_scores = sorted(scores.values())
    falling = sorted(words, key=lambda word: -words[word])
    found = {}
    for image, score in scores.items():
        share = bisect.bisect_left(sorted_scores, score) / len(sorted_scores)
        found[image] = next((word for word in falling if share >= words[word]), "")
    return found


def arranged(
    settings: Prune, trigger: Trigger, pieces: Iterable[Piece], facts: PictureFacts
) -> WrittenCaption:
    """The caption of `pieces` (tags and sentences without trigger and class tokens) and `facts`.

    Its pieces are in the order of `settings.caption_order`, each tag once.
    """
    order, rest = settings.caption_order, list(pieces)
    series = set(map(captions.same, facts.series))
    taken: dict[str, list[Piece]] = {}
    for part, belongs in _MEMBERS.items():
        if part in order:
            taken[part] = [one for one in rest if belongs(one, series)]
            rest = [one for one in rest if one not in taken[part]]
    made = {part: _part(part, settings, trigger, taken.get(part, []), facts) for part in order}
    made["tags"] = rest
    if "class" not in order:  # they follow the trigger, as without an order
        made["trigger"] = [*made["trigger"], *_tags(captions.split(trigger.class_tokens))]
    seen: set[str] = set()
    line = []
    for one in (one for part in order for one in made[part]):
        name = captions.same(one.text)
        if one.kind == SENTENCE or name not in seen:
            line.append(one)
            seen.add(name)
    return WrittenCaption(tuple(line))


def _part(
    part: CaptionPart,
    settings: Prune,
    trigger: Trigger,
    taken: Sequence[Piece],
    facts: PictureFacts,
) -> list[Piece]:
    """What a part holds; `taken` are the picture's tags or sentences that belong to it."""
    mine = list(taken)
    if part == "trigger":
        return _tags([trigger.word])
    if part == "class":
        return [*_tags(captions.split(trigger.class_tokens)), *mine]
    if part == "quality":
        return [*_tags([facts.quality]), *mine]
    if part == "artist":
        names = [_artist(one) for one in mine] or list(facts.artists)
        return _tags(f"{settings.artist_prefix}{name}" for name in names)
    if part == "series":
        return _tags(facts.series)
    if part == "sentence":
        return mine or ([Piece(facts.sentence, SENTENCE)] if facts.sentence else [])
    return mine or _tags([facts.year if part == "year" else facts.rating])


def _tags(words: Iterable[str]) -> list[Piece]:
    return [Piece(word) for word in words if word]


def _artist(piece: Piece) -> str:
    match = _ARTIST.fullmatch(piece.text)
    assert match is not None
    return match[1]


def _is(pattern: re.Pattern[str]) -> Callable[[Piece, set[str]], bool]:
    return lambda one, _: one.kind != SENTENCE and bool(pattern.fullmatch(one.text))


_MEMBERS: Mapping[CaptionPart, Callable[[Piece, set[str]], bool]] = {
    "sentence": lambda one, _: one.kind == SENTENCE,
    "quality": _is(_QUALITY),
    "year": _is(_YEAR),
    "rating": _is(_RATING),
    "class": _is(_COUNT),
    "artist": _is(_ARTIST),
    "series": lambda one, series: one.kind != SENTENCE and captions.same(one.text) in series,
}
"""Part -> whether a tag or sentence belongs to it, given the picture's series."""
