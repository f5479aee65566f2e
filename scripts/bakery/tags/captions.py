"""Captions: lines of tags with commas.

A caption is one line of tags, `trigger, class tokens, tag, tag`; a tag is written the way prompts
are, with spaces. Only emoticons keep their underscores, since those are part of the face.
"""

from __future__ import annotations

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
