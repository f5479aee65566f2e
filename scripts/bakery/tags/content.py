"""Content: what the tags of a post show about its picture, before looking at the pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bakery.sources.posts import Post
from bakery.tags import vocabulary

_ONE_EACH = {"1girl", "1boy", "1other"}
_PEOPLE = re.compile(r"[1-9]\d*\+?(girl|boy|other)s?|multiple_(girls|boys|others)")
_QUALIFIER = re.compile(r"_\([^()]*\)")
_MUCH_WRITING = 3
_MADE_BY_A_MODEL = re.compile(
    r"ai[-_](generated|assisted|art)|stable_diffusion|novelai|nai_diffusion|midjourney|dall-e"
)


def is_tagged(post: Post) -> bool:
    """Whether the post has tags as a booru has them, which the functions below can judge by.

    Only a booru names characters and has meta tags; and each of its posts, like each caption that a
    tagger wrote, tells how many are on the picture (`1girl`, `2boys`, `solo`, `no_humans`). A caption of
    one's own rarely does; what it does not mention may still be on the picture.
    """
    if post.tags_character or post.tags_meta:
        return True
    general = set(post.tags_general.lower().split())
    return not general.isdisjoint({"solo", "no_humans"}) or any(map(_PEOPLE.fullmatch, general))


def settled(seen: Mapping[str, float]) -> dict[str, float]:
    """What a tagger sees (tag -> probability) without counts of people that a surer `solo` denies.

    On a picture of one person, taggers may hesitate between `1girl` and `1boy` and give both; only the
    likelier one stays.
    """
    solo = seen.get("solo", 0.0)
    likeliest = max(_ONE_EACH & seen.keys(), key=lambda tag: (seen[tag], tag), default="")
    return {
        tag: probability
        for tag, probability in seen.items()
        if probability >= solo or tag == likeliest or not _PEOPLE.fullmatch(tag)
    }


def shows_several(post: Post) -> bool:
    """Whether the tags speak of more than one character, or of one in several panels or views."""
    general = set(post.tags_general.lower().split())
    if any(vocabulary.of(tag).kind == "several" for tag in general) or len(general & _ONE_EACH) > 1:
        return True
    names = set(post.tags_character.lower().split())
    # `miku_(summer)` beside `miku` is a costume, not a second character.
    costumes = {
        name
        for name in names
        for qualifier in _QUALIFIER.findall(name)
        if name.replace(qualifier, "", 1) in names
    }
    return len(names - costumes) > 1


def is_colorless(tags: Iterable[str]) -> bool:
    """Whether the tags speak of a picture without colour, or of a sketch."""
    return any(vocabulary.of(tag).kind == "colorless" for tag in tags)


def is_writing(tags: Iterable[str]) -> bool:
    """Whether the tags speak of a picture that is mostly writing: of a page of it, or three times of
    some."""
    kinds = [vocabulary.of(tag).kind for tag in set(tags)]
    return "page" in kinds or kinds.count("text") >= _MUCH_WRITING


def is_generated(tags: Iterable[str]) -> bool:
    """Whether the tags say that a model made the picture."""
    return any(map(_MADE_BY_A_MODEL.fullmatch, tags))


def any_like(tags: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of the tags is like one of the patterns, in which `*` stands for any letters."""
    tags = set(tags)
    for pattern in patterns:
        pieces = "_".join(pattern.lower().split()).split("*")
        like = re.compile(".*".join(re.escape(piece) for piece in pieces))
        if any(like.fullmatch(tag) for tag in tags):
            return True
    return False
