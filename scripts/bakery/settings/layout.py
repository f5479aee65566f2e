"""The layout section: the repeat folders, concepts and regularization pictures."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bakery.settings.filter import Rating
from bakery.settings.named_files import PictureFolder
from bakery.settings.scrape import FOLDERS_READ
from bakery.settings.sections import Name, Section, Words, separator

CaptionForm = Literal["tags", "sentence", "both", "lines"]
"""What a candidate is made of, for `Layout.candidates`."""
Repeats = Annotated[int, Field(ge=1, le=1000)]
HeldOut = (
    Annotated[int, Field(ge=0, le=100_000, strict=True)]
    | Annotated[float, Field(gt=0, lt=1, strict=True)]
)
"""A number of pictures, or a share of them."""
HOLDOUT = "holdout"
"""Folder of the held-out pictures in a layout: no number in front, so that trainers ignore it."""
MOST_HELD_OUT = 0.5
"""More than this share of the pictures is never held out."""


class Concept(Section):
    """Settings of one concept's folder."""

    repeats: Repeats | None = None
    """How often an epoch shows each of its pictures; null uses `layout.repeats`."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of all showings that the concept should get; its repeats follow from this."""
    caption_prefix: Words = ""
    """Tags at the front of each of its captions; they are not repeated later in the caption."""

    @model_validator(mode="after")
    def _one_way(self) -> Concept:
        if self.repeats is not None and self.share is not None:
            raise ValueError("has repeats and a share, which decides the repeats: leave one out")
        return self


class Regularization(Section):
    """Pictures of the class that the character belongs to; they keep the class from changing."""

    folder: Annotated[str, PictureFolder("reg")]
    """Local folder or archive of pictures; a picture's own `.txt` or `.caption` is its caption."""
    class_tokens: Words
    """Caption of pictures without one of their own, for example `1girl`."""
    repeats: Repeats = 1
    """How often an epoch shows each picture, at least."""
    ratings: tuple[Rating, ...] = ("general",)
    """Ratings to take; a picture without a rating counts as general."""

    @field_validator("class_tokens")
    @classmethod
    def _some_word(cls, value: str) -> str:
        if not value.replace(",", " ").strip():
            raise ValueError("is empty: give the words for what the pictures show, such as 1girl")
        return value


class Layout(Section):
    """kohya's repeat folders."""

    repeats: Repeats = 5
    """How often an epoch shows each picture: the 5 of `5_name`."""
    caption_extension: Literal[".txt", ".caption"] = ".txt"
    """Extension of the caption beside each picture."""
    candidates: tuple[CaptionForm, ...] = ()
    """Several captions a picture, of which one is drawn evenly each time it is shown: its `tags`, its
    `sentence` (see `prune.caption_order`), `both`, or the `lines` of the caption beside it (with
    `prune.source: captions`; `{a|b}` in a line is one of these words). One that is named twice is drawn
    twice as often. Written as lines, which sd-scripts reads so with `enable_wildcard`."""
    keep_tokens_separator: Words = ""
    """Put around the tags of captions that have a sentence (`|||` is usual), so that
    `train.shuffle_caption` shuffles these alone: what is before them (up to the trigger) and the
    sentence stay where they are. `train.keep_tokens_separator` has to be the same."""
    concepts: dict[Name, Concept] = {}
    """Concept (of scrape.urls and scrape.folders) -> its own repeats or share, and caption prefix."""
    balance: bool = False
    """Show every concept as often as the main dataset, however many pictures it has."""
    details: tuple[Words, ...] = ()
    """Traits to show again in their own folder; the score stage suggests some in details.csv."""
    reg: Regularization | None = None
    """Regularization pictures, laid out as `reg/<repeats>_<class>`."""
    holdout: HeldOut = 0
    """Pictures to keep from training: a number (8), or a share of all (0.1); at most half. They lie in
    `holdout/` and measure what the LoRA makes of pictures that it never saw: the validation loss, and
    whether samples repeat what was trained. Near-duplicates are held out together."""

    came_later: ClassVar[frozenset[str]] = frozenset({"holdout", "keep_tokens_separator"})

    _separator_fits = field_validator("keep_tokens_separator")(separator)

    @model_validator(mode="after")
    def _shares_leave_room(self) -> Layout:
        shares = [c.share for c in self.concepts.values() if c.share is not None]
        if sum(shares) >= 1:
            raise ValueError(
                f"concepts ask for {sum(shares):g} of all showings: shares must leave room for the rest"
            )
        return self

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        return chosen | ({"folders_read": FOLDERS_READ} if self.reg else {})
