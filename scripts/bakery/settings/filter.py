"""The settings of the filter, and of the models that look at pictures for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bakery.settings.named_files import ModelFile
from bakery.settings.sections import Deviation, Mean, Section, Share

Rating = Literal["general", "sensitive", "questionable", "explicit"]
Kind = Literal["face_count", "same_character", "aesthetic"]
FACES: Kind = "face_count"
CASCADE = ".xml"
"""Extension of an OpenCV cascade."""


class FilterModel(Section):
    """A model that looks at each picture; what it takes and gives: scripts/bakery/vision/critics.py."""

    path: Annotated[str, Field(min_length=1), ModelFile()]
    """An `.onnx` file; for face_count also an OpenCV cascade (`.xml`), which needs
    `pip install 'opencv-python-headless<5'`."""
    kind: Kind
    """What its number means: the number of faces, likeness to the mean of all pictures, or a
    score."""
    min: float | None = None
    """Smallest number to keep."""
    max: float | None = None
    """Largest number to keep."""
    confidence: Share = 0.3
    """face_count only: lowest confidence at which a box counts as a face. A cascade has none."""
    side: Annotated[int, Field(ge=0, le=4096)] = 0
    """Side of the input in pixels, for a model that does not fix it."""
    mean: Mean = 0.0
    """Subtracted from the pixels, which go from 0 to 1: a number, or one each for red, green and
    blue."""
    std: Deviation = 1.0
    """The pixels are divided by this afterwards; a number, or one each."""

    @model_validator(mode="after")
    def _is_read_as_its_extension(self) -> FilterModel:
        if not self.path.lower().endswith(CASCADE):
            return self
        if self.kind != FACES:
            raise ValueError(
                f"has an .xml file, an OpenCV cascade, but is of the kind {self.kind}: cascades find "
                f"faces, so give it the kind {FACES}, or name an .onnx file"
            )
        fields = type(self).model_fields
        for name in ("confidence", "side", "mean", "std"):
            if getattr(self, name) != fields[name].default:
                raise ValueError(f"has an .xml file, for which {name} does nothing: leave it out")
        return self

    @model_validator(mode="after")
    def _has_a_bound(self) -> FilterModel:
        if self.min is None and self.max is None:
            raise ValueError("has no limit: give it min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("has a min above its max, which keeps nothing: swap them")
        return self


class Filter(Section):
    """Which pictures to leave out of training."""

    min_side: Annotated[int, Field(ge=0)] = 64
    """A picture is too small if its shorter side is below this many pixels."""
    max_aspect: Annotated[float, Field(ge=1)] | None = 5.0
    """A picture is too long if its longer side divided by its shorter one exceeds this; null keeps
    every shape."""
    ratings: tuple[Rating, ...] = ("general",)
    """Ratings to keep; a picture without a rating (a local folder) counts as general."""
    min_score: int | None = 0
    """Lowest booru score to keep; null keeps every score."""
    unwanted_tags: tuple[str, ...] = ()
    """Further booru tags that drop a picture, besides those of the other checks; `*` matches any
    letters."""
    extra_characters: bool = True
    """Drop pictures with more than one character: several character tags, 2girls, comic ..."""
    monochrome: bool = True
    """Drop greyscale pictures and sketches, by tag or by measured colour."""
    text_heavy: bool = True
    """Drop pictures that are mostly text, by tag: text focus, speech bubbles, screenshots ..."""
    ai_generated: bool = True
    """Drop pictures tagged as AI-generated."""
    animation: bool = True
    """Drop pictures with more than one frame."""
    max_blur: Share = 0.5
    """Most blur to accept, from 0 (sharp) to 1 (no detail left); 1 keeps all. A Gaussian of 1.5% of
    the side gives 0.6 to 0.8."""
    min_jpeg_quality: Annotated[int, Field(ge=0, le=100)] = 30
    """Lowest JPEG quality to keep, measured by the file's tables and by traces in its pixels,
    whatever its format is now; 0 keeps all."""
    duplicate_distance: Annotated[int, Field(ge=-1, le=32)] = 6
    """Largest Hamming distance between 64-bit perceptual hashes of near-duplicates; -1 keeps all."""
    max_pictures: Annotated[int, Field(ge=1)] | None = None
    """Most pictures to keep, drawn at random from those that no check speaks against, of all concepts
    together; null keeps all. A smaller number keeps some of those that a larger one keeps."""
    max_pictures_seed: Annotated[int, Field(ge=0)] = 0
    """Another number draws other pictures for `max_pictures`."""
    models: tuple[FilterModel, ...] = ()
    """Your own models that rate each picture, each with its limits. The faces that the first of the kind
    face_count finds are in the filter's `boxes.csv`, for `layout.details: [face]`."""
