"""The tag section: which tagger describes the pictures."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from bakery.settings.named_files import Model
from bakery.settings.sections import Section


class Tag(Section):
    """The WD tagger that describes each picture."""

    model: Annotated[str, Model()] = "resources/world/tagger"
    """Folder with model.onnx and selected_tags.csv, or a hub id (SmilingWolf/wd-swinv2-tagger-v3)."""
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
