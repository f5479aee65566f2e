"""A second process that draws on cores which would be idle: at the lowest priority, so only on those.

The number of threads is part of rounding. So a bake that trains alone leaves cores idle, and so does the
last process that draws a sweep. Its helper draws what the sample stage draws anyway: the same cells
by the same batches, of epochs that are saved. It only takes batches whose pictures have the same bytes
in any group (`batches.is_own`), writes each file whole and records nothing: the sample stage finds them
(`pictures.Picture.there`) and draws what is missing. It begins with the last batch, so that it meets a
process that draws the same bakes from the first one, and each batch but that is drawn once.

It changes no result, no failure in here ends a job, and it ends with the job that started it.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import torch

from bakery.families.family import Model
from bakery.io import devices
from bakery.io.errors import BakeryError, first_line
from bakery.io.files import remove_parts
from bakery.jobs.parent import end_with_parent
from bakery.sampling import batches, drawing
from bakery.sampling.drawing import Drawer
from bakery.sampling.pictures import BROKEN, IMAGES, Lora, Picture, SampleSet
from bakery.settings.sample import Sample

log = logging.getLogger(__name__)

ROOM = 2.0
"""Times the base's size that has to be free for a copy of it: the copy, and what drawing takes."""
WORTH = 15.0
"""Seconds that a job has to go on at least for a helper to be worth its start."""
_HELPER = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    f"from bakery.sampling import helper; helper.main()"
)
"""What the process runs: this library's own code, whatever else is installed."""
_LOWEST = 19
_FIRST_TO_GO = "1000"
_PACE = 1.0  # seconds between two looks at what has been saved


def lacks(base: Model, device: str) -> int:
    """Bytes that are needed for a copy of `base` to draw with, if they are not free; else 0."""
    parts = (base.core, *base.encoders)
    weights = [w for part in parts for w in (*part.parameters(), *part.buffers())]
    need = int(ROOM * sum(w.numel() * w.element_size() for w in weights))
    free = [psutil.virtual_memory().available, devices.free(torch.device(device))]
    return 0 if all(one is None or one >= need for one in free) else need


@dataclass(frozen=True)
class Errand:
    """What a helper draws, with what."""

    drawer: Drawer
    bakes: dict[Path, Path]
    """Folder of the pictures -> of the LoRAs."""

    def said(self) -> str:
        """As JSON, for another process."""
        facts = {name: getattr(self.drawer, name) for name in Drawer.__dataclass_fields__}
        facts["settings"] = self.drawer.settings.model_dump(mode="json")
        bakes = {str(out): str(train) for out, train in self.bakes.items()}
        return json.dumps({"drawer": facts, "bakes": bakes}, default=str)

    @classmethod
    def heard(cls, said: str) -> Self:
        facts: dict[str, Any] = json.loads(said)
        drawer = facts["drawer"]
        drawer["settings"] = Sample.model_validate(drawer["settings"])
        for name in ("prune", "tagger"):
            drawer[name] = drawer[name] and Path(drawer[name])
        bakes = {Path(out): Path(train) for out, train in facts["bakes"].items()}
        return cls(Drawer(**drawer), bakes)


@dataclass
class Helper:
    """A job's helper: none until one is worth its start, and at most one."""

    errand: Callable[[], Errand]
    base: Model
    _process: subprocess.Popen[str] | None = None
    _folders: Sequence[Path] = ()
    _refused: bool = field(default=False, repr=False)

    def consider(self, seconds: float) -> None:
        """Start it, if the job goes on for about `seconds` and there are memory and idle cores."""
        if self._process is not None or self._refused or seconds < WORTH:
            return
        try:
            self._start()
        except Exception as problem:
            self._refused = True
            self.stop()  # what was started was not told what to draw
            log.warning("no helper draws on idle cores: %s", first_line(problem))

    def _start(self) -> None:
        errand = self.errand()
        drawer = errand.drawer
        cores = len(psutil.Process().cpu_affinity()) if psutil.LINUX else os.cpu_count() or 1
        if drawer.device != "cpu" or cores <= drawer.threads or lacks(self.base, drawer.device):
            self._refused = True
            return
        said, self._folders = errand.said(), list(errand.bakes)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HELPER], stdin=subprocess.PIPE, text=True
        )
        atexit.register(self.stop)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST)
        assert self._process.stdin is not None
        with self._process.stdin as told:
            told.write(said)
        log.info("a helper draws on idle cores")

    def stop(self) -> None:
        """End it; what it has written stays."""
        if self._process is None:
            return
        # not asked to: at its priority an answer takes long, and its files are whole or not there
        self._process.kill()
        self._process.wait()
        atexit.unregister(self.stop)
        for folder in self._folders:
            remove_parts(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def draw(errand: Errand) -> None:
    """Draw the errand's pictures from the last to the first, and those of epochs that are saved
    meanwhile, without end."""
    drawer = errand.drawer
    torch.set_num_threads(max(1, drawer.threads))
    _, cells, _ = drawer.choose()
    pipeline = drawer.load()
    seen: set[Picture] = set()
    in_use: Lora | None = None
    while True:
        sample_sets = [
            SampleSet(out, drawer.infos(pipeline, epochs, cells))
            for out, epochs in _saved(errand)
            if not (out / BROKEN).is_file()  # what is marked is the sample stage's alone
        ]
        queue = drawing.queue(pipeline, sample_sets) if sample_sets else []
        batch = next(_missing(queue[::-1], drawer.settings.batch_size, seen), None)
        if batch is None:
            gc.collect()
            time.sleep(_PACE)
            continue
        seen |= set(batch)
        if batch[0].lora != in_use:
            in_use = batch[0].lora
            pipeline.use([in_use])
        if pipeline.texts_size > drawing.ROOM:
            pipeline.forget()
        _write(batch, *drawing.of_batch(pipeline, batch))


def _saved(errand: Errand) -> Iterator[tuple[Path, list[Any]]]:
    """The rows of the grid whose LoRAs there are, for each folder of pictures."""
    for out, train in sorted(errand.bakes.items()):
        try:
            yield out, drawing.read_epochs(train, errand.drawer.settings.lora_weight)
        except BakeryError:  # not saved yet, or just being replaced
            continue


def _missing(
    queue: Sequence[Sequence[Picture]], size: int, seen: set[Picture]
) -> Iterator[Sequence[Picture]]:
    """The batches of `queue` that a helper may draw, and that are not there."""
    for batch in queue:
        if seen.issuperset(batch) or not batches.is_own([p.lora for p in batch], size):
            continue
        if not all(picture.exists() for picture in batch):
            yield batch
        seen |= set(batch)


def _write(batch: Sequence[Picture], images: Sequence[Any], finite: Sequence[bool]) -> None:
    for picture, image, is_finite in zip(batch, images, finite, strict=True):
        if is_finite:  # the others are marked by the sample stage
            for sample_set in picture.sample_sets:
                (sample_set.out / IMAGES).mkdir(parents=True, exist_ok=True)
            picture.write(image)


def main() -> None:
    if psutil.LINUX:  # where memory runs out, the helper goes, not a bake
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    end_with_parent("the job that this helps is gone: stopping")
    try:
        draw(Errand.heard(sys.stdin.read()))
    except KeyboardInterrupt:
        os._exit(0)  # at once: its job waits, and tearing torch down takes long at this priority
    except Exception as error:
        print(f"helper: {type(error).__name__}: {error}; pictures are drawn without it", flush=True)
