"""Pictures in, a vector of each out: ONNX models of features, which are close for what is alike.

A picture is stretched to the model's square (bilinear), whatever its shape. The model's input is
(batch, 3, side, side) or (batch, side, side, 3): RGB, 0 to 1, less a mean, over a deviation. Its first
output is (batch, D).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from bakery.settings.sections import Deviation, Mean
from bakery.vision.onnx_model import OnnxModel

SIDE = 384
"""Pixels a side if the model does not fix it."""
_BATCH = 8


class FeatureModel:
    """A loaded model."""

    def __init__(
        self, path: Path, where: str, cure: str, *, normal: tuple[Mean, Deviation], threads: int
    ) -> None:
        """`where` is the setting that names it, `cure` what to do where it turns out to be another
        kind of model, `normal` the mean and the deviation of pixels; `threads` of the CPU, 0 for all.

        Raises `BakeryError` if `path` is no ONNX model of pictures.
        """
        self._model = OnnxModel(path, where, threads=threads)
        self._input = self._model.picture_input("[batch, 3, side, side] or [batch, side, side, 3]")
        self._normal, self._cure = normal, cure

    def features(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Of RGB pictures, (N, D) in the model's precision; (0, 0) of none."""
        rows = []
        for batch, count in self._input.batches(map(self._pixels, pictures), _BATCH):
            found = self._model.run(self._input.name, batch, self._cure)
            if found.ndim != 2 or len(found) != len(batch) or not found.shape[1]:
                raise self._model.fault(
                    f"gives {found.shape} where a vector for each of {len(batch)} pictures is expected",
                    self._cure,
                )
            rows.append(found[:count])
        if len({row.shape[1] for row in rows}) > 1:
            raise self._model.fault("gives vectors of different lengths", self._cure)
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    def _pixels(self, picture: Image.Image) -> np.ndarray:
        side = self._input.side or SIDE
        stretched = picture.resize((side, side), Image.Resampling.BILINEAR)
        return self._input.pixels(stretched, *self._normal)
