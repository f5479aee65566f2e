"""Same character or not, by an ONNX model whose vectors have similar directions for the same character.

A character's centre is the mean direction of the training pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from bakery.settings.sections import Deviation, Mean
from bakery.vision.features import FeatureModel

_CURE = "take a model that turns RGB pictures into vectors (of a larger one, the feature part)"


class Embedder:
    """A loaded model (`features.py`)."""

    def __init__(self, path: Path, *, mean: Mean, std: Deviation, threads: int) -> None:
        """Raises `BakeryError` if `path` is not an ONNX model of pictures."""
        self._model = FeatureModel(
            path, "config: score.embedding_model", _CURE, normal=(mean, std), threads=threads
        )

    def embed(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Directions of RGB pictures, (N, D), each of length 1."""
        vectors = self._model.features(pictures).astype(np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1.0)


def cosines(vectors: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, float]:
    """Cosine of each of `vectors` (N, D) to the centre of `training` (M, D), and the ceiling.

    The ceiling is the mean cosine of a training picture to the centre of the others.
    """
    total = training.sum(axis=0)
    if len(training) > 1:
        others = total - training
        ceiling = float(np.mean([_cosine(a, b) for a, b in zip(training, others, strict=True)]))
    else:
        ceiling = 1.0
    return np.array([_cosine(vector, total) for vector in vectors]), ceiling


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
