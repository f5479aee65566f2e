"""Face detectors of OpenCV: cascades in an `.xml` file, such as nagadomi's for drawn faces.

OpenCV is optional and loaded only if a config names such a file. Its version 5 has no cascades any
more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakery.io.errors import BakeryError

REQUIREMENT = "opencv-python-headless<5"
"""What pip installs it by."""
SCALE = 1.1
"""Step between the sizes at which faces are looked for."""
NEIGHBORS = 5
"""Overlapping finds that make a face."""
SMALLEST = 24
"""Side in pixels of the smallest face that is looked for in pictures of up to `USUAL` pixels."""
USUAL = 512
"""Shorter side in pixels; of larger pictures the smallest face grows with it, as small finds there are
mostly patterns."""


class Cascade:
    """A loaded cascade. Raises `BakeryError` without OpenCV 4, or if the file is no cascade."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opencv = _opencv(path)
        # Its threads would find the same faces in another order, and the job has cores of its own.
        self._opencv.setNumThreads(1)
        try:
            self._cascade = self._opencv.CascadeClassifier(str(path))
        except (self._opencv.error, SystemError):  # its XML reader's
            self._cascade = None
        if self._cascade is None or self._cascade.empty():
            raise BakeryError(
                f"filter.models: {path} cannot be loaded as an OpenCV cascade: download it again, and "
                "see that it is the .xml itself, not a web page about it"
            )

    def look(self, image: Image.Image) -> np.ndarray:
        """The faces in an RGB picture: (N, 4) left, upper, right, lower in its pixels, sorted."""
        grey = self._opencv.equalizeHist(np.asarray(image.convert("L")))
        side = smallest_face(image.size)
        try:
            found = self._cascade.detectMultiScale(
                grey, scaleFactor=SCALE, minNeighbors=NEIGHBORS, minSize=(side, side)
            )
        except self._opencv.error as problem:
            said = str(problem).strip().splitlines()[0][:200]
            raise BakeryError(
                f"filter.models: {self._path} cannot look at a picture ({said}): take another cascade"
            ) from None
        boxes = np.asarray(found, np.float32).reshape(-1, 4)  # left, upper, width, height
        boxes[:, 2:] += boxes[:, :2]
        return boxes[np.lexsort(boxes.T[::-1])]


def smallest_face(size: tuple[int, int]) -> int:
    """Side in pixels of the smallest face that is looked for in a picture of `size`."""
    return max(SMALLEST, min(size) * SMALLEST // USUAL)


def _opencv(path: Path) -> Any:
    try:
        import cv2
    except ImportError:
        found = "which is not installed"
    else:
        if hasattr(cv2, "CascadeClassifier"):
            return cv2
        found = f"and OpenCV {cv2.__version__} has no cascades any more"
    raise BakeryError(
        f"filter.models: {path} is a cascade of OpenCV 4, {found}: pip install '{REQUIREMENT}'"
    )
