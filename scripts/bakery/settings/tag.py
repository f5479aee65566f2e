"""The tag section: which tagger describes the pictures."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from bakery.settings.named_files import Model
from bakery.settings.sections import Section, Words

EMBEDDED_TAGGER = "resources/world/tagger"
"""It knows the embedded world only."""
RECOMMENDED_TAGGER = "SmilingWolf/wd-swinv2-tagger-v3"
"""For real pictures."""


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
