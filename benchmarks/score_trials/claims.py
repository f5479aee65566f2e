"""What experiments on the guide's claims came to, as the yardstick sees their scored pictures.

An experiment is one of `config/experiments/`, baked. Its page has the scores; here are shares that owe
nothing to the tagger that scores. On a broken picture no tag counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import yaml
from score_trials import data_sets, setting_up
from score_trials.yardstick import Yardstick
from snakemake.utils import update_config

from bakery.graph import build
from bakery.io import tables
from bakery.report.results import Bake
from bakery.settings import config as cfg
from bakery.tags import captions
from bakery.tags.trigger import Trigger
from world import planting

CHARACTER = "mirael"
"""Whom all of them bake, whatever it is called."""
KINDS = ("identity", "flexibility", "recreate", "bleed")


@dataclass
class Share:
    """How many of the tags that were looked for are there."""

    found: int = 0
    of: int = 0

    def add(self, tags: Iterable[str], seen: set[str]) -> None:
        tags = list(tags)
        self.found += sum(tag in seen for tag in tags)
        self.of += len(tags)

    def __str__(self) -> str:
        return f"{self.found / self.of:.2f}" if self.of else "-"


@dataclass
class Shown:
    """What an epoch's pictures show, at the nominal weight."""

    character: Share = field(default_factory=Share)
    """The character's tags where it is asked for."""
    asked: Share = field(default_factory=Share)
    """The tags that prompts ask for besides."""
    bleed: Share = field(default_factory=Share)
    """The character's tags where it is not asked for."""
    detail: Share = field(default_factory=Share)
    """The details of the sweep where they are asked for ..."""
    unasked: Share = field(default_factory=Share)
    """... and where they are not."""
    whole: Share = field(default_factory=Share)


def of_the_character(yardstick: Yardstick) -> Yardstick:
    """The yardstick that knows whole pictures of the character."""
    gardener = planting.Gardener(np.random.default_rng(0), CHARACTER, planting.CAST[CHARACTER])
    return yardstick.of(data_sets.drawn([gardener.look() for _ in range(data_sets.KNOWN)]))


def of_experiment(files: Sequence[Path], place: Path, yardstick: Yardstick) -> list[str]:
    """A Markdown table, a row an epoch, of the sweep that the config `files` ask for together, baked in
    the folder `place`; the yardstick is `of_the_character`."""
    raw: dict = {}
    for file in files:
        update_config(raw, yaml.safe_load(file.read_text("utf-8")))
    (page,) = build.build(cfg.load(raw), (place, setting_up.ROOT)).of("compare")
    bakes = setting_up.bakes_of(page, place)
    own = sorted({captions.same(tag) for bake in bakes
                  for tag in Trigger.read(bake.folders["prune"]).pruned})  # fmt: skip
    details = sorted({captions.same(tag) for bake in bakes
                      for tag in bake.settings.get("layout.details", [])})  # fmt: skip
    return [
        "| bake | epoch | character | asked | bleed | detail asked | detail unasked | whole |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row for bake in bakes for row in _rows(bake, own, details, yardstick)),
    ]


def _rows(
    bake: Bake, own: Sequence[str], details: Sequence[str], yardstick: Yardstick
) -> Iterator[str]:
    samples = tables.read(bake.folders["sample"] / "samples.csv", ("image", "asked"))
    seen = yardstick.look(bake.folders["sample"], list(samples["image"]))
    for epoch, shown in by_epoch(samples.to_dict("records"), seen, own, details).items():
        cells = (getattr(shown, column.name) for column in fields(shown))
        yield f"| {bake.label} | {epoch} | " + " | ".join(map(str, cells)) + " |"


def by_epoch(
    samples: Iterable[Mapping[str, str]],
    seen: Mapping[str, set[str]],
    own: Sequence[str],
    details: Sequence[str],
) -> dict[int, Shown]:
    """Epoch -> what its pictures show; epoch 0 is the base."""
    found: dict[int, Shown] = {}
    for row in samples:
        if row["nominal"] != "1" or row["purpose"] not in KINDS:
            continue
        shown, tags = found.setdefault(int(row["epoch"]), Shown()), seen[row["image"]]
        asked = {captions.same(tag) for tag in tables.split(row["asked"])}
        kept = [tag for tag in own if tag not in asked]
        shown.whole.found += bool(tags)  # each picture of a person has some
        shown.whole.of += 1
        if row["purpose"] == "bleed":
            shown.bleed.add(kept, tags)
            continue
        shown.character.add(kept if row["purpose"] == "identity" else (), tags)
        shown.asked.add(asked, tags)
        shown.detail.add((tag for tag in details if tag in asked), tags)
        shown.unasked.add((tag for tag in details if tag not in asked), tags)
    return found
