"""Same character or not, by a model that was made for this question: CCIP (deepghs), as it is published.

Such a model is a folder with `model_feat.onnx`, which turns a picture into numbers,
`model_metrics.onnx`, which turns the numbers of N pictures into their differences, and `metrics.json`
with the difference up to which two pictures show one character. Steps, as in its authors' package
imgutils: stretch a picture to 384 pixels a side (bilinear), RGB from 0 to 1 less `MEAN`, over `STD`;
features (`features.py`); differences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.vision import hub
from bakery.vision.features import FeatureModel
from bakery.vision.onnx_model import OnnxModel

FEATURES, DIFFERENCES, FACTS = "model_feat.onnx", "model_metrics.onnx", "metrics.json"
USUAL = "ccip-caformer-24-randaug-pruned"
"""The folder of a repository with several models that is taken where none is named."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of red, green and blue, as CLIP has it."""
STD = (0.26862954, 0.26130258, 0.27577711)
_WHERE = "config: score.likeness_model"
_AT_ONCE = 256
_IN_A_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w.-]+))?(@[\w./-]+)?")
_CURE = "take a folder of CCIP as deepghs publishes it"


def fetch(model: str) -> Path:
    """The model's folder: `model` itself, or a download when it names one on the hub.

    `owner/name`, or `owner/name/folder` where the repository holds several, with `@revision` if wanted.
    Raises `BakeryError` if a file is missing.
    """
    folder = Path(model)
    if not folder.exists():
        named = _IN_A_REPOSITORY.fullmatch(model)
        if named is None:
            raise BakeryError(f"{_WHERE}: there is no folder {model}; give a folder or a hub id")
        inner = named[2] or USUAL
        files = (FEATURES, DIFFERENCES, FACTS)
        wanted = [*(f"{inner}/{file}" for file in files), *(() if named[2] else files)]
        whole = hub.download(f"{named[1]}{named[3] or ''}", wanted, "likeness model")
        folder = whole / inner if (whole / inner).is_dir() else whole
    for name in (FEATURES, DIFFERENCES, FACTS):
        if not (folder / name).is_file():
            raise BakeryError(f"{_WHERE}: {model} has no {name}; {_CURE}")
    return folder


class CharacterModel:
    """A loaded model."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """`threads` of the CPU, 0 for all. Raises `BakeryError` for a folder that is no such model."""
        self.threshold = _threshold(folder / FACTS)
        self._features = FeatureModel(
            folder / FEATURES, _WHERE, _CURE, normal=(MEAN, STD), threads=threads
        )
        self._metrics = OnnxModel(folder / DIFFERENCES, _WHERE, threads=threads)
        inputs = self._metrics.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2:
            shapes = " and ".join(str(list(one.shape)) for one in inputs)
            raise self._metrics.fault(f"takes {shapes} instead of [pictures, features]", _CURE)
        self._name = inputs[0].name

    def features(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Of RGB pictures, float32 (N, D)."""
        return self._features.features(pictures).astype(np.float32, copy=False)

    def differences(self, features: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(N, M) differences between pictures with `features` (N, D) and `others` (M, D)."""
        found = [np.zeros((0, len(others)))]
        for start in range(0, len(features), _AT_ONCE):
            part = features[start : start + _AT_ONCE]
            both = np.concatenate([others, part])
            matrix = self._metrics.run(self._name, both, _CURE)
            if matrix.shape != (len(both), len(both)):
                raise self._metrics.fault(
                    f"gives {matrix.shape} for {len(both)} pictures, expected a number for each pair",
                    _CURE,
                )
            found.append(matrix[len(others) :, : len(others)].astype(np.float64))
        return np.concatenate(found)


def _threshold(path: Path) -> float:
    """The difference up to which two pictures show one character."""
    try:
        value = json.loads(regular_files.read_text(path))["threshold"]
        if isinstance(value, bool) or not 0 < float(value) < float("inf"):
            raise ValueError(value)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BakeryError(f"{_WHERE}: {path} gives no threshold ({problem!r}); {_CURE}") from None
    return float(value)
