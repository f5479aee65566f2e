"""The separator that `layout.keep_tokens_separator` writes into captions with a sentence.

It is put around the tags that may be shuffled, as sd-scripts reads it: the trigger and what is before it
stay in front, the sentence stays whole, and the tags between them are shuffled; where there are none,
those after the sentence. Captions without a sentence have no separator: `train.keep_tokens` is in force
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakery.tags import captions, picture_sentences
from bakery.tags.trigger import Trigger


@dataclass(frozen=True)
class CaptionMarks:
    """Marks captions."""

    separator: str
    """Empty marks none."""
    own: frozenset[str]
    """Trigger and class tokens, as `captions.same` spells them."""
    sentences: Mapping[str, str]
    """Picture -> its sentence."""

    @classmethod
    def read(cls, separator: str, prune: Path) -> CaptionMarks:
        """What the folder of the prune stage knows."""
        if not separator:
            return cls("", frozenset(), {})
        own = frozenset(map(captions.same, Trigger.read(prune).own))
        return cls(separator, own, picture_sentences.read(prune))

    def of(self, image: str, caption: str) -> str:
        """`caption` with the separator, unless it has one, no sentence, or no tags to shuffle."""
        if not self.separator or self.separator in caption:
            return caption
        sentence = picture_sentences.finished(caption, self.sentences.get(image, ""))
        if not sentence or sentence not in caption:
            return caption
        before, after = map(captions.split, caption.split(sentence, 1))
        kept = self._front(before)
        if before[kept:]:
            front, tags, end = before[:kept], before[kept:], [sentence, *after]
        else:
            kept = self._front(after)
            front, tags, end = [*before, sentence, *after[:kept]], after[kept:], []
        if not tags:
            return caption
        parts = [", ".join(front), self.separator, ", ".join(tags)]
        if end:
            parts += [self.separator, ", ".join(end)]
        return " ".join(filter(None, parts))

    def summary(self, texts: Iterable[str]) -> dict[str, dict[str, int]]:
        """Counts for the manifest: captions with the separator, and others; nothing without one."""
        if not self.separator:
            return {}
        has = [self.separator in text for text in texts]
        return {"separated": {"captions": sum(has), "others": len(has) - sum(has)}}

    def _front(self, tags: Sequence[str]) -> int:
        """How many of `tags`, from the first, stay in place: up to the last of the trigger's own."""
        mine = [
            number for number, tag in enumerate(tags, start=1) if captions.same(tag) in self.own
        ]
        return max(mine, default=0)
