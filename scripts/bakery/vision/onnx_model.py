"""ONNX models of other people: opened, looked at and run; whatever is wrong with one is a sentence.

An answer that is no number (NaN, infinite, text, nothing) is a fault and never a result, and a model
that does not come to an end is given up after `PATIENCE`, or after `LOADING`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from bakery.io.errors import BakeryError
from bakery.jobs import giving_up
from bakery.settings.sections import Deviation, Mean

PATIENCE = 600.0
"""Seconds that one run of a model may take; then it is stopped."""
LOADING = 600.0
"""Seconds that a model may take to load; then it is given up."""
LARGEST_SIDE = 4096
"""Pixels of an input's side; larger ones are a damaged file."""
LARGEST_BATCH = 1024
"""Pictures that a model may ask for at once."""
CPU = ("CPUExecutionProvider",)
_FLOATS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class PictureInput:
    """What a model with one picture input takes."""

    name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    """Pictures at once; None where any number will do."""
    side: int | None
    """Pixels; None where the model leaves it open."""
    channels_first: bool

    def pixels(self, picture: Image.Image, mean: Mean, std: Deviation) -> np.ndarray:
        """What the model takes of an RGB picture of its size: 0 to 1, less `mean`, over `std`.

        (3, side, side) or (side, side, 3); `mean` and `std` are a number, or one each for R, G and B.
        """
        values = np.asarray(picture, np.float32) / 255
        values = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        if self.channels_first:
            values = values.transpose(2, 0, 1)
        return values.astype(self.dtype, copy=False)

    def batches(self, pixels: Iterable[np.ndarray], usual: int) -> Iterator[tuple[np.ndarray, int]]:
        """As many at once as the model takes, or `usual` where any number will do; and how many count.

        Where the model's number is fixed, the last ones are repeated to fill it up.
        """
        pixels = iter(pixels)
        while batch := list(islice(pixels, self.batch or usual)):
            count = len(batch)
            batch += batch[-1:] * ((self.batch or count) - count)
            yield np.stack(batch), count


class OnnxModel:
    """A loaded model. `where` is what its sentences begin with: the setting that names it."""

    def __init__(
        self,
        path: Path,
        where: str,
        *,
        threads: int = 0,
        providers: tuple[str, ...] = CPU,
    ) -> None:
        """`threads` of the CPU, 0 for all. Raises `BakeryError` if `path` is no ONNX model."""
        self.path, self._where = path, where
        self.session = self._opened(threads, providers)
        if not self.session.get_outputs():
            raise self.fault("gives nothing: it has no output", "take another model")

    def _opened(self, threads: int, providers: tuple[str, ...]) -> onnxruntime.InferenceSession:
        if _is_pointer(self.path):
            raise self.fault(
                "is a Git LFS pointer, not the model",
                "run git lfs pull in its repository, or download the file itself",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings speak to model authors
        options.intra_op_num_threads = threads

        def load() -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(self.path, options, providers=list(providers))

        try:  # what a model has onnxruntime compute beforehand may take for ever
            return giving_up.within(LOADING, load)
        except giving_up.GivenUp:
            raise self.fault(f"is not loaded after {LOADING:g} s", _OTHER) from None
        except Exception as problem:  # onnxruntime's errors have no common class of their own
            raise self.fault(
                f"cannot be loaded as an ONNX model ({brief(problem)})", "download it again"
            ) from None

    def fault(self, what: str, cure: str) -> BakeryError:
        """The sentence for what is wrong with the model."""
        return BakeryError(f"{self._where}: {self.path} {what}; {cure}")

    def picture_input(self, expected: str) -> PictureInput:
        """The model's only input, as a picture; `expected` says which shapes will do.

        Raises `BakeryError` for more inputs, other shapes, or numbers that are no floats.
        """
        inputs = self.session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        sides = shape[2:] if shape[1:2] == [3] else shape[1:3]
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or not _square(sides):
            what = "input of" if len(inputs) == 1 else f"{len(inputs)} inputs of"
            shapes = " and ".join(str(list(one.shape)) for one in inputs)
            raise BakeryError(
                f"{self._where}: the {what} {self.path} has the shape {shapes}, expected {expected}"
            )
        if inputs[0].type not in _FLOATS:
            raise self.fault(f"takes {inputs[0].type} instead of floating-point pixels", _OTHER)
        batch, side = (one if isinstance(one, int) else None for one in (shape[0], sides[0]))
        if side is not None and not 0 < side <= LARGEST_SIDE:
            raise self.fault(
                f"takes pictures of {side} pixels a side, and sides go from 1 to {LARGEST_SIDE}",
                _OTHER,
            )
        if batch is not None and not 0 < batch <= LARGEST_BATCH:
            raise self.fault(
                f"takes {batch} pictures at once, and 1 to {LARGEST_BATCH} are possible", _OTHER
            )
        dtype = _FLOATS[inputs[0].type]
        return PictureInput(inputs[0].name, dtype, batch, side, shape[1] == 3)

    def run(self, name: str, given: np.ndarray, hint: str) -> np.ndarray:
        """The first output for the input `name`: floats, all of them finite.

        Raises `BakeryError`, with `hint` as what to do, if the model fails, takes longer than
        `PATIENCE` or gives something else.
        """
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # what fails is a sentence here
        watch = threading.Timer(PATIENCE, setattr, (options, "terminate", True))
        watch.daemon = True
        watch.start()
        output = self.session.get_outputs()[0].name
        try:
            answer = self.session.run([output], {name: given}, options)[0]
        except Exception as problem:
            if options.terminate:
                what = f"had no answer after {PATIENCE:g} s and was stopped"
            else:
                what = f"failed ({brief(problem)})"
            raise self.fault(what, hint) from None
        finally:
            watch.cancel()
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
            kind = answer.dtype if isinstance(answer, np.ndarray) else type(answer).__name__
            raise self.fault(f"gives {kind} instead of floating-point numbers", hint)
        if not np.isfinite(answer).all():
            raise self.fault("gives NaN or infinite numbers: it is damaged", hint)
        return answer


_OTHER = "take another model"


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:  # onnxruntime says what is wrong
        return False


def _square(sides: list[Any]) -> bool:
    """Whether two sides are equal, or open."""
    numbers = {side for side in sides if isinstance(side, int)}
    return len(sides) == 2 and len(numbers) <= 1


def brief(problem: Exception) -> str:
    """onnxruntime's message without its error code and source file."""
    lines = str(problem).split(" : ")[-1].strip().splitlines()
    return lines[0][:200] if lines else type(problem).__name__
