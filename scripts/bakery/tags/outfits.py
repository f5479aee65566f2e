"""Outfits: which pictures show the same clothes, and which tags belong to one outfit only.

Steps: take the garments among the tags of each picture; join pictures whose garments are mostly the
same (average-linkage clustering of Jaccard distances); call a cluster of a few pictures an outfit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist
from scipy.special import bdtr

from bakery.tags import vocabulary

FEWEST = 3
"""Fewest pictures of an outfit; fewer may be chance."""
INSIDE = 0.5
"""A tag goes with an outfit from this share of its pictures on ..."""
OUTSIDE, ALONE, CHANCE = 0.2, 0.8, 0.01
"""... and is the outfit's own when at most OUTSIDE of all other pictures show it, at least ALONE of its
pictures are the outfit's, and it is rarer elsewhere than CHANCE explains."""

_CUT = 0.6  # Jaccard distance: the same garment in another colour (2 of 3 words) is apart
_MOST = 1500  # distinct sets of garments that are clustered: 1500 have a million distances


@dataclass(frozen=True)
class Outfit:
    """Pictures in the same clothes."""

    label: str
    """Its most telling garments, as words: `black jacket, white shirt`."""
    images: frozenset[str]


def garment(tag: str) -> bool:
    """Whether a tag is something to wear by itself: `red jacket`, `thighhighs`, `glasses`.

    Patterns and cuts (plaid, sleeveless, hood down) say how clothes are, not which they are.
    """
    entry = vocabulary.of(tag)
    return entry.topic == "outfit" and entry.kind in ("garment", "accessory")


def find(tags: Mapping[str, Iterable[str]]) -> list[Outfit]:
    """The outfits on pictures with these tags (image -> tags), the most frequent one first."""
    worn = {image: frozenset(filter(garment, mine)) for image, mine in tags.items()}
    counts = Counter(tag for mine in worn.values() for tag in mine)
    common = {tag for tag, count in counts.items() if count > 1}
    worn = {image: mine & common for image, mine in worn.items() if mine & common}
    clusters = _clusters(worn)
    large = [images for images in clusters if len(images) >= FEWEST]
    return sorted(
        (Outfit(_label(images, worn), frozenset(images)) for images in large),
        key=lambda outfit: (-len(outfit.images), outfit.label),
    )


def own(images: frozenset[str], outfits: Iterable[Outfit], of: int) -> str:
    """Label of the outfit to which a tag on these `images` (of `of` pictures) belongs, or ``""``."""
    for outfit in outfits:
        size, inside = len(outfit.images), len(images & outfit.images)
        elsewhere, others = len(images) - inside, of - size
        if inside < max(FEWEST, INSIDE * size) or inside < ALONE * len(images):
            continue
        # were the tag as frequent elsewhere, would so few of the others show it?
        chance = bdtr(elsewhere, others, inside / size)  # binomial: P(at most `elsewhere`)
        if others and elsewhere <= OUTSIDE * others and chance < CHANCE:
            return outfit.label
    return ""


def spread(images: frozenset[str], outfits: Iterable[Outfit]) -> int:
    """In how many of the outfits a tag on these `images` is on half of the pictures or more."""
    return sum(len(images & outfit.images) >= INSIDE * len(outfit.images) for outfit in outfits)


def _clusters(worn: Mapping[str, frozenset[str]]) -> list[set[str]]:
    """Groups of pictures; each distinct set of garments counts once, the most frequent _MOST lead."""
    if not worn:
        return []
    columns = sorted(set().union(*worn.values()))
    by_frequency = Counter(worn.values())
    distinct = sorted(by_frequency, key=lambda one: (-by_frequency[one], sorted(one)))
    matrix = np.array([[tag in one for tag in columns] for one in distinct])  # (sets, garments)
    leading, others = matrix[:_MOST], matrix[_MOST:]
    numbers = np.ones(len(leading), int)
    if len(leading) > 1:
        numbers = fcluster(linkage(pdist(leading, "jaccard"), "average"), _CUT, "distance")
    if len(others):
        nearest = cdist(others, leading, "jaccard").argmin(axis=1)
        numbers = np.concatenate([numbers, numbers[nearest]])
    number_of = dict(zip(distinct, numbers.tolist(), strict=True))
    groups: dict[int, set[str]] = {}
    for image, mine in worn.items():
        groups.setdefault(number_of[mine], set()).add(image)
    return list(groups.values())


def _label(images: set[str], worn: Mapping[str, frozenset[str]]) -> str:
    """Up to two garments that are common inside and rare outside; longer names say more."""
    inside = Counter(tag for image in images for tag in worn[image])
    outside = Counter(tag for image, mine in worn.items() if image not in images for tag in mine)
    others = max(1, len(worn) - len(images))

    def telling(tag: str) -> tuple[float, int, str]:
        return (outside[tag] / others - inside[tag] / len(images), -len(tag), tag)

    common = [tag for tag, count in inside.items() if count >= INSIDE * len(images)] or list(inside)
    chosen: list[str] = []
    for tag in sorted(common, key=telling):
        if len(chosen) < 2 and not any(other.endswith(f" {tag}") for other in chosen):
            chosen.append(tag)
    return ", ".join(chosen)
