"""The score section: what the tagger looks for in the samples, and what it costs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bakery.settings.sections import Section, Share


class Score(Section):
    """What the tagger sees in the samples."""

    min_trait_share: Share = 0.5
    """A pruned trait counts if the tagger sees it on this share of the training pictures."""
    habit: Annotated[float, Field(gt=0, le=1)] = 0.25
    """An outfit or scene tag can leak if the training pictures show it more often than the base does, by
    this share of the pictures."""
    memorised_distance: Annotated[int, Field(ge=0, le=32)] = 6
    """Largest Hamming distance between 64-bit perceptual hashes of a picture and a training picture that
    it copies."""
    leak_weight: Annotated[float, Field(ge=0)] = 0.5
    """How much leak costs in the trade-off."""
    bleed_weight: Annotated[float, Field(ge=0)] = 0.1
    """How much bleed costs in the trade-off: little, as a character is why one loads its LoRA."""
    clarity_weight: Annotated[float, Field(ge=0)] = 0.5
    """How much it costs in the trade-off when pictures are less clear than the base's."""
    embedding_model: str = ""
    """ONNX file that turns a picture into a vector in which one character lies together (for example the
    feature model of CCIP): gives likeness; empty leaves it out."""
    embedding_mean: float = 0.5
    """Subtracted from the 0..1 pixels that this model sees."""
    embedding_std: Annotated[float, Field(gt=0)] = 0.5
    """Divides them after that."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Samples per inference of the tagger; does not change the scores, and is not part of the key."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})
