"""The candidates that `layout.candidates` asks for: a caption's tags, its sentence, both, or its lines.

Of a picture's candidates the trainer draws one each time it shows it. They are laid out as
`sources/candidates.py` writes them; `NAME` beside the repeat folders lists them, and tells the trainer
that the lines of caption files are candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.io import tables
from bakery.settings.layout import CaptionForm
from bakery.sources import caption_files
from bakery.tags import picture_sentences
from bakery.tags.trigger import Trigger

NAME = caption_files.CANDIDATES
COLUMNS = ("image", "file", "caption")


@dataclass(frozen=True)
class CaptionForms:
    """Makes candidates of captions."""

    forms: tuple[CaptionForm, ...]
    trigger: Trigger
    sentences: Mapping[str, str] = field(default_factory=dict)
    """Picture -> its sentence."""
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Picture -> the captions in its file."""

    @classmethod
    def read(
        cls,
        forms: tuple[CaptionForm, ...],
        trigger: Trigger,
        sentences: Mapping[str, str],
        prune: Path,
    ) -> CaptionForms | None:
        """With the lines of files that the folder of the prune stage has; None without `forms`."""
        if not forms:
            return None
        return cls(forms, trigger, sentences, caption_files.read_candidates(prune / NAME))

    def of(self, image: str, caption: str, by_hand: Sequence[str] | None = None) -> tuple[str, ...]:
        """The candidates of a picture, at least one; a form that is named twice is there twice.

        A form that the caption does not have is left out. `by_hand` are the lines of a caption that a
        person wrote, in the place of those of its file.
        """
        tags, sentence = picture_sentences.divided(caption, self.sentences.get(image, ""))
        lines = self.lines.get(image) if by_hand is None else by_hand
        made = {
            "tags": (tags,),
            "sentence": (self._alone(sentence),),
            "both": (caption,),
            "lines": lines or (caption,),
        }
        found = tuple(one for form in self.forms for one in made[form] if one)
        return found if len(set(found)) > 1 else (found or (caption,))[:1]

    def _alone(self, sentence: str) -> str:
        """A sentence as a caption: with the trigger in front, unless it names it."""
        if not sentence or picture_sentences.names(sentence, self.trigger.word):
            return sentence
        return f"{self.trigger.activation_text}, {sentence}"


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    tables.write(path, rows, COLUMNS)


def summary(of_pictures: Sequence[Sequence[str]]) -> dict[str, int]:
    """Counts for the manifest: pictures with several captions, with one, and captions in all."""
    count = Counter(len(set(one)) > 1 for one in of_pictures)
    together = sum(len(set(one)) for one in of_pictures)
    return {"several": count[True], "one": count[False], "captions": together}
