"""Draws each epoch of a bake as it is saved, into the folder where the sample stage will look for it.

The pictures are the sample stage's own cells: the same prompts, seeds and noise, drawn with a copy of
the base that is loaded for the epoch and gone after it. So neither the training's weights nor its random
numbers are touched, and its memory is its own again. What exists, the sample stage does not draw again
(`pictures.Picture.there`); the base's row and further weights are left to it. A folder is claimed while
it is drawn into (`jobs.claims`), so that no sample job writes there at the same time.

On a CPU that would take the training's time. There a second process draws on idle cores, if there are
any (`helper`), unless the settings ask for pictures of each epoch.

No failure in here ends the training: it is said once, and the job goes on without pictures.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bakery.families.family import Model
from bakery.families.recognise import Place
from bakery.io import status
from bakery.io.errors import BakeryError, first_line
from bakery.jobs import claims
from bakery.sampling import newest
from bakery.sampling.drawing import Drawer, draw
from bakery.sampling.helper import Errand, Helper, lacks
from bakery.sampling.pictures import IMAGES, SampleSet
from bakery.sampling.pipeline import ImagePipeline
from bakery.sampling.prompts import Cell, GridRow
from bakery.settings.sample import Sample
from bakery.settings.train import Train

log = logging.getLogger(__name__)

SHOWN = 8
"""Pictures of an epoch that are told of."""

Saved = tuple[Path, Mapping[str, Any]]
"""A bake's folder, and the row of its epochs.csv that was just written."""


@dataclass
class WhileTraining:
    """Called by the trainer after each step that ended epochs, with all of these."""

    samples: Mapping[str, Mapping[str, Any]]
    """Folder of a bake -> folder of each of its samples -> settings of the sample section."""
    trained: Mapping[Path, Mapping[str, Any]]
    """Folder of a bake -> facts of its node."""
    prune: Path
    base: Place
    tagger: str
    """Model whose vocabulary prompts are derived from: a path, or a hub id."""
    device: str
    threads: int
    _ended: bool = False
    _began: float = field(default_factory=time.monotonic)
    _helper: Helper | None = None
    _told: set[str] = field(default_factory=set)

    def __call__(self, saved: Sequence[Saved], base: Model) -> None:
        """Draw what was `saved`; `base` is the training's own, which is only measured."""
        try:
            for settings, wanted in self._wanted(saved):
                if settings.while_training is True or self._has_room(base):
                    self._draw(settings, wanted)
            if self.device == "cpu":
                self._ask_for_help(base)
        except Exception as problem:
            self._ended = True
            kind = type(problem).__name__
            known = isinstance(problem, BakeryError)
            said = str(problem) if known else f"{kind}: {first_line(problem)}"
            log.warning("pictures while training: %s; the training goes on without them", said)
        finally:
            if torch.cuda.is_initialized():
                gc.collect()
                torch.cuda.empty_cache()

    def _wanted(self, saved: Sequence[Saved]) -> Iterator[tuple[Sample, dict[Path, Saved]]]:
        """For each kind of pictures: the folders that they go into."""
        kinds: dict[str, dict[Path, Saved]] = {}
        for folder, row in saved:
            for out, settings in self.samples.get(str(folder), {}).items():
                kind = json.dumps(settings, sort_keys=True)
                kinds.setdefault(kind, {})[Path(out)] = (folder, row)
        for kind, wanted in kinds.items():
            settings = Sample.model_validate(json.loads(kind))
            on = settings.while_training is True or (
                settings.while_training == "auto" and self.device != "cpu"
            )
            if on and not self._ended:
                yield settings, wanted

    def _ask_for_help(self, base: Model) -> None:
        """A helper for all pictures that may be drawn of these bakes; at most one."""
        kinds, bakes = {}, {}
        for folder in self.trained:
            for out, settings in self.samples.get(str(folder), {}).items():
                if settings["while_training"] == "auto":
                    kinds[json.dumps(settings, sort_keys=True)] = settings
                    bakes[Path(out)] = folder
        if len(kinds) != 1:  # each kind would need a base of its own
            return
        (settings,) = map(Sample.model_validate, kinds.values())
        if self._helper is None:
            folder = next(iter(self.trained))
            self._helper = Helper(lambda: Errand(self._drawer(settings, folder), bakes), base)
        self._helper.consider(time.monotonic() - self._began)  # at least as long as so far

    def _has_room(self, base: Model) -> bool:
        """Whether a copy of the base fits beside the training, on the GPU and on the way there."""
        if need := lacks(base, self.device):
            self._tell(
                f"{need / 2**30:.1f} GiB are not free: epochs are drawn when the bake has ended"
            )
        return not need

    def _draw(self, settings: Sample, wanted: Mapping[Path, Saved]) -> None:
        with ExitStack() as locks:
            mine = {}
            for out, one in sorted(wanted.items()):
                if claims.finished(out) is not None:
                    continue
                if locks.enter_context(claims.try_lock(out)):
                    mine[out] = one
                else:
                    self._tell(f"another job draws into {out}: it draws these epochs, too")
            if mine:
                self._fill(settings, mine)

    def _fill(self, settings: Sample, wanted: Mapping[Path, Saved]) -> None:
        status.tell("loading the base to draw with")
        drawer = self._drawer(settings, next(iter(wanted.values()))[0])
        _, cells, _ = drawer.choose()
        pipeline = drawer.load()
        sample_sets = [
            _sample_set(drawer, pipeline, out, one, cells) for out, one in wanted.items()
        ]
        draw(pipeline, sample_sets)

    def _drawer(self, settings: Sample, folder: Path) -> Drawer:
        """What the pictures of the bake in `folder` are drawn with."""
        from bakery.vision import tagger  # late, with onnxruntime: only a job that draws needs it

        train = Train.model_validate(self.trained[folder]["settings"])
        return Drawer(
            settings=settings,
            prune=self.prune,
            base=self.base,
            clip_skip=train.clip_skip,
            mixed_precision=train.mixed_precision,
            v_parameterization=train.v_parameterization,
            zero_terminal_snr=train.zero_terminal_snr,
            device=self.device,
            threads=self.threads,
            tagger=tagger.fetch(self.tagger),
        )

    def _tell(self, sentence: str) -> None:
        """To the log, once."""
        if sentence not in self._told:
            log.info("pictures while training: %s", sentence)
        self._told.add(sentence)


def on(prune: Path, **pictures: Any) -> Callable[..., WhileTraining]:
    """Makes it once the job knows what and where it trains; `pictures` are the rule's facts (`samples`,
    `base`, `tagger`)."""
    return functools.partial(WhileTraining, prune=prune, **pictures)


def _sample_set(
    drawer: Drawer, pipeline: ImagePipeline, out: Path, saved: Saved, cells: Sequence[Cell]
) -> SampleSet:
    """The pictures of one saved epoch, told of in the bake's folder."""
    folder, row = saved
    number, lora = int(row["epoch"]), folder / str(row["file"])
    epoch = GridRow(number, lora, str(row["sshs_model_hash"]), drawer.settings.lora_weight)
    sample_set = SampleSet(out, drawer.infos(pipeline, [epoch], cells))
    sample_set.open()
    first = drawer.settings.seeds[0]
    names = [cell.image(at) for at, cell in sample_set.infos if cell.seed == first][:SHOWN]
    newest.record(folder, number, [out / IMAGES / name for name in names])
    return sample_set
