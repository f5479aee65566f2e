"""Captions: lines of tags with commas.

A caption is one line of tags, `trigger, class tokens, tag, tag`; a tag is written the way prompts
are, with spaces. Only emoticons keep their underscores, since those are part of the face.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from bakery.io.errors import BakeryError
from bakery.sources.emoticons import KAOMOJI


def normalise(tag: str) -> str:
    """A booru tag as a caption word: `long_hair` -> `long hair`, but `>_<` stays.

    Runs of white space become one space, so that the result is a fixed point.
    """
    tag = tag.strip()
    if tag in KAOMOJI:
        return tag
    return " ".join(tag.replace("_", " ").split())


def same(tag: str) -> str:
    """A form that is equal for all spellings of a tag (`Pink_Hair`, `pink hair`): compare this."""
    return normalise(tag.lower())


def split(caption: str) -> list[str]:
    """The tags of a caption, in order, without surrounding space; empty ones are left out."""
    return [tag for part in caption.split(",") if (tag := part.strip())]


def join(tags: Iterable[str]) -> str:
    """One caption line. Raises `BakeryError` for a tag that `split` could not give back."""
    tags = list(tags)
    for tag in tags:
        if not tag.strip() or "," in tag or tag.splitlines() != [tag]:
            raise BakeryError(
                f"the tag {tag!r} cannot stand in a caption: commas and line breaks separate tags, "
                "and a tag is not empty; rename it or leave it out"
            )
    return ", ".join(tag.strip() for tag in tags)


def lead(first: Sequence[str], caption: str) -> str:
    """`caption` with the tags `first` at its front, and nowhere else."""
    said = set(map(same, first))
    return join([*first, *(tag for tag in split(caption) if same(tag) not in said)])


def shown(
    caption: str,
    rng: random.Random,
    *,
    keep_tokens: int = 0,
    shuffled: bool = False,
    tag_dropout: float = 0.0,
    dropout: float = 0.0,
) -> str:
    """`caption` in one showing of its picture, with kohya's names.

    With probability `dropout` it is empty; else the tags after the first `keep_tokens` are shuffled
    if enabled, and each of them is left out with probability `tag_dropout`.
    """
    if dropout > 0 and rng.random() < dropout:
        return ""
    if not shuffled and tag_dropout <= 0:
        return caption
    tags = split(caption)
    if shuffled:
        tags = shuffle(tags, keep_tokens, rng)
    kept, rest = tags[:keep_tokens], tags[keep_tokens:]
    if tag_dropout > 0:
        rest = [tag for tag in rest if rng.random() >= tag_dropout]
    return join([*kept, *rest])


def ways(
    caption: str, *, keep_tokens: int = 0, shuffled: bool = False, dropped: bool = False
) -> int:
    """In how many ways `shown` may show a caption, without the empty one.

    Of n tags after the first `keep_tokens`: n! orders, 2^n choices, and n! sum(1 / k!) of both.
    """
    n = len(set(split(caption)[keep_tokens:]))
    if shuffled and dropped:
        return sum(math.perm(n, k) for k in range(n + 1))
    return math.factorial(n) if shuffled else 2**n if dropped else 1


def shuffle(tags: Sequence[str], keep_tokens: int, rng: random.Random) -> list[str]:
    """`tags` with the first `keep_tokens` in place and the others in an order drawn from `rng`."""
    rest = list(tags[keep_tokens:])
    rng.shuffle(rest)
    return [*tags[:keep_tokens], *rest]
