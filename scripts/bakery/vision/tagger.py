"""The WD tagger: pictures in, a probability for each tag out.

A tagger is a folder with `model.onnx` and `selected_tags.csv` (name, category, count), as the WD v1.4
and v3 models are published. Steps from a picture to its row of probabilities:

1. `prepare`: pad to a centred white square, resize (bicubic) to the side the model needs, BGR;
2. stack into batches: as many as wanted, or as many as the model's input is fixed to (v1.4: 1);
3. run; a row holds one sigmoid for each line of selected_tags.csv.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image

from bakery.io import picture_bounds, status, tables
from bakery.io.errors import BakeryError
from bakery.tags import tagger_list
from bakery.vision import hub
from bakery.vision.onnx_model import CPU, OnnxModel

MODEL, TAGS = "model.onnx", tagger_list.FILE

GPUS = (
    "CUDAExecutionProvider",
    "MIGraphXExecutionProvider",
    "ROCMExecutionProvider",
    "DmlExecutionProvider",
)
"""onnxruntime's GPU providers; the first available one is used."""

_LARGEST = 8192  # side of the padded square in pixels: 200 MB; a comic strip can be far longer
_OTHER_LISTS = ("tag_mapping.json", "metadata.json", "tags.json", "tags.txt", "tags.csv")
_EXPECTED = "[batch, side, side, 3] as the WD taggers have"
_log = logging.getLogger(__name__)
T = TypeVar("T")


def fetch(model: str) -> Path:
    """The tagger's folder: `model` itself, or a download when `model` is a hub id.

    A hub id is `owner/name`, or `owner/name@revision`; it is downloaded once, into the hub's own
    cache. Raises `BakeryError` if there is neither such a folder nor such a repository, or if
    a file is missing in it.
    """
    folder = Path(model)
    if not folder.exists():
        if not hub.is_id(model):
            raise BakeryError(
                f"tagger: there is no folder {model}; give a folder with {MODEL} and {TAGS}, or a "
                "hub id such as SmilingWolf/wd-swinv2-tagger-v3"
            )
        folder = hub.download(model, [f"{MODEL}*", TAGS], "tagger")
    _check_files(folder)
    return folder


def _check_files(folder: Path) -> None:
    for name in (MODEL, TAGS):
        if not (folder / name).is_file():
            other = next((n for n in _OTHER_LISTS if name == TAGS and (folder / n).is_file()), None)
            raise BakeryError(
                f"tagger: {folder} has no {name}"
                + (f", and its {other} is not read here" if other else "")
                + f"; a tagger is a folder with {MODEL} and {TAGS}"
            )


def prepare(image: Image.Image, side: int) -> np.ndarray:
    """An RGB picture as the model sees it: float32 (side, side, 3), BGR, 0..255.

    Padding comes before resizing, so that the aspect ratio is kept. Pictures longer than 8192
    pixels are shrunk first, or their square would not fit into memory.
    """
    image = picture_bounds.shortened(image, _LARGEST)
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), (255, 255, 255))
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    if longest != side:
        square = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.float32)[:, :, ::-1]


def _itself(picture: Any) -> Any:
    """Opens what is a picture already."""
    return picture


class Tagger:
    """A loaded model. `names` and `categories` belong to the columns of what `tag` returns."""

    def __init__(
        self,
        model: OnnxModel,
        tags: pd.DataFrame,
        folder: Path,
        threads: int,
    ) -> None:
        self.names = tuple(tags["name"])
        self.categories = tuple(tags["category"])
        self._tags = tags
        self.provider = model.session.get_providers()[0]
        self._folder = folder
        threads = threads or os.cpu_count() or 1
        # with a GPU, the CPU only has to decode
        self._readers = min(2, threads) if self.provider == "CPUExecutionProvider" else threads
        self._model = model
        self._input = model.picture_input(_EXPECTED)
        if self._input.channels_first or self._input.side is None:
            raise BakeryError(
                f"tagger: the input of {folder / MODEL} has the shape "
                f"{model.session.get_inputs()[0].shape}, expected {_EXPECTED}"
            )
        self._fixed_batch, self.side = self._input.batch, self._input.side
        shape = model.session.get_outputs()[0].shape
        if shape and isinstance(shape[-1], int):
            self._check_width(shape[-1])

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> Tagger:
        """Reads `folder`; `threads` of the CPU, 0 for all.

        Raises `BakeryError` when a file is missing, broken or does not fit.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise BakeryError(
                f"tagger: there is no folder {folder}; give a folder with {MODEL} and {TAGS}"
            )
        _check_files(folder)
        tags = tagger_list.read(folder / TAGS)
        return cls(_opened(folder / MODEL, threads), tags, folder, threads)

    def vocabulary(self) -> list[dict[str, str]]:
        """What the tagger knows, a row (tag, category, count) for each column of `tag`'s result."""
        return tables.records(self._tags.rename(columns={"name": "tag"}))

    def tag(
        self,
        items: Iterable[T],
        batch_size: int = 16,
        open: Callable[[T], Image.Image] = _itself,
    ) -> np.ndarray:
        """Probabilities, float32 (N, tags), of RGB pictures, or of what `open` makes a picture of."""
        rows = [row for row in self.rows(items, batch_size, open) if row is not None]
        return np.stack(rows) if rows else np.zeros((0, len(self.names)), np.float32)

    def rows(
        self,
        items: Iterable[T],
        batch_size: int = 16,
        open: Callable[[T], Image.Image | None] = _itself,
        large: Callable[[T], bool] = lambda _: False,
    ) -> Iterator[np.ndarray | None]:
        """Like `tag`, one row (tags,) at a time, and None where `open` gives None.

        While the model runs on a batch, other threads `open` (and so decode) and prepare the next
        two; of those that are `large` there is one in memory at a time.
        """
        size = self._fixed_batch or batch_size
        total = len(items) if isinstance(items, Sized) else 0
        turn = Lock()

        def ready(item: T) -> np.ndarray | None:
            with turn if large(item) else nullcontext():
                picture = open(item)
                return None if picture is None else prepare(picture, self.side)

        with ThreadPoolExecutor(self._readers) as readers:
            coming: deque[Future[np.ndarray | None]] = deque()
            waiting = iter(items)

            def read_ahead() -> None:
                for item in islice(waiting, 3 * size - len(coming)):
                    coming.append(readers.submit(ready, item))

            read_ahead()
            done = 0
            while coming:
                squares = [coming.popleft().result() for _ in range(min(size, len(coming)))]
                read_ahead()
                there = [square for square in squares if square is not None]
                rows = iter(self._infer(np.stack(there)) if there else ())
                yield from (None if square is None else next(rows) for square in squares)
                done += len(squares)
                status.tell("tagging pictures", done, total)

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        count = len(batch)
        if self._fixed_batch and count < self._fixed_batch:
            batch = np.pad(batch, ((0, self._fixed_batch - count), (0, 0), (0, 0), (0, 0)))
        rows = self._model.run(
            self._input.name,
            batch.astype(self._input.dtype, copy=False),
            "if memory ran out, lower tag.batch_size",
        )
        if rows.ndim != 2 or len(rows) != len(batch):
            raise self._model.fault(
                f"gives a {rows.shape} array for {len(batch)} pictures, expected a row for each",
                "use a model such as the WD taggers",
            )
        self._check_width(rows.shape[1])
        if not ((rows >= 0) & (rows <= 1)).all():
            raise self._model.fault(
                "gives values outside 0..1, so they are not probabilities",
                "use a model that ends in a sigmoid, as the WD taggers do",
            )
        return rows[:count].astype(np.float32, copy=False)

    def _check_width(self, width: int) -> None:
        if width != len(self.names):
            raise BakeryError(
                f"tagger: {self._folder / TAGS} lists {len(self.names)} tags, but {MODEL} gives "
                f"{width} values; take both files from the same model"
            )


def _opened(path: Path, threads: int) -> OnnxModel:
    """The model on the GPU, or on the CPU if there is none or its libraries do not fit."""
    there = onnxruntime.get_available_providers()
    gpu = next((provider for provider in GPUS if provider in there), None)
    if gpu is None:
        return OnnxModel(path, "tagger", threads=threads)
    if gpu == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    try:
        model = OnnxModel(path, "tagger", threads=threads, providers=(gpu, *CPU))
        if model.session.get_providers()[0] == gpu:
            return model
    except BakeryError as problem:
        _log.info("%s: %s", gpu, problem)
    name = gpu.removesuffix("ExecutionProvider")
    _log.warning("tagger: %s could not be started, so tags are computed on the CPU", name)
    return OnnxModel(path, "tagger", threads=threads)
