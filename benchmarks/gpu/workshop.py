"""What the items share in the worker's process: the loaded models, and how they are measured."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import ceiling
import models
import torch
from side_by_side import Bench

TINY = {"sd15": "tiny", "sdxl": "tiny-sdxl"}
"""What stands in for a model in a rehearsal ..."""
FOR_KOHYA = "small"
"""... where kohya's scripts take part, which build the real blocks alone ..."""
SMALL = 256
"""... and the side of the matrices whose product is the ceiling."""


class LeftOut(Exception):
    """Cannot be measured here; the message says why."""


@dataclass
class Workshop:
    """The worker's surroundings."""

    scratch: Path
    """A folder that outlives this process, but not the run."""
    device: str
    tiny: bool = False
    kohya: Path | None = None
    """A checkout of sd-scripts."""
    kohya_packages: Path | None = None
    """A folder of packages that are for them alone."""
    threads: int = field(default_factory=torch.get_num_threads)
    """On the CPU."""
    _bench: tuple[str, Bench] | None = field(default=None, repr=False)

    @property
    def precision(self) -> str:
        """As one would bake there: a CPU has no fast bf16."""
        return "bf16" if self.device == "cuda" else "no"

    def given(self, model: str, *, kohya: bool = False) -> argparse.Namespace:
        """Arguments as the other speed benchmarks take them."""
        words = ["--device", self.device, "--mixed-precision", self.precision]
        words += ["--threads", str(self.threads)]
        words += ["--warm-up", "1"] if self.tiny else ["--seconds", "8"]
        if kohya:
            words += ["--sd-scripts", str(self.kohya)]
            inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
            for place in (self.kohya_packages, *filter(None, inherited)):
                ours = place is None or Path(place) == Path(models.__file__).parent
                words += [] if ours else ["--packages", str(place)]
        parser = argparse.ArgumentParser()
        models.arguments(parser)
        given = models.settled(parser.parse_args(words))
        given.model = model
        if self.tiny:
            given.model = FOR_KOHYA if kohya else TINY[model]
        given.rounds = 2 if self.tiny else 15
        return given

    def bench(self, model: str) -> Bench:
        """`sd15` or `sdxl`, loaded to be baked on; the one before makes room."""
        if self._bench is None or self._bench[0] != model:
            self.make_room()
            self._bench = model, self.made(self.given(model))
        return self._bench[1]

    def made(self, given: argparse.Namespace) -> Bench:
        """A bench on a base that is made once a run."""
        with self.products():
            return Bench(given, self.scratch / given.model)

    @contextmanager
    def products(self) -> Iterator[None]:
        """In here, the matrices of ceilings that are made are small in a rehearsal."""
        sides = {self.device: SMALL} if self.tiny else ceiling.SIDES
        with mock.patch.object(ceiling, "SIDES", sides):
            yield

    def base(self, model: str) -> Path:
        """Where the base of `model` lies, as a folder that diffusers reads."""
        given = self.given(model)
        job = models.put_down(given.model, self.scratch / given.model, given)
        return Path(job["settings"]["base"])

    def make_room(self) -> None:
        """Let go of what is loaded."""
        self._bench = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
