"""Thresholds: the probability from which a tag counts."""

from __future__ import annotations

from dataclasses import dataclass

from bakery.io.errors import BakeryError

LEAST = 0.05
"""The tag stage records nothing below this probability; no threshold may be lower."""

PUBLISHED = {
    "wd-v1-4-convnext-tagger-v2": 0.3685,
    "wd-v1-4-convnextv2-tagger-v2": 0.3710,
    "wd-v1-4-moat-tagger-v2": 0.3771,
    "wd-v1-4-swinv2-tagger-v2": 0.3771,
    "wd-v1-4-vit-tagger-v2": 0.3537,
    "wd-convnext-tagger-v3": 0.2682,
    "wd-eva02-large-tagger-v3": 0.5296,
    "wd-swinv2-tagger-v3": 0.2653,
    "wd-vit-large-tagger-v3": 0.2606,
    "wd-vit-tagger-v3": 0.2614,
}
"""Where precision equals recall on held-out Danbooru pictures, by name of the repository.

Source: "Validation results, P=R" in the model card of each SmilingWolf/<name> on the hub.
"""


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which a tag counts as seen."""

    general: float
    character: float

    def of(self, category: str) -> float:
        return self.character if category == "character" else self.general


def published(model: str) -> float:
    """The published threshold of a tagger, by its hub id or by the name of its folder.

    Raises `BakeryError` for a tagger that is not in `PUBLISHED`.
    """
    name = model.partition("@")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
    if name not in PUBLISHED:
        raise BakeryError(
            f"prune.general_threshold is published, but no threshold is known for the tagger "
            f"{name}: give a number such as 0.35 (known are {', '.join(sorted(PUBLISHED))})"
        )
    return PUBLISHED[name]
