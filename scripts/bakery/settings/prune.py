"""The prune section: which tags are believed, and which the trigger absorbs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bakery.settings.sections import Section, Share, Words

CaptionPart = Literal[
    "quality", "year", "rating", "class", "trigger", "series", "artist", "tags", "sentence"
]
"""A part of a caption, for `Prune.caption_order`."""
Threshold = Annotated[float, Field(ge=0.05, le=1)]
"""Below 0.05 the tag stage writes nothing down."""
_ESCAPED_BRACKET = re.compile(r"\\([()\[\]])")
_OF_A_PROMPT_BOX = re.compile(r"\(.+:\s*[\d.]+\)|<\w+:.*>|[\[{]\s*(?:trigger|name)\s*[\]}]", re.I)
"""A weight, a file or a placeholder, not a word."""
_QUALIFIED = re.compile(r"[^()]+_\([^()]+\)")
"""A booru's tag that says which of several it is: `name_(series)`."""


def is_class_first(order: Sequence[str]) -> bool:
    """Whether a `caption_order` has the class before the trigger, as the makers of Anima do; prompts
    then have them in this order, too."""
    parts = list(order)
    return {"class", "trigger"} <= set(parts) and parts.index("class") < parts.index("trigger")


class Prune(Section):
    """Which tags count, and which of them the trigger word absorbs."""

    trigger: Words = "mirael"
    """The word that calls the character; it comes first in every caption. A booru's tag or a word
    escaped for A1111 is taken literally: `shiroko_(blue_archive)` and `shiroko \\(blue archive\\)`
    are `shiroko (blue archive)`."""
    class_tokens: Words = ""
    """Tags right after the trigger, for example `1girl`."""
    source: Literal["tagger", "booru", "union", "captions"] = "tagger"
    """Which tags go into captions: the tagger's, the booru's (or a sidecar's), or both (`union`).
    `captions` keeps the captions that lie beside the pictures of `scrape.folders` as they are, with
    the trigger in front; pictures without one get the tagger's tags."""
    general_threshold: Threshold | Literal["published"] = 0.35
    """Lowest probability (0.05 to 1) at which a general tag counts, or `published`: the value at
    which precision equals recall according to the tagger's own page. Changing it needs no new
    tagging."""
    character_threshold: Threshold = 0.85
    """Lowest probability at which a character tag counts."""
    second_look: Threshold | None = 0.5
    """Pictures without booru tags (a plain folder) are judged by the tagger's tags for what the filter
    finds in a post's: `extra_characters`, `monochrome`, `text_heavy`, `ai_generated` and
    `unwanted_tags`. Lowest probability (0.05 to 1) at which a tag drops a picture; null drops none."""
    min_frequency: Share = 0.5
    """A trait of the vocabulary counts as the character's if at least this share of the pictures
    show it."""
    min_lift: Annotated[float, Field(ge=0)] = 1.0
    """A trait must be at least this many times as frequent here as usual; 0 turns this off. The
    usual frequency comes from the counts in the tagger's selected_tags.csv."""
    always: tuple[str, ...] = ()
    """Tags to prune, however rare they are."""
    never: tuple[str, ...] = ()
    """Tags to keep, however frequent they are."""
    outfits: dict[Words, tuple[Words, ...]] = {}
    """Sub-triggers: a word for each outfit -> the tags it absorbs on pictures that show more than
    half of them. See `outfits.csv` for suggestions."""
    drop_implied: bool = False
    """Leave out tags that another tag of the caption already implies (jacket, if there is red
    jacket)."""
    caption_order: tuple[CaptionPart, ...] = ()
    """The parts of a caption, in their order; empty is trigger, class tokens, tags. Parts that are not
    listed are left out. The makers of Anima name `[quality, year, rating, class, trigger, series,
    artist, tags, sentence]`. Prompts have class tokens and trigger in this order, too. Year, rating,
    series and artist are the post's (or a sidecar's); `class` is the class tokens, or without any the
    tags that count people (`1girl`); `sentence` is the one of a caption beside the picture, or else of
    `tag.captioner`."""
    quality: dict[Words, Share] = {}
    """Quality words by score, for the part `quality`: a word -> the share of the pictures whose posts
    have a lower score than one that gets it. `{masterpiece: 0.9, best quality: 0.6}` gives the first
    to the best tenth, the second to the next three tenths, and none to the rest."""
    artist_prefix: Words = "@"
    """In front of an artist's name, in the part `artist`: Anima knows artists as `@name`."""
    names: tuple[Words, ...] = ()
    """What sentences call the character: the trigger takes the place of these names, and tags that are
    one of them go. With `caption_order`, the booru's name of the character is known already."""
    enabled: bool = True
    """false leaves every tag in the captions, to see what pruning does."""

    @field_validator("general_threshold", mode="before")
    @classmethod
    def _number_or_published(cls, value: Any) -> Any:
        if value is None or value == "published":
            return "published"
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(value, bool) or not 0.05 <= number <= 1:
            raise ValueError(f"is {value!r}: give a number from 0.05 to 1, or published")
        return number

    @field_validator("outfits")
    @classmethod
    def _sub_triggers(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for word, tags in value.items():
            if not word.strip() or "," in word or len(word.splitlines()) > 1:
                raise ValueError(f"names {word!r}: a sub-trigger is one word or phrase, no comma")
            if not tags:
                raise ValueError(f"gives {word!r} no tags: list the garments that make the outfit")
        return value

    @field_validator("caption_order")
    @classmethod
    def _each_part_once(cls, value: tuple[CaptionPart, ...]) -> tuple[CaptionPart, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"is {', '.join(value)}: name each part once")
        if value and not {"trigger", "tags"} <= set(value):
            raise ValueError("leaves out trigger or tags: without them a caption teaches nothing")
        return value

    @model_validator(mode="after")
    def _quality_has_a_place(self) -> Prune:
        if self.quality and "quality" not in self.caption_order:
            raise ValueError(
                "has quality words, but caption_order has no place for them: add quality to it"
            )
        return self

    @field_validator("trigger")
    @classmethod
    def _one_caption_word(cls, value: str) -> str:
        value = _ESCAPED_BRACKET.sub(r"\1", value.strip())
        if _QUALIFIED.fullmatch(value):
            value = value.replace("_", " ")
        if not value:
            raise ValueError("is empty: give the word that will call the character")
        if _OF_A_PROMPT_BOX.fullmatch(value):
            raise ValueError(
                f"is {value!r}, which means something to a prompt box and is no word: give the word "
                "alone"
            )
        if "," in value or "\n" in value:
            raise ValueError(
                f"is {value!r}, but commas and line breaks separate tags: use one word or phrase"
            )
        return value

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Prompts did not follow the order before they were `ordered_prompts`."""
        return chosen | ({"ordered_prompts": 1} if is_class_first(self.caption_order) else {})
