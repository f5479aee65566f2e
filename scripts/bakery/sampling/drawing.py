"""Draws cells of bakes: what the sample stage does once a bake is trained, and the training meanwhile.

A cell (prompt, seed) starts from the same noise in every epoch and every bake, so what differs
between two of its pictures is the LoRA. Bakes are drawn by one process: the base once for all of
them, then LoRA by LoRA (`batches`).
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bakery.families.family import DENOISER, LATENTS, TEXTS, Model
from bakery.families.recognise import Place
from bakery.interop import prompt_syntax
from bakery.interop.infotext import Infotext
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.jobs import phases
from bakery.sampling import batches, infotexts, prompts
from bakery.sampling.pictures import Drawn, Lora, Picture, SampleSet, Writer
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.sampling.prompts import Cell, GridRow, PromptEntry
from bakery.settings.sample import Sample
from bakery.tags import tagger_list
from bakery.tags.trigger import Trigger

ROOM = 2**30
"""Bytes of encoded prompts that are kept: some 800 of SDXL's in float32. More are encoded later."""
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Drawer:
    """What pictures of bakes are drawn with; bakes that share a base and settings have the same."""

    settings: Sample
    prune: Path
    base: Place
    clip_skip: int
    """Of the bakes; that of `settings` goes before it."""
    device: str
    threads: int
    mixed_precision: str = "no"
    """Of the bakes; a CPU draws in full precision all the same."""
    v_parameterization: bool | None = None
    zero_terminal_snr: bool | None = None
    tagger: Path | None = None
    """The folder whose vocabulary prompts are derived from."""

    @property
    def _clip_skip(self) -> int:
        return self.settings.clip_skip or self.clip_skip

    def choose(self) -> tuple[list[PromptEntry], list[Cell], list[str]]:
        """The prompts with the reason for each, the cells to draw, and warnings."""
        trigger = Trigger.read(self.prune)
        texts, words = [], {}
        if self.settings.prompts is None and self.tagger is not None:
            texts = list(tables.read(self.prune / "captions.csv", ("image", "caption"))["caption"])
            words = tagger_list.read_counts(self.tagger)
        asked, warnings = prompts.resolve(self.settings, texts, words, trigger)
        if not asked:
            raise BakeryError(
                "sample.auto derives no prompt at all: raise its numbers, or write sample.prompts"
            )
        cells = prompts.cells([entry.prompt for entry in asked], self.settings.seeds, trigger)
        return asked, cells, warnings

    def infos(
        self, pipeline: ImagePipeline, epochs: Sequence[GridRow], cells: Sequence[Cell]
    ) -> dict[tuple[GridRow, Cell], Infotext]:
        """The pictures of these rows of the grid, each with its infotext."""
        facts = infotexts.common_settings(
            self.settings,
            self.base,
            pipeline.base.family.called_clip_skip(self._clip_skip),
            pipeline.base.schedule_type(self.settings.sampler),
        )
        return {
            (epoch, cell): infotexts.describe(cell, epoch, self.settings.negative_prompt, facts)
            for epoch in epochs
            for cell in prompts.of_epoch(cells, epoch)
        }

    def load(self) -> ImagePipeline:
        """The base, ready to draw."""
        return ImagePipeline.load(
            self.settings,
            base=self.base,
            clip_skip=self._clip_skip,
            device=self.device,
            dtype=torch.float32 if self.device == "cpu" else DTYPES[self.mixed_precision],
            v_parameterization=self.v_parameterization,
            zero_terminal_snr=self.zero_terminal_snr,
        )


def draw(
    pipeline: ImagePipeline,
    sample_sets: Sequence[SampleSet],
    going_on: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Draw the missing pictures, the base's once for all.

    Which pictures share a batch depends on which bakes there are, not on their order or on which
    pictures exist already. After each batch `going_on` is told how many seconds are about left.
    """
    sample_sets = sorted(sample_sets, key=lambda sample_set: sample_set.out.name)
    waiting = deque(queue(pipeline, sample_sets))
    in_use: list[Lora] = []
    taken = []
    with Writer() as writer:
        while waiting:
            encoded = _encode(pipeline, waiting)
            with phases.phase(phases.DRAWING, str(pipeline.base.device)):
                for number, batch in enumerate(encoded, start=1):
                    # asked so late since a helper may have drawn it; each, so that all get copies
                    if all([picture.there() for picture in batch]):  # noqa: C419
                        writer.put(batch)
                        continue
                    began = time.monotonic()
                    loras = _loras(batch)
                    if loras != in_use:
                        pipeline.use(loras)
                        in_use = loras
                    writer.put(batch, of_batch(pipeline, batch))
                    taken.append(time.monotonic() - began)
                    going_on(statistics.fmean(taken) * (len(encoded) - number + len(waiting)))


def _encode(pipeline: ImagePipeline, waiting: deque[list[Picture]]) -> list[list[Picture]]:
    """Take batches from `waiting`, as many as there is room for their prompts, and encode these.

    Only the text encoders are in memory meanwhile, and they are gone afterwards.
    """
    taken, base = [], pipeline.base
    pipeline.forget()
    base.release(DENOISER, LATENTS)
    with phases.phase(phases.PROMPTS, str(base.device)):
        while waiting and pipeline.texts_size < ROOM:
            batch = waiting.popleft()
            if not all(picture.exists() for picture in batch):
                pipeline.encode(_loras(batch), [picture.cell.prompt for picture in batch])
            taken.append(batch)
        base.release(TEXTS)
    return taken


def _loras(batch: Sequence[Picture]) -> list[Lora]:
    return list(dict.fromkeys(picture.lora for picture in batch))


def of_batch(pipeline: ImagePipeline, batch: Sequence[Picture]) -> Drawn:
    """The pictures of a batch, whose LoRAs are in use."""
    loras = _loras(batch)
    return pipeline.draw(
        [ImageRequest(loras.index(p.lora), p.cell.prompt, p.cell.seed) for p in batch]
    )


def queue(pipeline: ImagePipeline, sample_sets: Sequence[SampleSet]) -> list[list[Picture]]:
    """The batches of all pictures: the base's, which it shares with no LoRA, then the others."""
    base, others = [], []
    for sample_set in sample_sets:
        for epoch, cell in sample_set.infos:
            if epoch.file is not None:
                others.append(Picture(epoch, cell, sample_set.places))
            elif sample_set is sample_sets[0]:
                places = (place for one in sample_sets for place in one.places)
                base.append(Picture(epoch, cell, tuple(places)))
    found = []
    for pictures in (base, others):
        lengths = pipeline.lengths([picture.cell.prompt for picture in pictures])
        keys = [(p.lora, length) for p, length in zip(pictures, lengths, strict=True)]
        for batch in batches.arrange(keys, pipeline.settings.batch_size):
            found.append([pictures[place] for place in batch])
    return found


def read_epochs(train: Path, weight: float) -> list[GridRow]:
    """The base and every saved epoch of `train`'s epochs.csv at `weight`; each file must be there."""
    table = tables.read(train / "epochs.csv", ("epoch", "file", "sshs_model_hash"))
    numbers = tables.numbers(table["epoch"], train / "epochs.csv")
    epochs = [GridRow(0)]
    for number, file, digest in zip(numbers, table["file"], table["sshs_model_hash"], strict=True):
        if not (train / file).is_file():
            raise BakeryError(
                f"{train / file} is missing although epochs.csv lists it: train again, or "
                "copy the file back"
            )
        epochs.append(GridRow(int(number), train / file, digest, weight))
    return epochs


def texts(cells: Sequence[Cell], settings: Sample) -> list[str]:
    """Every prompt once; references are prompts without the trigger, so never longer."""
    asked = (cell.prompt for cell in cells if cell.purpose != "base")
    return list(dict.fromkeys([*asked, settings.negative_prompt]))


def about_prompts(base: Model, prompts: Sequence[str]) -> list[str]:
    """Warnings about prompts that the base does not read unchanged, or otherwise than A1111."""
    warnings = []
    for prompt in prompts:
        short = prompt if len(prompt) <= 60 else prompt[:57] + "..."
        if told := base.about_length(prompt):
            warnings.append(f"the prompt {short!r} {told}")
        if prompt_syntax.is_marked(prompt):
            warnings.append(
                f"the prompt {short!r} has A1111's weights or escaped brackets, which are drawn as "
                "they are written: leave weights and backslashes out"
            )
    return warnings
