"""What the dry bake tells of captions: sentences, candidates, what the text encoder cuts off.

Counts are those of the layout's captions, so nothing is known before it has run; foot-guns are of the
settings alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakery.families import tokenizer_probe
from bakery.settings.layout import Layout
from bakery.settings.prune import Prune
from bakery.settings.tag import Tag
from bakery.settings.train import Train
from bakery.tags import picture_sentences


@dataclass(frozen=True)
class CaptionCounts:
    """Counts of the training pictures' captions."""

    pictures: int
    spoken: int
    """Pictures with a sentence in one of their captions."""
    several: int
    """Pictures with more than one caption."""
    captions: int
    cut: int | None
    """Captions of which the text encoder reads only the beginning; None: its tokenizer is not here."""
    longest: int = 0
    """Tokens of the longest caption, if they are known."""

    def told(self, most: int) -> str:
        """One line for the terminal and the page; "" where captions are plain tags, and short enough.

        `most` is how many tokens are read.
        """
        parts = []
        if self.spoken:
            parts.append(
                f"{self.spoken} of {self.pictures} pictures {_have(self.spoken)} a sentence"
            )
        if self.several:
            parts.append(
                f"{self.several} {_have(self.several)} several captions, {self.captions} in all"
            )
        if self.cut:
            parts.append(
                f"{self.cut} of {self.captions} {'are' if self.cut > 1 else 'is'} cut: the longest has "
                f"{self.longest} tokens, and train.max_token_length is {most}"
            )
        elif parts and self.cut is not None:
            parts.append(f"none is cut (the longest has {self.longest} of {most} tokens)")
        return "; ".join(parts)


def _have(pictures: int) -> str:
    return "has" if pictures == 1 else "have"


def count(
    pictures: Sequence[Sequence[str]], base: Path, most: int, known: int = 0
) -> CaptionCounts:
    """Counts of `pictures`, each with its captions, for the base in the folder or file `base`, of which
    `most` tokens are read; the prune stage knows that `known` have a sentence."""
    texts = [text for captions in pictures for text in dict.fromkeys(captions)]
    spoken = sum(any(map(picture_sentences.finished, captions)) for captions in pictures)
    lengths = tokenizer_probe.lengths(base, texts)
    return CaptionCounts(
        pictures=len(pictures),
        spoken=max(spoken, min(known, len(pictures))),
        several=sum(len(set(captions)) > 1 for captions in pictures),
        captions=len(texts),
        cut=None if lengths is None else sum(length > most for length in lengths),
        longest=max(lengths or (), default=0),
    )


def footguns(tag: Tag, prune: Prune, layout: Layout, train: Train) -> list[str]:
    """Settings of sentences and candidates that do nothing, or less than they seem to."""
    found = []
    speaks = "sentence" in prune.caption_order
    kept = prune.source == "captions"
    if tag.captioner and not speaks:
        found.append(
            "tag.captioner writes sentences that no caption holds: add sentence to prune.caption_order."
        )
    if {"sentence", "both"} & set(layout.candidates) and not (speaks or kept):
        found.append(
            "layout.candidates asks for sentences, but captions hold none: add sentence to "
            "prune.caption_order."
        )
    if "lines" in layout.candidates and not kept:
        found.append(
            "layout.candidates asks for the lines of captions, which are not kept: set prune.source: "
            "captions."
        )
    return found + _of_separators(layout, train, speaks=speaks, kept=kept)


def _of_separators(layout: Layout, train: Train, *, speaks: bool, kept: bool) -> list[str]:
    """Sentences that are taken apart, and separators that do nothing or are taken for words."""
    mine, theirs = layout.keep_tokens_separator, train.keep_tokens_separator
    if mine and mine != theirs:
        return [
            f"layout.keep_tokens_separator writes {mine} into captions, and "
            f"train.keep_tokens_separator is {theirs or 'not set'}, so that {mine} is trained as a "
            "word: set both to the same."
        ]
    if mine and not (speaks or kept):
        return [
            f"layout.keep_tokens_separator {mine} marks captions with a sentence, but captions hold "
            "none: add sentence to prune.caption_order."
        ]
    if speaks and train.varies_tags and not mine:
        return [
            "shuffle_caption and caption_tag_dropout_rate take a sentence apart at its commas, as in "
            'sd-scripts: set keep_tokens_separator to "|||" in layout and train, which keeps it whole, '
            "or leave them off, and let layout.candidates vary the captions."
        ]
    return []
