"""The second loss: what is shown without the trigger has to be predicted as the base predicts it.

All training captions have the trigger, so nothing in the training tells a LoRA that the character
belongs to this word: it may as well change what every caption brings, and that is bleed. Here some of
a batch's noisy pictures are shown once more without the trigger, and the base alone, without the LoRA,
says what is to be predicted for them. It is the prior preservation of DreamBooth (arXiv:2208.12242)
with the base's prediction in the place of its pictures; ai-toolkit calls it differential output
preservation.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.families.family import Model, Text, join, rows
from bakery.io.errors import BakeryError
from bakery.lora.network import LoRANetwork
from bakery.settings.train import FLOW, Train
from bakery.tags import captions


@dataclass(frozen=True)
class ShownAgain:
    """What of a batch is shown once more, without the trigger."""

    rows: tuple[int, ...] = ()
    """Of the batch."""
    captions: tuple[str, ...] = ()
    """One for each row."""

    def __len__(self) -> int:
        return len(self.rows)

    def after(self, all_rows: torch.Tensor) -> torch.Tensor:
        """(B, ...) -> (B + n, ...): the batch's rows, then those that are shown again."""
        return torch.cat([all_rows, self.of(all_rows)]) if self.rows else all_rows

    def of(self, all_rows: torch.Tensor) -> torch.Tensor:
        """(B, ...) -> (n, ...)"""
        return torch.stack([all_rows[row] for row in self.rows])  # an index would wait for the GPU


NOTHING = ShownAgain()


@dataclass(frozen=True)
class Question:
    """Noisy pictures that the base is asked for; runs with equal `same` ask the same."""

    same: Hashable
    noisy: torch.Tensor
    """(n, C, h, w)"""
    t: torch.Tensor
    views: Text
    text: Text | None
    """None where the text encoder learns: then `captions` are read without the LoRA."""
    captions: tuple[str, ...]
    beside: tuple[str, ...]
    """Captions of the same pass: they are all as long as the longest."""


def shown_again(settings: Train, batch: Batch, triggers: Sequence[str]) -> ShownAgain:
    """The first pictures of `batch` whose captions have one of the words `triggers`, as many as
    `output_preservation_share` wants, at least one if there is any."""
    if not settings.output_preservation:
        return NOTHING
    without = [bare(caption, triggers) for caption in batch.captions]
    having = [i for i, text in enumerate(without) if text != batch.captions[i]]
    taken = tuple(having[: settings.shown_again(len(batch.captions))])
    return ShownAgain(taken, tuple(without[i] for i in taken))


def bare(caption: str, triggers: Sequence[str]) -> str:
    """`caption` without these words, as tags and inside of sentences; unchanged if it has none."""
    pattern = _pattern(tuple(triggers))
    if not triggers or not pattern.search(caption):
        return caption
    left = (" ".join(pattern.sub(" ", tag).split()) for tag in captions.split(caption))
    return captions.join(tag for tag in left if tag)


def check(settings: Train, data: Dataset, triggers: Sequence[str]) -> None:
    """`BakeryError` if the settings ask for this loss and no caption has a trigger to be left out."""
    texts = (text for item in data.items for text in item.texts)
    if settings.output_preservation and all(bare(text, triggers) == text for text in texts):
        named = ", ".join(triggers) or "there is none"
        raise BakeryError(
            f"train.output_preservation: no caption has the trigger ({named}), so none can be shown "
            "without it: check prune.trigger and the captions, or set it to 0"
        )


def same_question(settings: Train, batch: Batch, again: ShownAgain) -> Hashable:
    """Equal for runs whose pictures, noise and captions are the same."""
    return (settings.seed, batch, again, settings.noise_offset,
            *(getattr(settings, name) for name in FLOW))  # fmt: skip


@torch.no_grad()
def base_predictions(
    base: Model, network: LoRANetwork, questions: Sequence[Question]
) -> list[torch.Tensor]:
    """What the base alone predicts, (n, C, h, w) for each; equal questions are asked once."""
    once = list({question.same: question for question in questions}.values())
    with network.switched_off():
        predicted = base.predict(
            torch.cat([one.noisy for one in once]),
            torch.cat([one.t for one in once]),
            join([_read(base, one) for one in once]),
            join([one.views for one in once]),
        )
    parts = dict(zip((one.same for one in once), predicted.chunk(len(once)), strict=True))
    return [parts[question.same] for question in questions]


def _read(base: Model, question: Question) -> Text:
    """The text of a question's captions, as long as that of the captions beside it."""
    if question.text is not None:
        return question.text
    return rows(base.encode([*question.captions, *question.beside]),
                slice(len(question.captions)))  # fmt: skip


@lru_cache(maxsize=64)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Finds these words where they stand alone, however they are spelled."""
    spelled = [r"[\s_]+".join(map(re.escape, captions.same(word).split())) for word in words]
    longest_first = sorted(spelled, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)
