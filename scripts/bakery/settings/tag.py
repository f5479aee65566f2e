"""The tag section: which tagger describes the pictures, and from which probability its tags count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from bakery.io.errors import BakeryError
from bakery.settings.named_files import Model
from bakery.settings.sections import Section, Words

EMBEDDED_TAGGER = "resources/world/tagger"
"""It knows the embedded world only."""
RECOMMENDED_TAGGER = "SmilingWolf/wd-swinv2-tagger-v3"
"""For real pictures."""
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


class Tag(Section):
    """The WD tagger that describes each picture."""

    model: Annotated[str, Model()] = EMBEDDED_TAGGER
    """Folder with model.onnx and selected_tags.csv, or a hub id (SmilingWolf/wd-swinv2-tagger-v3)."""
    captioner: Annotated[str | None, Model()] = None
    """Folder of a model that writes a sentence about each picture, or its hub id: Florence-2
    (florence-community/Florence-2-base), Qwen-VL, LLaVA or another that transformers loads without code
    of its own. Its sentences go into captions where `prune.caption_order` has a `sentence`."""
    captioner_prompt: Words = ""
    """What the captioner is asked; empty asks for a plain description in a sentence or two, of
    Florence-2 its `<DETAILED_CAPTION>`."""
    captioner_tokens: Annotated[int, Field(ge=8, le=1024)] = 100
    """Most tokens that the captioner writes; a sentence that this cuts off is left out."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Pictures per inference. It does not change the tags and is not part of the key."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    @model_validator(mode="before")
    @classmethod
    def _thresholds_stand_in_prune(cls, raw: Any) -> Any:
        for name in ("general_threshold", "character_threshold"):
            if isinstance(raw, dict) and name in raw:
                raise ValueError(
                    f"has no {name}: write it in the prune section, where another value needs no "
                    "new tagging"
                )
        return raw


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which a tag counts as seen."""

    general: float
    character: float

    def of(self, category: str) -> float:
        return self.character if category == "character" else self.general


def published_threshold(model: str) -> float:
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
