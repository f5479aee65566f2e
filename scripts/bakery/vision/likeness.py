"""Same character or not, by an ONNX model whose embeddings are close for the same character.

The model turns a picture into a vector; CCIP's feature model (deepghs) is one for drawings. Its
input is (batch, 3, side, side) or (batch, side, side, 3), RGB, 0..1, less a mean, over a deviation;
its first output is (batch, D). A character's centre is the mean direction of the training pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from bakery.vision.onnx_model import OnnxModel

SIDE = 384
"""Pixels a side if the model does not fix it."""
_BATCH = 8
_FEATURES = "take the model's feature part"


class Embedder:
    """A loaded model."""

    def __init__(self, path: Path, *, mean: float, std: float, threads: int) -> None:
        """Raises `BakeryError` if `path` is not an ONNX model of pictures."""
        self._model = OnnxModel(path, "config: score.embedding_model", threads=threads)
        self._input = self._model.picture_input("[batch, 3, side, side] or [batch, side, side, 3]")
        self._mean, self._std = mean, std
        self._side = self._input.side or SIDE

    def embed(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Directions of RGB pictures, (N, D), each of length 1."""
        pictures, rows = iter(pictures), []
        size = self._input.batch or _BATCH
        while batch := [self._pixels(p) for p in islice(pictures, size)]:
            count = len(batch)
            batch += batch[-1:] * ((self._input.batch or count) - count)
            rows.append(self._run(np.stack(batch))[:count])
        if len({row.shape[1] for row in rows}) > 1:
            raise self._model.fault("gives vectors of different lengths", _FEATURES)
        vectors = np.concatenate(rows)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1.0)

    def _pixels(self, picture: Image.Image) -> np.ndarray:
        small = picture.resize((self._side, self._side), Image.Resampling.BILINEAR)
        pixels = (np.asarray(small, np.float32) / 255 - self._mean) / self._std
        pixels = pixels.transpose(2, 0, 1) if self._input.channels_first else pixels
        return pixels.astype(self._input.dtype)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        vectors = self._model.run(self._input.name, batch, "take a model of RGB pictures")
        if vectors.ndim != 2 or len(vectors) != len(batch) or not vectors.shape[1]:
            raise self._model.fault(
                f"gives {vectors.shape} where a vector for each of {len(batch)} pictures is expected",
                _FEATURES,
            )
        return vectors.astype(np.float64)


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
