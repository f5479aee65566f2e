"""The user's own models that rate pictures: ONNX files with one picture as input, or for faces also
OpenCV cascades (`cascade.py`).

A picture is padded to a centred white square and resized to the side that the model needs; its
pixels are RGB from 0 to 1, less `mean`, over `std`, float32, as (1, 3, side, side) or
(1, side, side, 3), whichever the model takes. The output, by kind:

- `face_count`: boxes as a YOLO detector gives them, (1, 4 + classes, N) or (1, N, 4 + classes) with
  centre and size in pixels of the input, and a confidence for each class; the number is that of boxes
  that overlap no better one;
- `same_character`: an embedding (1, D); the number is the cosine between it and the mean of all;
- `aesthetic`: one score, or classes from best to worst, of which the number is the expected rank
  from 0 (worst) to 1 (best).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from bakery.io import picture_bounds
from bakery.io.errors import BakeryError
from bakery.settings.filter import CASCADE, FACES, FilterModel
from bakery.settings.sections import Deviation, Mean
from bakery.vision.cascade import Cascade
from bakery.vision.onnx_model import OnnxModel

MOST_FACES = 1000
"""In one picture; a detector that finds more of them does not find faces."""
_LONGEST = 8192
"""Longest side in pixels of a picture whose square is made as it is: 256 MB."""
_OVERLAP = 0.7
"""Boxes that share more of their union than this are one face (the YOLO family's default)."""
_ROUNDING = 1e-2
"""How far beyond 0 and 1 half precision may take a confidence."""


class Critic(Protocol):
    """A loaded model that looks at one picture at a time."""

    def look(self, image: Image.Image) -> np.ndarray:
        """Of an RGB picture: faces as (N, 4) left, upper, right, lower in its pixels, an embedding
        (D,), or a score or classes (C,)."""
        ...


def load(model: FilterModel, path: Path) -> Critic:
    """The model of the settings `model` in the file `path`; raises `BakeryError` if it is none."""
    if path.suffix.lower() == CASCADE:
        return Cascade(path)
    onnx = ImageModel(path, model.kind, side=model.side, mean=model.mean, std=model.std)
    return FaceDetector(onnx, model.confidence) if model.kind == FACES else onnx


class ImageModel:
    """A loaded model. Raises `BakeryError` if the file is not such a model."""

    def __init__(
        self, path: Path, kind: str, *, side: int = 0, mean: Mean = 0.0, std: Deviation = 1.0
    ) -> None:
        self.kind = kind
        self._mean, self._std = mean, std
        self._model = OnnxModel(path, "filter.models")
        self._input = self._model.picture_input(
            "one picture as [1, 3, side, side] or [1, side, side, 3]"
        )
        self.side: int = self._input.side or side
        self._shape: tuple[int, ...] | None = None
        """Of the first answer: those of other pictures have it, too."""
        if not self.side:
            raise BakeryError(
                f"filter.models: {path} leaves the size of its input open: give its side in pixels"
            )

    def look(self, image: Image.Image) -> np.ndarray:
        """The model's first output for an RGB picture, without the batch dimension."""
        image = picture_bounds.shortened(image, _LONGEST)
        square = Image.new("RGB", (max(image.size),) * 2, "white")
        square.paste(image, _margins(image.size))
        square = square.resize((self.side, self.side), Image.Resampling.BICUBIC)
        given = self._input.pixels(square, self._mean, self._std)[None]
        answer = self._model.run(self._input.name, given, f"is it of the kind {self.kind}?")
        self._check(answer)
        return answer[0].astype(np.float32, copy=False)

    def _check(self, answer: np.ndarray) -> None:
        """Raises `BakeryError` for an answer that is none of the kind."""
        shape = answer.shape
        if self.kind == FACES:
            fits = len(shape) == 3 and shape[0] == 1 and max(shape[1:]) >= 5
        else:
            fits = len(shape) == 2 and shape[0] == 1 and shape[1] > 0
        if not fits:
            raise self._model.fault(
                f"gives a {shape} array, which is no answer of the kind {self.kind}",
                "see scripts/bakery/vision/critics.py for what is expected",
            )
        if self.kind == FACES:
            return
        self._shape = self._shape or shape
        if shape != self._shape:
            raise self._model.fault(
                f"gives a {self._shape} array for one picture and {shape} for another",
                f"is it of the kind {self.kind}?",
            )

    def fault(self, what: str, cure: str) -> BakeryError:
        """The sentence for what is wrong with the model."""
        return self._model.fault(what, cure)


@dataclass(frozen=True)
class FaceDetector:
    """An ONNX model of the kind `face_count`, whose answers are turned into boxes at once."""

    model: ImageModel
    confidence: float
    """Lowest one at which a box counts as a face."""

    def look(self, image: Image.Image) -> np.ndarray:
        """The faces in an RGB picture: (N, 4) left, upper, right, lower in its pixels, surest first.

        A box may reach beyond the picture, into the margins of the square that the model sees.
        """
        boxes = self.model.look(image)
        sure = _rows(boxes)[:, 4:]
        if sure.size and not (sure.min() >= -_ROUNDING and sure.max() <= 1 + _ROUNDING):
            raise self.model.fault(
                f"gives confidences from {sure.min():.3g} to {sure.max():.3g}, which go from 0 to 1",
                "take a detector that ends in a sigmoid",
            )
        found = corners(boxes, self.confidence)
        if len(found) > MOST_FACES:
            raise self.model.fault(
                f"finds more than {MOST_FACES} faces in a picture",
                "raise its confidence, or take a face detector",
            )
        margins = np.array(_margins(image.size) * 2, np.float32)
        return found * np.float32(max(image.size) / self.model.side) - margins


def _margins(size: tuple[int, int]) -> tuple[int, int]:
    """Left and upper margin of a picture in the centre of the square that holds it, in pixels."""
    left, upper = ((max(size) - length) // 2 for length in size)
    return left, upper


def faces(boxes: np.ndarray, confidence: float) -> int:
    """The number of boxes (rows or columns of centre x, y, width, height, scores) that count."""
    return len(corners(boxes, confidence))


def corners(boxes: np.ndarray, confidence: float) -> np.ndarray:
    """The boxes that count, surest first: (N, 4) left, upper, right, lower.

    `boxes` are rows or columns of centre x, y, width, height, scores. One counts if a score is at
    least `confidence`, and no surer one overlaps it. At most `MOST_FACES` + 1.
    """
    boxes = _rows(boxes)
    boxes = boxes[boxes[:, 4:].max(axis=1) >= confidence]
    boxes = boxes[np.argsort(-boxes[:, 4:].max(axis=1), kind="stable")]
    kept = np.zeros((MOST_FACES + 1, 4), np.float32)
    count = 0
    for box in np.hstack([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2]):
        if count <= MOST_FACES and not (_overlaps(box, kept[:count]) > _OVERLAP).any():
            kept[count] = box
            count += 1
    return kept[:count]


def _rows(boxes: np.ndarray) -> np.ndarray:
    """(4 + classes, N) or (N, 4 + classes) as the latter."""
    rows, columns = boxes.shape
    return boxes.T if columns < 5 or 5 <= rows < columns else boxes


def _overlaps(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (left, top, right, bottom) and each of others (N, 4)."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1).astype(np.float64)
    area = float(np.prod(one[2:] - one[:2]))
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1).astype(np.float64)
    # where nothing is shared, a box without area would divide by zero
    return shared / np.where(shared > 0, area + areas - shared, 1.0)


def likeness(embeddings: Sequence[np.ndarray], trusted: Sequence[bool]) -> np.ndarray:
    """The cosine (N,) between each embedding and the mean of the trusted ones (of all, if none)."""
    table = np.stack(embeddings)  # (N, D)
    table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    chosen = table[list(trusted)] if any(trusted) else table
    middle = chosen.mean(axis=0)
    return table @ (middle / max(float(np.linalg.norm(middle)), 1e-12))


def score(answer: np.ndarray) -> float:
    """A single score as it is; classes (C,), best first, as the expected rank 1 .. 0."""
    if answer.size == 1:
        return float(answer.reshape(()))
    shares = answer.astype(np.float64)
    if shares.min() < 0 or abs(shares.sum() - 1) > 1e-3:  # logits, not probabilities
        shares = np.exp(shares - shares.max())
    shares /= shares.sum()
    return float(shares @ np.linspace(1, 0, answer.size))
