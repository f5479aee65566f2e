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
import onnxruntime
from PIL import Image

from bakery.io.errors import BakeryError

SIDE = 384
"""Pixels a side if the model does not fix it."""
_BATCH = 8


class Embedder:
    """A loaded model."""

    def __init__(self, path: Path, *, mean: float, std: float, threads: int) -> None:
        """Raises `BakeryError` if `path` is not an ONNX model of pictures."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads  # 0: all
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:  # onnxruntime's errors have no common class of their own
            raise BakeryError(
                f"config: score.embedding_model: {path} cannot be loaded as an ONNX model "
                f"({str(problem).splitlines()[0][:200]}); download it again"
            ) from None
        self._path, self._mean, self._std = path, mean, std
        shape = list(self._session.get_inputs()[0].shape)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise BakeryError(
                f"config: score.embedding_model: the input of {path} has the shape {shape}, expected "
                "[batch, 3, side, side] or [batch, side, side, 3]"
            )
        self._channels_first = shape[1] == 3
        side = shape[2]
        self._side = side if isinstance(side, int) else SIDE
        self._batch = shape[0] if isinstance(shape[0], int) else None

    def embed(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Directions of RGB pictures, (N, D), each of length 1."""
        pictures, rows = iter(pictures), []
        while batch := [self._pixels(p) for p in islice(pictures, self._batch or _BATCH)]:
            count = len(batch)
            batch += batch[-1:] * ((self._batch or count) - count)
            given = {self._session.get_inputs()[0].name: np.stack(batch)}
            rows.append(self._run(given)[:count])
        vectors = np.concatenate(rows)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1.0)

    def _pixels(self, picture: Image.Image) -> np.ndarray:
        small = picture.resize((self._side, self._side), Image.Resampling.BILINEAR)
        pixels = (np.asarray(small, np.float32) / 255 - self._mean) / self._std
        return (pixels.transpose(2, 0, 1) if self._channels_first else pixels).astype(np.float32)

    def _run(self, given: dict[str, np.ndarray]) -> np.ndarray:
        try:
            vectors = self._session.run(None, given)[0].astype(np.float64)
        except Exception as problem:
            raise BakeryError(
                f"config: score.embedding_model: {self._path} failed "
                f"({str(problem).splitlines()[0][:200]}): take a model of RGB pictures"
            ) from None
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise BakeryError(
                f"config: score.embedding_model: {self._path} gives {vectors.shape} where a finite "
                "vector for each picture is expected: take the model's feature part"
            )
        return vectors


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
