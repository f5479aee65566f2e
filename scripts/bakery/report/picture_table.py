"""The picture table of a page: bakes x prompts x epochs, a picture for each seed.

`arrange` places the pictures; `payload` turns that into the data of the page's script, with
every text once and every picture as a line number in the thumbnail sheet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bakery.pages.thumbnails import ThumbnailSheet
from bakery.report.results import BakeResult, Shot, same_base

ABSENT = -1
"""Instead of a number: there is no such picture."""
PURPOSES = ("identity", "flexibility", "recreate", "bleed", "base")
"""The order in which prompts are shown; other purposes follow."""
MOST_TRIGGERS = 3
"""Triggers that a prompt names where bakes of several characters share a row."""


@dataclass(frozen=True)
class PromptRow:
    """A row of the table: what is asked, `{trigger}` standing for each bake's own trigger."""

    id: str
    text: str
    purpose: str


@dataclass(frozen=True)
class PictureTable:
    """Which picture is where."""

    prompts: Sequence[PromptRow]
    epochs: Sequence[int]
    """The columns; 0 is the base."""
    seeds: Sequence[str]
    shots: Sequence[Shot]
    """Every picture once, in order of priority for space."""
    cells: Sequence[Sequence[Sequence[Sequence[int]]]]
    """Number in `shots` by bake, prompt, epoch and seed."""
    hidden_seeds: int
    shared_base: bool


class Place(NamedTuple):
    """A picture's place in the table: numbers from 0."""

    bake: int
    prompt: int
    epoch: int
    seed: int


def arrange(baked: Sequence[BakeResult], ranks: Sequence[int], seeds: int) -> PictureTable:
    """The table of `baked` with the first `seeds` seeds.

    `ranks[i]` is the rank of bake i, 0 the best: its pictures are included first. A base that all
    bakes share counts once.
    """
    known = list(dict.fromkeys(seed for one in baked for _, _, seed in one.shots))
    chosen = known[:seeds]
    prompts = _prompts(baked)
    epochs = sorted({epoch.number for one in baked for epoch in one.epochs})
    shared = all(same_base(baked[0], other) for other in baked[1:])
    drawn = dict(_drawn(baked, prompts, epochs, chosen))

    def turn(place: Place) -> tuple[int, ...]:
        """Sorts the base and the best bakes first, seed by seed."""
        base = not epochs[place.epoch]
        return place.seed, int(not base), ranks[place.bake], place.epoch, place.prompt

    def counted(place: Place) -> Place:
        """The place whose picture is shown: a base that is shared is the first bake's."""
        return place._replace(bake=0) if shared and not epochs[place.epoch] else place

    numbers: dict[Place, int] = {}
    shots: list[Shot] = []
    for place in sorted(drawn, key=turn):
        if counted(place) not in numbers:
            numbers[counted(place)] = len(shots)
            shots.append(drawn[place])

    def number(place: Place) -> int:
        return numbers[counted(place)] if place in drawn else ABSENT

    cells = [
        [
            [[number(Place(b, p, e, s)) for s in range(len(chosen))] for e in range(len(epochs))]
            for p in range(len(prompts))
        ]
        for b in range(len(baked))
    ]
    return PictureTable(prompts, epochs, chosen, shots, cells, len(known) - len(chosen), shared)


def in_words(prompt: str, baked: Sequence[BakeResult]) -> str:
    """A row's prompt for people: the trigger of the bakes in the place of `{trigger}`.

    Bakes of a few characters have all their triggers there, as in `mirael / sylvie, beach`.
    """
    triggers = list(dict.fromkeys(one.bake.trigger for one in baked if one.bake.trigger))
    said = " / ".join(triggers) if len(triggers) <= MOST_TRIGGERS else "their trigger"
    return prompt.replace("{trigger}", said)


def payload(table: PictureTable, sheet: ThumbnailSheet | None, out: Path) -> dict[str, Any]:
    """The script's data for `table`; without a sheet every picture is absent.

    A shot is [thumbnail, whole, folder, file, size, infotext, found, missing, leaked, notes]: lines of
    the sheet, then numbers of `folders`, `sizes`, `pieces` and `words`. An infotext is the join of its
    pieces. The whole equals the thumbnail if that is not reduced, and is ABSENT if there is only
    the file, in its folder relative to `out`.
    """
    pieces, words, folders, sizes = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    thumbs = [sheet.thumb(s.path) if sheet else (ABSENT, False, (1, 1)) for s in table.shots]
    rows = []
    for shot, (thumb, whole, size) in zip(table.shots, thumbs, strict=True):
        folder = os.path.relpath(shot.path.parent, out).replace(os.sep, "/")
        full = thumb if whole else sheet.whole(shot.path) if sheet else ABSENT
        split = re.split(r"(?<=, )|(?<=\n)", shot.infotext)
        rows.append(
            [thumb, full, folders(folder), shot.path.name, sizes(size), [pieces(x) for x in split]]
            + [
                [words(x) for x in texts]
                for texts in (shot.found, shot.missing, shot.leaked, shot.notes)
            ]
        )
    return {
        "epochs": table.epochs,
        "prompts": [[prompt.id, prompt.purpose] for prompt in table.prompts],
        "seeds": table.seeds,
        "cells": table.cells,
        "shots": rows,
        "pieces": pieces.list,
        "words": words.list,
        "folders": folders.list,
        "sizes": sizes.list,
    }


class _Numbers:
    """Values by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def list(self) -> list[Any]:
        return list(self._numbers)


def _drawn(
    baked: Sequence[BakeResult],
    prompts: Sequence[PromptRow],
    epochs: Sequence[int],
    seeds: Sequence[str],
) -> Iterator[tuple[Place, Shot]]:
    """Every picture of these prompts, epochs and seeds, with its place."""
    for b, one in enumerate(baked):
        by_cell = {(_prompt(one, shot), shot.epoch, shot.seed): shot for shot in one.shots.values()}
        for p, prompt in enumerate(prompts):
            for e, epoch in enumerate(epochs):
                for s, seed in enumerate(seeds):
                    if shot := by_cell.get((prompt, epoch, seed)):
                        yield Place(b, p, e, s), shot


def _prompts(baked: Sequence[BakeResult]) -> list[PromptRow]:
    """The prompts of all bakes, by purpose, then in the order of the samples."""

    def order(prompt: PromptRow) -> int:
        known = prompt.purpose in PURPOSES
        return PURPOSES.index(prompt.purpose) if known else len(PURPOSES)

    found = dict.fromkeys(_prompt(one, shot) for one in baked for shot in one.shots.values())
    return sorted(found, key=order)


def _prompt(one: BakeResult, shot: Shot) -> PromptRow:
    return PromptRow(shot.prompt_id, one.generic(shot.prompt), shot.purpose)
