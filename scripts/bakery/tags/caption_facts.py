"""What `prune.caption_order` puts into captions besides tags: gathered from posts and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bakery.settings.prune import Prune
from bakery.sources import caption_files
from bakery.sources.posts import Post
from bakery.tags import caption_order, own_captions, picture_sentences, pruning
from bakery.tags.caption_order import PictureFacts
from bakery.tags.picture_sentences import Naming, PictureSentences
from bakery.tags.pruning import DecidedTag


@dataclass(frozen=True)
class Written:
    """What captions are written from besides tags."""

    own: Mapping[str, str] = field(default_factory=dict)
    """Picture -> the caption of its own that is kept."""
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Picture -> the captions in its file, if that has several, and captions are kept."""
    facts: Mapping[str, PictureFacts] = field(default_factory=dict)
    """Picture -> what its post and sentences say; empty without a `caption_order`."""
    naming: Naming | None = None
    """None leaves names in sentences as they are."""
    sentences: PictureSentences | None = None
    """None where captions have no place for them."""
    unscored: frozenset[str] = frozenset()
    """Pictures without a quality word because their posts have no score."""

    def summary(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Counts of the captions `lines` for the manifest; nothing where nothing was asked for."""
        images = [line["image"] for line in lines]
        told = {"sentences": self.sentences.summary(images)} if self.sentences else {}
        unscored = self._unscored(images)
        return told | ({"without_score": unscored} if unscored else {})

    def spoken(self, lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
        """(picture, tags, sentence) of the captions that have a sentence."""
        known = self.sentences.of_image if self.sentences else {}
        return [
            (line["image"], *picture_sentences.divided(line["caption"], known[line["image"]]))
            for line in lines
            if line["image"] in known
        ]

    def write(self, out: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes to `out` the tables that later stages need besides the captions of `lines`."""
        images = {line["image"] for line in lines}
        caption_files.write_candidates(
            out / caption_files.CANDIDATES,
            ((line["image"], line.get("candidates", ())) for line in lines),
        )
        if self.sentences is not None:
            rows = [row for row in self.sentences.rows() if row["image"] in images]
            picture_sentences.write(out / picture_sentences.NAME, rows)

    def warnings(self, lines: Sequence[Mapping[str, Any]], pruned: Sequence[str]) -> list[str]:
        """What of the captions `lines` is not as asked for; the trigger absorbs `pruned`."""
        images = [line["image"] for line in lines]
        found = self.sentences.warnings(images, pruned) if self.sentences else []
        if unscored := self._unscored(images):
            found.append(
                f"{unscored} of {len(images)} pictures have no post with a score, so they get no "
                "quality word"
            )
        return found

    def _unscored(self, images: Sequence[str]) -> int:
        return sum(image in self.unscored for image in images)


@dataclass(frozen=True)
class Sources:
    """Where that is known from."""

    lineage: Mapping[str, Post]
    """Picture -> its post."""
    beside: Mapping[str, str]
    """Picture -> the caption beside it."""
    rated: pd.DataFrame
    """The tagger's ratings: rows (image, tag, category)."""
    scrape: Path
    """The folder of that stage, as `tag`."""
    tag: Path


def gather(
    settings: Prune, images: Sequence[str], decided: Sequence[DecidedTag], sources: Sources
) -> Written:
    """What the captions of `images` are written from."""
    own = own_captions.kept(settings, sources.beside)
    several = caption_files.read_candidates(sources.scrape / caption_files.CANDIDATES)
    several = {image: lines for image, lines in several.items() if image in own}
    if not settings.caption_order:
        naming = Naming(settings.trigger, settings.names) if settings.names else None
        return Written(own, several, naming=naming)
    of = {image: sources.lineage.get(image, Post(image=image)) for image in images}
    naming = Naming(settings.trigger, (*settings.names, *_names(settings, of, decided)))
    found = None
    if "sentence" in settings.caption_order:
        seen = picture_sentences.read(sources.tag)
        found = picture_sentences.gather(images, sources.beside, seen, naming)
    scores = {image: float(post.score) for image, post in of.items() if _is_number(post.score)}
    words = caption_order.by_score(settings.quality, scores) if settings.quality else {}
    ratings = dict(zip(sources.rated["image"], sources.rated["tag"], strict=True))
    facts = {
        image: caption_order.of_post(
            post,
            quality=words.get(image, ""),
            rating=ratings.get(image, ""),
            sentence=found.of_image.get(image, "") if found else "",
        )
        for image, post in of.items()
    }
    unscored = of.keys() - scores.keys() if settings.quality else ()
    return Written(own, several, facts, naming, found, frozenset(unscored))


def _names(settings: Prune, of: Mapping[str, Post], decided: Sequence[DecidedTag]) -> list[str]:
    """The character's names: those that are pruned, and those on as many of the posts."""
    count = Counter(name for post in of.values() for name in set(post.tags_character.split()))
    often = [name for name, n in count.items() if n >= settings.min_frequency * len(of)]
    pruned = [one.evidence.tag for one in decided
              if one.category == "character" and one.action == "prune"]  # fmt: skip
    return sorted({*often, *pruned} - pruning.known(settings.never))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
