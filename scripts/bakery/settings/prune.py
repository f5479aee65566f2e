"""The prune section: which tags are believed, and which the trigger absorbs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from bakery.settings.sections import Section, Share

Threshold = Annotated[float, Field(ge=0.05, le=1)]
"""Below 0.05 the tag stage writes nothing down."""


class Prune(Section):
    """Which tags are believed, and which of them the trigger word absorbs."""

    trigger: str = "mirael"
    """The word that will call the character; first in every caption."""
    class_tokens: str = ""
    """What stands right behind the trigger, for example `1girl`."""
    source: Literal["tagger", "booru", "union"] = "tagger"
    """Whose tags go into captions: the tagger's, the booru's (or a sidecar's), or both."""
    general_threshold: Threshold | Literal["published"] = 0.35
    """Probability (0.05 to 1) from which a general tag is believed, or `published`: where the tagger's
    own page says that precision equals recall. Another value needs no new tagging."""
    character_threshold: Threshold = 0.85
    """Probability from which a character tag is believed."""
    min_frequency: Share = 0.5
    """Share of the pictures from which a trait of the vocabulary counts as the character's."""
    min_lift: Annotated[float, Field(ge=0)] = 1.0
    """How many times its usual frequency a trait must have here; 0 does not ask. Usual is what the
    tagger's own selected_tags.csv counts."""
    always: tuple[str, ...] = ()
    """Tags to prune however rare they are."""
    never: tuple[str, ...] = ()
    """Tags to keep however frequent they are."""
    outfits: dict[str, tuple[str, ...]] = {}
    """Sub-triggers: a word for each outfit -> the tags it absorbs on the pictures that show more than
    half of them. `outfits.csv` proposes some."""
    drop_implied: bool = False
    """Leave out of a caption what another of its tags says already (jacket beside red jacket)."""
    enabled: bool = True
    """false leaves every tag in the captions, to see what pruning is worth."""

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

    @field_validator("trigger")
    @classmethod
    def _one_caption_word(cls, value: str) -> str:
        value = value.strip()
        if not value:
            raise ValueError("is empty: give the word that will call the character")
        if "," in value or "\n" in value:
            raise ValueError(
                f"is {value!r}, but commas and line breaks separate tags: use one word or phrase"
            )
        return value
