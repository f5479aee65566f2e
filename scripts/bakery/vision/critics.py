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
import onnxruntime
from PIL import Image

from bakery.io import picture_bounds
from bakery.io.errors import BakeryError
from bakery.settings.filter import CASCADE, FACES, FilterModel
from bakery.vision.cascade import Cascade

_LONGEST = 8192
"""Longest side in pixels of a picture whose square is made as it is: 256 MB."""
_OVERLAP = 0.7
"""Boxes that share more of their union than this are one face (the YOLO family's default)."""


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
        self, path: Path, kind: str, *, side: int = 0, mean: float = 0.0, std: float = 1.0
    ) -> None:
        self.kind = kind
        self._path, self._mean, self._std = path, mean, std
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings speak to model authors
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # onnxruntime's errors have no common class of their own
            said = str(problem).split(" : ")[-1].strip().splitlines()[0][:200]
            raise BakeryError(
                f"filter.models: {path} cannot be loaded as an ONNX model ({said}); "
                "download it again"
            ) from None
        self._input, *others = self._session.get_inputs()
        shape = self._input.shape
        self._channels_first = len(shape) == 4 and shape[1] == 3
        if others or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise BakeryError(
                f"filter.models: the input of {path} has the shape {shape}, expected one picture "
                "as [1, 3, side, side] or [1, side, side, 3]"
            )
        own = shape[2]
        self.side: int = own if isinstance(own, int) else side
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
        pixels = (np.asarray(square, np.float32) / 255 - self._mean) / self._std
        if self._channels_first:
            pixels = pixels.transpose(2, 0, 1)
        try:
            (answer, *_) = self._session.run(None, {self._input.name: pixels[None]})
        except Exception as problem:
            said = str(problem).split(" : ")[-1].strip().splitlines()[0][:200]
            raise BakeryError(
                f"filter.models: {self._path} cannot look at a picture ({said}); is it of the "
                f"kind {self.kind}?"
            ) from None
        answer = np.asarray(answer, np.float32)
        boxes = answer.ndim == 3 and max(answer.shape[1:]) >= 5
        if not (boxes if self.kind == FACES else answer.ndim == 2):
            raise BakeryError(
                f"filter.models: {self._path} gives a {answer.shape} array, which is no answer of "
                f"the kind {self.kind}; see scripts/bakery/vision/critics.py for what is expected"
            )
        return answer[0]


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
        found = corners(self.model.look(image), self.confidence)
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
    least `confidence`, and no surer one overlaps it.
    """
    rows, columns = boxes.shape
    if columns < 5 or 5 <= rows < columns:  # (4 + classes, N)
        boxes = boxes.T
    boxes = boxes[boxes[:, 4:].max(axis=1) >= confidence]
    boxes = boxes[np.argsort(-boxes[:, 4:].max(axis=1), kind="stable")]
    kept: list[np.ndarray] = []
    for box in np.hstack([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2]):
        if all(_overlap(box, other) <= _OVERLAP for other in kept):
            kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 4)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return shared / (sum(areas) - shared) if shared else 0.0


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
