"""Captions that a person wrote, kept as they are: for `prune.source: captions`.

Only what the person decided otherwise goes (`prune.always`, decisions by hand), a placeholder becomes
the trigger, and trigger and class tokens lead, each once. Where the caption begins with a sentence that
names the trigger, nothing is put in front of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bakery.settings.prune import Prune
from bakery.sources import caption_files, sentences
from bakery.sources.caption_grammar import PLACEHOLDER, SENTENCE, Piece, WrittenCaption
from bakery.tags import captions, picture_sentences
from bakery.tags.picture_sentences import Naming
from bakery.tags.pruning import DecidedTag
from bakery.tags.trigger import Trigger


@dataclass(frozen=True)
class KeptCaption:
    """A caption as it goes into training."""

    text: str
    rest: tuple[str, ...]
    """Its tags and sentences after trigger and class tokens."""


def beside(images: Sequence[str], scrape: Path) -> dict[str, str]:
    """Those of `images` that have a caption of their own -> it, in one line."""
    written = caption_files.read(scrape / caption_files.NAME)
    return {image: written[image] for image in images if image in written}


def kept(settings: Prune, own: Mapping[str, str]) -> Mapping[str, str]:
    """Those of the captions beside pictures (`own`) that are kept: all, or none."""
    return own if settings.source == "captions" else {}


def warnings(settings: Prune, own: Mapping[str, str], images: Sequence[str]) -> list[str]:
    """A warning where the config and the captions beside `images` (`own`) do not fit each other."""
    if settings.source != "captions":
        told = "sentence" in settings.caption_order  # then what is used of them was asked for
        return [] if told else unused(own, images, settings.source)
    if not own:
        return [
            "prune.source is captions, but no picture has a caption of its own: all get the tagger's "
            "tags"
        ]
    return []


def told_of(
    settings: Prune, decided: Sequence[DecidedTag], own: Mapping[str, str]
) -> list[DecidedTag]:
    """The decisions, with the number of captions that do not follow one: they stay as written."""
    counts = named(own, Trigger.of(settings))

    def told(one: DecidedTag) -> DecidedTag:
        count = counts.get(one.evidence.name, 0)
        if one.action != "prune" or one.by != "rule" or not count:
            return one
        more = f"stays in {count} of {len(own)} captions written for them"
        automatic = replace(one.automatic, reason=f"{one.automatic.reason}; {more}")
        return replace(one, automatic=automatic)

    return [told(one) for one in decided]


def tags(caption: str, trigger: Trigger) -> list[str]:
    """The tags of a caption, sentences, placeholders and the character's own words left out."""
    mine = set(map(captions.same, (trigger.word, *trigger.outfits)))
    return [
        piece.text
        for piece in _pieces(caption)
        if piece.kind != SENTENCE
        and PLACEHOLDER not in piece.text
        and captions.same(piece.text) not in mine
    ]


def keep(
    caption: str, trigger: Trigger, gone: Collection[str], naming: Naming | None = None
) -> KeptCaption:
    """A caption as written, one line of the scrape stage's table, with the trigger in front.

    `gone` are tags that leave it, as `captions.same` spells them; of sentences only the names change
    that `naming` knows.
    """
    pieces = kept_pieces(caption, trigger, gone, naming)
    if (
        pieces
        and pieces[0].kind == SENTENCE
        and picture_sentences.names(pieces[0].text, trigger.word)
    ):
        return KeptCaption(_line(pieces), tuple(one.text for one in pieces))
    front = set(map(captions.same, trigger.own))
    rest = [one for one in pieces if one.kind == SENTENCE or captions.same(one.text) not in front]
    line = _line([*map(Piece, trigger.own), *rest])
    return KeptCaption(line, tuple(one.text for one in rest))


def kept_pieces(
    caption: str, trigger: Trigger, gone: Collection[str], naming: Naming | None = None
) -> list[Piece]:
    """The tags and sentences of a caption that stay, in their order; arguments as of `keep`."""
    naming = naming or Naming(trigger.word)
    return [
        replace(one, text=naming.spoken(one.text)) if one.kind == SENTENCE else one
        for one in _pieces(caption.replace(PLACEHOLDER, trigger.word))
        if one.kind == SENTENCE or captions.same(one.text) not in gone
    ]


def named(own: Mapping[str, str], trigger: Trigger) -> dict[str, int]:
    """Tag, as `captions.same` spells it -> how many of the captions name it."""
    count: dict[str, int] = {}
    for caption in own.values():
        for tag in set(map(captions.same, tags(caption, trigger))):
            count[tag] = count.get(tag, 0) + 1
    return count


def unused(own: Collection[str], images: Collection[str], source: str) -> list[str]:
    """A warning where pictures have captions of their own and the config asks for other tags."""
    mine = len(set(own) & set(images))
    if not mine:
        return []
    return [not_used(mine, len(images), source)]


def not_used(captioned: int, pictures: int, source: str) -> str:
    """That captions are not used, and what to set; `source` is `prune.source`."""
    what = "they are not used" if source == "tagger" else "only their tags are used"
    return (
        f"{captioned} of {pictures} pictures have captions of their own; prune.source is {source}, so "
        f"{what}: set prune.source: captions to keep them"
    )


def _pieces(caption: str) -> Iterator[Piece]:
    for part in sentences.parts(caption):
        if part.is_sentence:
            yield Piece(part.text, SENTENCE)
        else:
            yield from map(Piece, captions.split(part.text))


def _line(pieces: list[Piece]) -> str:
    return WrittenCaption(tuple(pieces)).text
