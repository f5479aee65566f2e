"""Writes sample pictures to disk: which bake each belongs to, and whether it exists."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from bakery.interop import infotext
from bakery.interop.infotext import Infotext
from bakery.io import manifest, status
from bakery.io.errors import BakeryError
from bakery.io.files import copy, write_text
from bakery.sampling.prompts import Cell, GridRow

Lora = tuple[Path | None, float]
"""A file at its weight; None means the base alone."""

IMAGES = "images"
BROKEN = "broken.state"
"""Names of the pictures with NaN values, a line each: the files no longer show it."""

_MARKING = threading.Lock()

Drawn = tuple[Sequence[Image.Image], Sequence[bool]]
"""The pictures of a batch, and whether the arithmetic of each stayed finite."""


@dataclass(eq=False)
class SampleSet:
    """The pictures of one bake: all that will be drawn, and the progress."""

    out: Path
    infos: dict[tuple[GridRow, Cell], Infotext]
    done: int = 0
    broken: set[str] = field(default_factory=set)
    mirror: SampleSet | None = None
    """A folder that gets a copy of each picture, and from which existing ones are taken."""

    def open(self) -> None:
        """Create the folders, and read an earlier run's notes."""
        (self.out / IMAGES).mkdir(parents=True, exist_ok=True)
        (self.out / manifest.PROGRESS).write_text("", encoding="utf-8")
        if (self.out / BROKEN).is_file():
            self.broken = set((self.out / BROKEN).read_text(encoding="utf-8").split())
        if self.mirror is not None:
            self.mirror.open()

    @property
    def places(self) -> tuple[SampleSet, ...]:
        """Where its pictures go."""
        return (self,) if self.mirror is None else (self, self.mirror)

    def path(self, epoch: GridRow, cell: Cell) -> Path:
        return self.out / IMAGES / cell.image(epoch)

    @property
    def epochs(self) -> list[GridRow]:
        return list(dict.fromkeys(epoch for epoch, _ in self.infos))

    @property
    def last_epoch(self) -> int:
        return max(epoch.number for epoch in self.epochs)

    @property
    def names(self) -> list[str]:
        return [cell.image(epoch) for epoch, cell in self.infos]

    def mark(self, name: str, finite: bool) -> None:
        """Record, before the picture is written, whether it has NaN values."""
        with _MARKING:  # the writer's thread marks as well
            if finite == (name not in self.broken):
                return
            self.broken ^= {name}
            write_text(self.out / BROKEN, "".join(f"{n}\n" for n in sorted(self.broken)))

    def report(self, epoch: GridRow, pictures: int) -> None:
        self.done += pictures
        line = {"epoch": epoch.number, "step": self.done, "steps": len(self.infos)}
        with (self.out / manifest.PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        status.tell(
            "drawing", self.done, len(self.infos), epoch=epoch.number, epochs=self.last_epoch,
            folders=[self.out.name],
        )  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture to draw, and the sample sets it goes into: the base's goes into all."""

    epoch: GridRow
    cell: Cell
    sample_sets: tuple[SampleSet, ...] = field(compare=False, repr=False)

    @property
    def lora(self) -> Lora:
        return self.epoch.file, self.epoch.weight

    @property
    def info(self) -> Infotext:
        return self.sample_sets[0].infos[self.epoch, self.cell]

    @property
    def _paths(self) -> list[Path]:
        return [sample_set.path(self.epoch, self.cell) for sample_set in self.sample_sets]

    def there(self) -> bool:
        """Whether an earlier run, or a helper, drew it; if so it is added to every sample set."""
        paths = self._paths
        text = infotext.write(self.info)
        kept = [place for place, path in enumerate(paths) if _text_of(path) == text]
        if not kept:
            return False
        source = paths[kept[0]]
        finite = source.name not in self.sample_sets[kept[0]].broken
        for place, (sample_set, path) in enumerate(zip(self.sample_sets, paths, strict=True)):
            if place not in kept:
                sample_set.mark(path.name, finite)
                copy(source, path)
        return True

    def exists(self) -> bool:
        """Whether it is in every sample set already."""
        text = infotext.write(self.info)
        return all(_text_of(path) == text for path in self._paths)

    def save(self, image: Image.Image, finite: bool) -> None:
        for sample_set in self.sample_sets:
            sample_set.mark(self.cell.image(self.epoch), finite)
        self.write(image)

    def write(self, image: Image.Image) -> None:
        """To every sample set; `save` also marks what is broken."""
        first, *others = self._paths
        infotext.save_png(image, first, self.info)
        for path in others:
            copy(first, path)


class Writer:
    """Encodes and writes a batch while the next one is drawn.

    At most one batch waits, and an error is raised at the next call.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: Future[None] | None = None

    def put(self, batch: Sequence[Picture], drawn: Drawn | None = None) -> None:
        """Write the pictures of `batch` and report them; without `drawn` they exist already."""
        self.wait()
        self._waiting = self._thread.submit(_write, batch, drawn)

    def wait(self) -> None:
        if self._waiting is not None:
            self._waiting.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def _write(batch: Sequence[Picture], drawn: Drawn | None) -> None:
    if drawn is not None:
        for picture, image, finite in zip(batch, *drawn, strict=True):
            picture.save(image, finite)
    for sample_set in dict.fromkeys(p for picture in batch for p in picture.sample_sets):
        mine = [picture for picture in batch if sample_set in picture.sample_sets]
        sample_set.report(mine[-1].epoch, len(mine))


def _text_of(path: Path) -> str | None:
    """The infotext of a picture; None if there is none, or if it is damaged: it is drawn again."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            picture.verify()  # the checksum of each chunk
        return infotext.read_png(path)
    except (BakeryError, OSError, SyntaxError):
        return None
