"""Sample: the same prompts from the same noise, once for the base and once for each epoch.

Steps: choose the prompts (`prompts`); find the bakes' LoRA files; draw every prompt with every
seed for epoch 0 (the base) and for each file; lay the first seed's pictures out as a grid.

A cell (prompt, seed) starts from the same noise in every epoch and every bake, so what differs
between two of its pictures is the LoRA. Bakes of a sweep are drawn by one process: the base once for
all of them, then LoRA by LoRA (`batches`). A LoRA with pictures enough for half a batch has batches of
its own, and these pictures have the same bytes in any group and after any interruption; pictures of
smaller sets, and those of another batch size, are the same up to a level of 255.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from bakery.families.family import Model
from bakery.families.recognise import Place
from bakery.interop import prompt_syntax
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.jobs import claims, rungs
from bakery.pages import grid
from bakery.sampling import batches, infotexts, prompts
from bakery.sampling.pictures import IMAGES, Lora, Picture, SampleSet, Writer
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.sampling.prompts import Cell, GridRow, PromptEntry
from bakery.settings.sample import Sample
from bakery.tags import tagger_list
from bakery.tags.trigger import Trigger

COLUMNS = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
GRID = "grid.png"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleSpec:
    """A bake to draw: where its LoRAs are, and where the pictures go."""

    train: Path
    out: Path
    mirror: Path | None = None
    """Another sample folder of the same bake: its pictures are not drawn again, and new ones are
    also written there."""


@dataclass(frozen=True)
class SampleStage:
    """What a job of the sample stage draws with, the same for all its bakes."""

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

    def run(self, train: Path, out: Path) -> dict[str, Any]:
        """Draws every epoch of the bake in `train`, and the base, into `out`; else as `run_all`."""
        (made,) = self.run_all([SampleSpec(train, out)])
        if isinstance(made, BakeryError):
            raise made
        claims.put_back(out / GRID)
        return made

    def draw_claimed(
        self, bakes: Mapping[Path, Path], mirrors: Mapping[str, str] | None = None
    ) -> None:
        """As `run_all`, and each folder gets what its own job looks for (`claims`).

        Keys are the folders that were claimed: `bakes` leads to those of their LoRAs, `mirrors` to
        where else their pictures are kept, if anywhere (`SampleSpec.mirror`).
        """
        kept = {Path(out): Path(mirror) for out, mirror in (mirrors or {}).items()}
        specs = [SampleSpec(train, out, kept.get(out)) for out, train in bakes.items()]
        _log.info("%d bakes drawn together: %s", len(specs), ", ".join(o.out.name for o in specs))
        for spec, facts in zip(specs, self.run_all(specs), strict=True):
            if isinstance(facts, BakeryError):
                claims.fail(spec.out, str(facts))
                continue
            images = sorted(f"{IMAGES}/{path.name}" for path in (spec.out / IMAGES).glob("*.png"))
            claims.finish(spec.out, facts, ["prompts.csv", "samples.csv", *images], [GRID])

    def run_all(self, specs: Sequence[SampleSpec]) -> Sequence[dict[str, Any] | BakeryError]:
        """Draws the bakes of `specs` on one base; one that cannot be drawn gives its error.

        Writes `images/`, `prompts.csv`, `samples.csv`, the grid and, while it works, `progress.jsonl`.
        Pictures carry their infotext. A batch whose pictures all exist with it is not drawn again.
        """
        settings = self.settings
        torch.set_num_threads(max(1, self.threads))
        asked, cells, warnings = choose(settings, prune=self.prune, tagger=self.tagger)
        planned = [self._rows(spec) for spec in specs]
        refused = [one for one in planned if isinstance(one, BakeryError)]
        if len(refused) == len(planned):
            return refused
        pipeline = self._load()
        warnings += about_prompts(pipeline.base, _texts(cells, settings))
        found = [
            self._checked(pipeline, spec, epochs, cells)
            for spec, epochs in zip(specs, planned, strict=True)
        ]
        sample_sets = [one for one in found if isinstance(one, SampleSet)]
        for sample_set in sample_sets:
            sample_set.open()
            rows = (entry.row() for entry in asked)
            tables.write(sample_set.out / "prompts.csv", rows, prompts.COLUMNS)
        draw(pipeline, sample_sets)
        return [
            _finish(one, settings, cells, warnings) if isinstance(one, SampleSet) else one
            for one in found
        ]

    def _rows(self, spec: SampleSpec) -> list[GridRow] | BakeryError:
        """The base and the LoRAs that a bake's pictures are drawn with."""
        try:
            if (spec.train / manifest.NAME).is_file():
                manifest.checked(spec.train, "epochs.csv", "*.safetensors")
            epochs = read_epochs(spec.train, self.settings.lora_weight)
            if not rungs.is_stopped(spec.train):  # a stopped bake may lack the epoch asked for
                epochs += prompts.weighed(epochs, self.settings)
        except BakeryError as error:
            return error
        return epochs

    def _checked(
        self,
        pipeline: ImagePipeline,
        spec: SampleSpec,
        epochs: list[GridRow] | BakeryError,
        cells: Sequence[Cell],
    ) -> SampleSet | BakeryError:
        """The pictures that a bake is to have, if all its LoRAs can be used."""
        if isinstance(epochs, BakeryError):
            return epochs
        try:
            for epoch in epochs:
                if epoch.file is not None:
                    pipeline.check(epoch.file)
        except BakeryError as error:
            return error
        facts = infotexts.common_settings(
            self.settings,
            self.base,
            self._clip_skip,
            pipeline.base.schedule_type(self.settings.sampler),
        )
        infos = {
            (epoch, cell): infotexts.describe(cell, epoch, self.settings.negative_prompt, facts)
            for epoch in epochs
            for cell in prompts.of_epoch(cells, epoch)
        }
        mirror = None if spec.mirror is None else SampleSet(spec.mirror, infos)
        return SampleSet(spec.out, infos, mirror=mirror)

    def _load(self) -> ImagePipeline:
        return ImagePipeline.load(
            self.settings,
            base=self.base,
            clip_skip=self._clip_skip,
            device=self.device,
            dtype=torch.float32 if self.device == "cpu" else DTYPES[self.mixed_precision],
            v_parameterization=self.v_parameterization,
            zero_terminal_snr=self.zero_terminal_snr,
        )


def _finish(
    sample_set: SampleSet, settings: Sample, cells: Sequence[Cell], warnings: Sequence[str]
) -> dict[str, Any]:
    """The tables and the grid of a bake whose pictures are all there, and its facts."""
    out, epochs = sample_set.out, sample_set.epochs
    rows = [row(cell, epoch) for epoch, cell in sample_set.infos]
    tables.write(out / "samples.csv", rows, COLUMNS)
    draw_grid(claims.kept(out / GRID), out / IMAGES, epochs, settings, cells)
    broken = [name for name in sample_set.names if name in sample_set.broken]
    warnings = [*warnings, *_burnt(broken)]
    for warning in warnings:
        _log.warning("sample: %s: %s", out.name, warning)
    return {
        "epochs": sum(epoch.nominal for epoch in epochs) - 1,
        "images": len(rows),
        "broken": len(broken),
        "warnings": warnings,
    }


def _burnt(broken: Sequence[str]) -> list[str]:
    if not broken:
        return []
    return [
        f"{len(broken)} pictures are broken (not a number), first {broken[0]}: "
        "the LoRA is burnt, lower its learning rate"
    ]


def draw(pipeline: ImagePipeline, sample_sets: Sequence[SampleSet]) -> None:
    """Draw the missing pictures, the base's once for all.

    Which pictures share a batch depends on which bakes there are, not on their order or on which
    pictures exist already.
    """
    sample_sets = sorted(sample_sets, key=lambda sample_set: sample_set.out.name)
    queue = _batches(pipeline, sample_sets)
    ready = [all([picture.there() for picture in batch]) for batch in queue]  # noqa: C419
    in_use: list[Lora] = []
    with Writer() as writer:
        for batch, there in zip(queue, ready, strict=True):
            if there:
                writer.put(batch)
                continue
            loras = list(dict.fromkeys(picture.lora for picture in batch))
            if loras != in_use:
                pipeline.use(loras)
                in_use = loras
            requests = [
                ImageRequest(loras.index(p.lora), p.cell.prompt, p.cell.seed) for p in batch
            ]
            writer.put(batch, pipeline.draw(requests))


def _batches(pipeline: ImagePipeline, sample_sets: Sequence[SampleSet]) -> list[list[Picture]]:
    """The base's batches, which it shares with no LoRA, then the others."""
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


def choose(
    settings: Sample, *, prune: Path, tagger: Path | None
) -> tuple[list[PromptEntry], list[Cell], list[str]]:
    """The prompts with the reason for each, the cells to draw, and warnings."""
    trigger = Trigger.read(prune)
    texts, words = [], {}
    if settings.prompts is None and tagger is not None:
        texts = list(tables.read(prune / "captions.csv", ("image", "caption"))["caption"])
        words = tagger_list.read_counts(tagger)
    asked, warnings = prompts.resolve(settings, texts, words, trigger)
    if not asked:
        raise BakeryError(
            "sample.auto derives no prompt at all: raise its numbers, or write sample.prompts"
        )
    cells = prompts.cells([entry.prompt for entry in asked], settings.seeds, trigger)
    return asked, cells, warnings


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


def _texts(cells: Sequence[Cell], settings: Sample) -> list[str]:
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


def draw_grid(
    path: Path, images: Path, epochs: Sequence[GridRow], settings: Sample, cells: Sequence[Cell]
) -> None:
    """Rows: base and epochs; columns: the prompts that all of them draw, with the first seed."""
    first = [cell for cell in cells if cell.seed == settings.seeds[0]]
    columns = [cell for cell in first if cell.purpose != "base"]
    epochs = [epoch for epoch in epochs if epoch.nominal]
    rows = []
    for epoch in epochs:
        tiles = []
        for cell in columns:
            with Image.open(images / cell.image(epoch)) as tile:
                tiles.append(tile.convert("RGB"))
        rows.append(tiles)
    picture = grid.draw(
        rows,
        [f"epoch {epoch.number}" if epoch.file else "base" for epoch in epochs],
        [f"{cell.prompt_id}: {cell.prompt}" for cell in columns],
        title=f"seed {settings.seeds[0]}, {settings.steps} steps, CFG {settings.cfg_scale:g}",
    )
    grid.save(picture, path, format="PNG", optimize=True)


def row(cell: Cell, epoch: GridRow) -> dict[str, Any]:
    """A row of samples.csv."""
    reference = f"{GridRow(0).prefix}_{cell.reference}_s{cell.seed}.png" if cell.reference else ""
    return {
        "epoch": epoch.number,
        "weight": f"{epoch.weight:g}",
        "nominal": int(epoch.nominal),
        "prompt_id": cell.prompt_id,
        "purpose": cell.purpose,
        "prompt": cell.prompt,
        "asked": tables.join(cell.asked),
        "seed": cell.seed,
        "image": cell.image(epoch),
        "reference": reference,
    }
