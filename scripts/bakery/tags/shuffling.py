"""What becomes of a caption each time its picture is shown: shuffled, cut, empty. Names are kohya's.

A caption has a fixed front, tags that change, and a fixed end. Where it holds the separator of
`keep_tokens_separator`, its first place ends the front and its second begins the end: so a sentence
stays whole. Without one, the first `keep_tokens` tags are the front, and there is no end. Order of the
draws and results are those of sd-scripts with the same generator; where nothing is shuffled or left
out, sd-scripts leaves the separator in the caption, and here it goes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from bakery.settings.train import Train
from bakery.tags import captions


@dataclass(frozen=True)
class Shuffling:
    """How the captions of a bake change."""

    keep_tokens: int = 0
    separator: str = ""
    shuffled: bool = False
    tag_dropout: float = 0.0

    @classmethod
    def of(cls, settings: Train) -> Shuffling:
        return cls(
            settings.keep_tokens,
            settings.keep_tokens_separator,
            settings.shuffle_caption,
            settings.caption_tag_dropout_rate,
        )

    def shown(self, caption: str, rng: random.Random, dropout: float = 0.0) -> str:
        """`caption` in one showing: with probability `dropout` empty; else with the tags that change
        shuffled if enabled, and each of them left out with probability `tag_dropout`.
        """
        if dropout > 0 and rng.random() < dropout:
            return ""
        if not self.shuffled and self.tag_dropout <= 0:
            return self.still(caption)
        front, tags, end = self.parts(caption)
        if self.shuffled:
            rng.shuffle(tags)
        if self.tag_dropout > 0:
            tags = [tag for tag in tags if rng.random() >= self.tag_dropout]
        return captions.join([*front, *tags, *end])

    def still(self, caption: str) -> str:
        """`caption` in its own order, without the separator."""
        if not self.separator or self.separator not in caption:
            return caption
        return captions.join([tag for part in self.parts(caption) for tag in part])

    def ways(self, caption: str) -> int:
        """In how many ways a caption may be shown, without the empty one.

        Of n tags that change: n! orders, 2^n choices, and n! sum(1 / k!) of both.
        """
        n = len(set(self.parts(caption)[1]))
        if self.shuffled and self.tag_dropout > 0:
            return sum(math.perm(n, k) for k in range(n + 1))
        return math.factorial(n) if self.shuffled else 2**n if self.tag_dropout > 0 else 1

    def parts(self, caption: str) -> tuple[list[str], list[str], list[str]]:
        """The tags of (front, what changes, end); a third separator belongs to its tag."""
        if self.separator and self.separator in caption:
            front, _, rest = caption.partition(self.separator)
            middle, _, end = rest.partition(self.separator)
            return captions.split(front), captions.split(middle), captions.split(end)
        tags = captions.split(caption)
        return tags[: self.keep_tokens], tags[self.keep_tokens :], []
