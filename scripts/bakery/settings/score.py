"""The score section: what the tagger looks for in the samples, and what it costs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bakery.settings.named_files import HubFolder, Model
from bakery.settings.sections import Deviation, Mean, Section, Share


class Score(Section):
    """What the tagger sees in the samples."""

    min_trait_share: Share = 0.5
    """A pruned trait counts if the tagger sees it on at least this share of the training
    pictures."""
    habit: Annotated[float, Field(gt=0, le=1)] = 0.25
    """An outfit or scene tag can leak if its share of the training pictures exceeds its share of
    the base's pictures by at least this much."""
    memorised_distance: Annotated[int, Field(ge=0, le=32)] = 6
    """Largest Hamming distance between the 64-bit perceptual hashes of a sample and a training
    picture at which the sample counts as a copy."""
    leak_weight: Annotated[float, Field(ge=0)] = 0.1
    """How much leak costs in the trade-off: little, as what is often on the pictures may be the
    character's own."""
    bleed_weight: Annotated[float, Field(ge=0)] = 0.1
    """How much bleed costs in the trade-off: little, as you load a character's LoRA to see that
    character."""
    clarity_weight: Annotated[float, Field(ge=0)] = 0.2
    """How much pictures that are less clear than the base's cost in the trade-off: little, as broken
    ones also lose their tags."""
    embedding_model: Annotated[str, Model()] = ""
    """ONNX file of a model of your own that turns pictures into vectors, whose directions are close for
    the same character; gives likeness. For CCIP, take likeness_model instead. Empty leaves likeness
    out."""
    embedding_mean: Mean = 0.5
    """Subtracted from the pixels (0 to 1) before this model sees them: a number, or one each for red,
    green and blue, as the model was trained. Most models publish it (image_mean): for CLIP [0.4815,
    0.4578, 0.4082], for ImageNet [0.485, 0.456, 0.406]. A wrong one is not noticed; it only makes
    likeness worse."""
    embedding_std: Deviation = 0.5
    """The pixels are divided by this afterwards (image_std): for CLIP [0.2686, 0.2613, 0.2758], for
    ImageNet [0.229, 0.224, 0.225]."""
    likeness_model: Annotated[str, HubFolder()] = ""
    """Model that tells whether two drawings show the same character: a folder of CCIP as deepghs
    publishes it (`model_feat.onnx`, `model_metrics.onnx`, `metrics.json`), or `deepghs/ccip_onnx` on the
    hub, which is downloaded once (`deepghs/ccip_onnx/<folder>` for another than
    ccip-caformer-24-randaug-pruned). Gives same_character and difference; empty leaves them out."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Samples per inference of the tagger. It does not change the scores and is not part of the
    key."""

    came_later: ClassVar[frozenset[str]] = frozenset({"likeness_model"})
    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})
