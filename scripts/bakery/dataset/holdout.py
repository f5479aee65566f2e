"""Held-out pictures: kept from training, to see what a LoRA makes of pictures of the character that it
never saw.

Which ones depends only on the pictures' names, so the same are held out in every run, and another
picture in the dataset changes at most the last of them. Steps of `choose`: pictures that nearly repeat
each other stay together (`groups`); groups are taken in the order of a hash of their names, as long as
they fit into what is asked for; those that alone show an outfit come last, and a concept keeps at least
one picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bakery.io.errors import BakeryError
from bakery.settings.layout import MOST_HELD_OUT

KIND = "holdout"
"""What layout.csv calls such a picture."""
NEAR = 6
"""Bits between the perceptual hashes of near-duplicates, as the filter has it by default."""


@dataclass(frozen=True)
class Choosable:
    """A picture that may be held out."""

    image: str
    concept: str = ""
    worn: frozenset[str] = frozenset()
    """Its outfits: garments, and words that stand for several."""


def wanted(asked: int | float, count: int) -> int:
    """How many of `count` pictures `layout.holdout` asks for: a number, or a share below 1, rounded and
    at least 1.

    Raises `BakeryError` if that is more than half of them.
    """
    number = asked if isinstance(asked, int) else max(1, round(asked * count))
    most = int(MOST_HELD_OUT * count)
    if number > most:
        raise BakeryError(
            f"layout.holdout asks for {number} of {count} pictures, but at most half of them, {most}, "
            "can be held out: lower it, or add pictures"
        )
    return number


def groups(images: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[frozenset[str]]:
    """`images` in groups: those of a pair, and those that a chain of pairs connects, are together."""
    of = {image: image for image in images}

    def first(image: str) -> str:
        while of[image] != image:
            of[image] = image = of[of[image]]
        return image

    for one, other in pairs:
        if one in of and other in of:
            of[first(one)] = first(other)
    found: dict[str, set[str]] = {}
    for image in of:
        found.setdefault(first(image), set()).add(image)
    return [frozenset(group) for group in found.values()]


def choose(
    pictures: Sequence[Choosable], together: Iterable[frozenset[str]], number: int
) -> frozenset[str]:
    """Names of at most `number` pictures to hold out; `together` are the `groups` of all of them.

    Fewer where no more fit: a group that is larger than what is left is passed over. Raises
    `BakeryError` if none can be held out.
    """
    of = {one.image: one for one in pictures}
    order = sorted(together, key=lambda group: min(map(_place, group)))
    stays = Counter(thing for one in pictures for thing in _shows(one))
    taken: set[str] = set()
    for lone in (False, True):  # what alone shows an outfit only where nothing else is left
        for group in order:
            if group & taken or len(taken) + len(group) > number:
                continue
            shown = Counter(thing for image in group for thing in _shows(of[image]))
            last = {kind for kind, name in shown if stays[kind, name] == shown[kind, name]}
            if "concept" in last or (last and not lone):
                continue
            taken |= group
            stays -= shown
    if number and not taken:
        raise BakeryError(
            f"layout.holdout asks for {number} of {len(pictures)} pictures, but none can be held out, "
            "as each belongs to a larger group of near-duplicates or is the only one of its concept: "
            "raise it, or set it to 0"
        )
    return frozenset(taken)


def _shows(one: Choosable) -> Iterable[tuple[str, str]]:
    yield "concept", one.concept
    yield from (("outfit", name) for name in one.worn)


def _place(image: str) -> str:
    """Where a picture is in the order of choice: a hash, which favours no name."""
    return sha256(f"holdout/{image}".encode()).hexdigest()
