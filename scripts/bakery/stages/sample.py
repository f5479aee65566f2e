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

from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.jobs import claims, rungs, stop_requests
from bakery.pages import grid
from bakery.sampling import prompts
from bakery.sampling.drawing import Drawer, about_prompts, draw, read_epochs, texts
from bakery.sampling.helper import Errand, Helper
from bakery.sampling.pictures import IMAGES, SampleSet
from bakery.sampling.pipeline import ImagePipeline
from bakery.sampling.prompts import Cell, GridRow
from bakery.settings.sample import Sample

COLUMNS = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
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


class SampleStage(Drawer):
    """What a job of the sample stage draws, with the same for all its bakes."""

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
        asked, cells, warnings = self.choose()
        planned = [self._rows(spec) for spec in specs]
        refused = [one for one in planned if isinstance(one, BakeryError)]
        if len(refused) == len(planned):
            return refused
        pipeline = self.load()
        warnings += about_prompts(pipeline.base, texts(cells, settings))
        found = [
            self._checked(pipeline, spec, epochs, cells)
            for spec, epochs in zip(specs, planned, strict=True)
        ]
        sample_sets = [one for one in found if isinstance(one, SampleSet)]
        for sample_set in sample_sets:
            sample_set.open()
            rows = (entry.row() for entry in asked)
            tables.write(sample_set.out / "prompts.csv", rows, prompts.COLUMNS)
        trains = {spec.out: spec.train for spec in specs}
        bakes = {one.out: trains[one.out] for one in sample_sets}
        with Helper(lambda: Errand(self, bakes), pipeline.base) as helper:
            draw(pipeline, sample_sets, helper.consider)
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
            if self._weighs(spec.train, epochs):
                epochs += prompts.weighed(epochs, self.settings)
        except BakeryError as error:
            return error
        return epochs

    def _weighs(self, train: Path, epochs: Sequence[GridRow]) -> bool:
        """Whether further LoRA weights are drawn: a stopped bake may lack the epoch asked for."""
        if not rungs.is_stopped(train):
            return True
        asked = self.settings.weights_epoch
        there = asked is None or any(epoch.number == asked for epoch in epochs)
        return there and stop_requests.is_by_you(manifest.read(train)["summary"])

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
        infos = self.infos(pipeline, epochs, cells)
        mirror = None if spec.mirror is None else SampleSet(spec.mirror, infos)
        return SampleSet(spec.out, infos, mirror=mirror)


def _finish(
    sample_set: SampleSet, settings: Sample, cells: Sequence[Cell], warnings: Sequence[str]
) -> dict[str, Any]:
    """The tables and the grid of a bake whose pictures are all there, and its facts."""
    out, epochs = sample_set.out, sample_set.epochs
    _forget_others(sample_set)
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


def _forget_others(sample_set: SampleSet) -> None:
    """Remove the pictures of epochs that are gone: a bake that was stopped on request and went on has
    no use for an epoch that it had only stopped after."""
    names = set(sample_set.names)
    gone = [p for p in (sample_set.out / IMAGES).glob("*.png") if p.name not in names]
    for path in gone:
        path.unlink()
    if gone:
        _log.info("%s: removed %d pictures of epochs that are gone", sample_set.out.name, len(gone))


def _burnt(broken: Sequence[str]) -> list[str]:
    if not broken:
        return []
    return [
        f"{len(broken)} pictures are broken (not a number), first {broken[0]}: "
        "the LoRA is burnt, lower its learning rate"
    ]


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
