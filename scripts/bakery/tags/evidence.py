"""Evidence: what is known about a tag before the decision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bakery.sources import posts
from bakery.tags import captions, outfits, vocabulary
from bakery.tags.outfits import Outfit
from bakery.tags.tagging import Vocabulary


@dataclass(frozen=True)
class Evidence:
    """One tag on the kept pictures."""

    tag: str
    category: str
    """The tagger's, or the booru's: general, character, rating ..."""
    images: tuple[str, ...] = ()
    """The pictures that show it, the most certain first."""
    share: float = 0.0
    """Of all kept pictures, 0..1."""
    usual: float = math.nan
    """Of the pictures that the tagger learnt from, 0..1; NaN when that is not known."""
    kind: str | None = None
    """Which trait of a character it is by the vocabulary (hair, eyes ...), or None."""
    outfits: int = 0
    """In how many outfits it is on half of the pictures or more."""
    of_outfits: int = 0
    outfit: str = ""
    """Label of the outfit it belongs to."""

    @property
    def name(self) -> str:
        """A form that is equal for all spellings of the tag."""
        return captions.same(self.tag)

    @property
    def lift(self) -> float:
        """share / usual; NaN if the usual share is not known, infinite if it is 0."""
        if math.isnan(self.usual):
            return math.nan
        return self.share / self.usual if self.usual else math.inf


def gather(
    seen: pd.DataFrame, images: Sequence[str], tagger: Vocabulary, worn: Sequence[Outfit]
) -> list[Evidence]:
    """The evidence about each tag of `seen` (image, tag, category, probability), most frequent first."""
    found = []
    surest = seen.sort_values(["probability", "image"], ascending=[False, True])
    for names, group in surest.groupby(["tag", "category"]):
        tag, category = map(str, names)
        mine = tuple(dict.fromkeys(group["image"]))
        found.append(
            Evidence(
                tag,
                category,
                mine,
                len(mine) / len(images),
                tagger.usual(tag),
                vocabulary.of(tag).trait,
                outfits.spread(frozenset(mine), worn),
                len(worn),
                outfits.own(frozenset(mine), worn, len(images)),
            )
        )
    return sorted(found, key=lambda one: (-len(one.images), one.tag))


def with_captions(seen: pd.DataFrame, written: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The tags `seen` by the tagger, and those that captions name (image -> tags), as certain ones."""
    categories = dict(zip(map(captions.same, seen["tag"]), seen["category"], strict=True))
    spelled = dict(zip(map(captions.same, seen["tag"]), seen["tag"], strict=True))
    rows = [
        {
            "image": image,
            "tag": spelled.get(captions.same(tag), captions.normalise(tag)),
            "category": categories.get(captions.same(tag), "general"),
            "probability": 1.0,
        }
        for image, tags in written.items()
        for tag in tags
    ]
    both = pd.concat([pd.DataFrame(rows, columns=list(seen.columns)), seen], ignore_index=True)
    return both.drop_duplicates(["image", "tag"])


def with_booru(seen: pd.DataFrame, lineage: Iterable[posts.Post], source: str) -> pd.DataFrame:
    """The tags `seen` by the tagger, and those of the posts: `source` is a `prune.source`.

    A post's tags are certain (probability 1), and win if both name a tag. Ratings, artists and the
    like never go into captions and are left out.
    """
    if source in ("tagger", "captions"):
        return seen
    rows = [
        {
            "image": post.image,
            "tag": captions.normalise(tag),
            "category": category,
            "probability": 1.0,
        }
        for post in lineage
        if post.image
        for category in ("general", "character")
        for tag in getattr(post, f"tags_{category}").split()
    ]
    told = pd.DataFrame(rows, columns=list(seen.columns))
    told = told.drop_duplicates(["image", "tag"])
    if source == "booru":
        return told
    both = pd.concat([told, seen], ignore_index=True)
    first = both.drop_duplicates("tag").set_index("tag")["category"]
    both["category"] = both["tag"].map(first)  # one category a tag: the booru's, where it has one
    return both.drop_duplicates(["image", "tag"])
