"""The layout section: the repeat folders, concepts and regularization pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bakery.settings.filter import Rating
from bakery.settings.sections import Name, Section

Repeats = Annotated[int, Field(ge=1, le=1000)]


class Concept(Section):
    """What one concept's folder does in its own way."""

    repeats: Repeats | None = None
    """How often an epoch shows each of its pictures; null takes the dataset's."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of all showings that the concept is to get: its repeats follow from it."""
    caption_prefix: str = ""
    """Tags at the front of each of its captions; what they say is not said again behind them."""

    @model_validator(mode="after")
    def _one_way(self) -> Concept:
        if self.repeats is not None and self.share is not None:
            raise ValueError("has repeats and a share, which decides the repeats: leave one out")
        return self


class Regularization(Section):
    """Pictures of the class that the character belongs to, so that the class stays as it was."""

    folder: str
    """Local folder of pictures; a picture's own `.txt` is its caption."""
    class_tokens: str
    """What the pictures are called that have no `.txt`, for example `1girl`."""
    repeats: Repeats = 1
    """How often an epoch shows each picture at least."""
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
    concepts: dict[Name, Concept] = {}
    """Concept (of scrape.urls and scrape.folders) -> its own repeats or share, and caption prefix."""
    balance: bool = False
    """Give every concept as many showings as the main dataset, whatever its number of pictures."""
    details: tuple[str, ...] = ()
    """Traits to show again in a folder of their own, as details.csv of the score stage proposes."""
    reg: Regularization | None = None
    """Regularization pictures, laid out as `reg/<repeats>_<class>`."""

    @model_validator(mode="after")
    def _shares_leave_room(self) -> Layout:
        shares = [c.share for c in self.concepts.values() if c.share is not None]
        if sum(shares) >= 1:
            raise ValueError(
                f"concepts want {sum(shares):g} of all showings: shares must leave room for the rest"
            )
        return self
