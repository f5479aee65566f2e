"""The captions page: every picture of a layout with its caption, to edit one by one or many at a time.

The page is one static file beside the layout's folders and shows the pictures in them. What is edited
goes home as one `captions.csv` with the columns image and caption (`edits/caption_edits.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakery.edits import caption_edits
from bakery.pages import page
from bakery.pages.page import Subject
from bakery.tags.trigger import Trigger


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture of the layout."""

    image: str
    """Its name in posts.csv."""
    file: str
    """Where it is, from the page."""
    caption: str
    automatic: str
    """The caption that it has without edits."""
    in_file: bool = False
    """Whether `caption` is a hand edit in a file of its own, which is not part of the table."""
    sentences: tuple[str, str] = ("", "")
    """The parts of `caption` and of `automatic` that are sentences, exactly as they are there."""
    candidates: Sequence[str] = ()
    """The captions of which one is drawn each time, if there are several."""
    held_out: bool = False
    """Whether it is kept from training."""


def draw(pictures: Sequence[CaptionedPicture], trigger: Trigger, subject: Subject) -> str:
    """The page as HTML. Tags that are put at the front go behind those of `trigger`.

    Where any picture has a sentence, each has two fields, for its tags and its sentence.
    """
    return page.render(
        "captions",
        tile=160,
        pictures=pictures,
        spoken=any(any(one.sentences) for one in pictures),
        own=trigger.own,
        subject=subject,
        table=caption_edits.TABLE,
        longest=caption_edits.LONGEST,
        path=f"config/edits/{subject.dataset}/{caption_edits.TABLE}",
    )
