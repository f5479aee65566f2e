"""The picture table of a page: bakes x prompts x epochs, a picture for each seed.

`arrange` says which picture stands where; `payload` turns that into what the page's script reads, with
every text once and every picture a number of its line in the album.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.pages.thumbnails import Album
from bakery.report.results import Baked, Shot, same_base

ABSENT = -1
"""In place of a number: there is no such picture."""
PURPOSES = ("identity", "flexibility", "recreate", "bleed", "base")
"""The order in which prompts are shown; other purposes follow."""


@dataclass(frozen=True)
class Prompt:
    """A row of the table: what is asked, `{trigger}` standing for each bake's own trigger."""

    id: str
    text: str
    purpose: str


@dataclass(frozen=True)
class Table:
    """Which picture stands where."""

    prompts: Sequence[Prompt]
    epochs: Sequence[int]
    """The columns; 0 is the base."""
    seeds: Sequence[str]
    shots: Sequence[Shot]
    """Every picture once, in the order in which they get room."""
    cells: Sequence[Sequence[Sequence[Sequence[int]]]]
    """Number in `shots` by bake, prompt, epoch and seed."""
    hidden_seeds: int
    shared_base: bool


def arrange(baked: Sequence[Baked], ranks: Sequence[int], seeds: int) -> Table:
    """The table of `baked` with the first `seeds` seeds.

    `ranks[i]` is the place of bake i, 0 the best: its pictures get room first. A base that all
    bakes share counts once.
    """
    known = list(dict.fromkeys(seed for one in baked for _, _, seed in one.shots))
    chosen = known[:seeds]
    prompts = _prompts(baked)
    epochs = sorted({epoch.number for one in baked for epoch in one.epochs})
    shared = all(same_base(baked[0], other) for other in baked[1:])
    places: dict[tuple[int, int, int, int], Shot] = {}
    for b, one in enumerate(baked):
        by_cell = {(_prompt(one, s), s.epoch, s.seed): s for s in one.shots.values()}
        for p, prompt in enumerate(prompts):
            for e, epoch in enumerate(epochs):
                for s, seed in enumerate(chosen):
                    if shot := by_cell.get((prompt, epoch, seed)):
                        places[b, p, e, s] = shot

    def turn(place: tuple[int, int, int, int]) -> tuple[int, ...]:
        b, p, e, s = place
        return (s, int(epochs[e] != 0), ranks[b], e, p)

    numbers: dict[tuple[int, int, int, int], int] = {}
    shots: list[Shot] = []
    for place in sorted(places, key=turn):
        b, p, e, s = place
        first = (0, p, e, s)
        if shared and epochs[e] == 0 and first in numbers:
            numbers[place] = numbers[first]
            continue
        if shared and epochs[e] == 0 and b:
            numbers[first] = len(shots)
        numbers[place] = len(shots)
        shots.append(places[place])
    cells = [
        [
            [
                [numbers.get((b, p, e, s), ABSENT) for s in range(len(chosen))]
                for e in range(len(epochs))
            ]
            for p in range(len(prompts))
        ]
        for b in range(len(baked))
    ]
    return Table(prompts, epochs, chosen, shots, cells, len(known) - len(chosen), shared)


def payload(table: Table, album: Album | None, out: Path) -> dict[str, Any]:
    """What the page's script reads of `table`; without an album every picture is absent.

    A shot is [thumbnail, whole, folder, file, size, infotext, found, missing, leaked, notes]: lines of
    the album, then numbers of `folders`, `sizes`, `pieces` and `words`. An infotext is the join of its
    pieces. The whole is that of the thumbnail where that is not reduced, ABSENT where there is only the
    file, which lies in its folder relative to `out`.
    """
    pieces, words, folders, sizes = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    thumbs = [album.thumb(s.path) if album else (ABSENT, False, (1, 1)) for s in table.shots]
    rows = []
    for shot, (thumb, whole, size) in zip(table.shots, thumbs, strict=True):
        folder = os.path.relpath(shot.path.parent, out).replace(os.sep, "/")
        full = thumb if whole else album.whole(shot.path) if album else ABSENT
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


def _prompts(baked: Sequence[Baked]) -> list[Prompt]:
    """The prompts of all bakes, by purpose, then in the order of the samples."""
    found = dict.fromkeys(_prompt(one, shot) for one in baked for shot in one.shots.values())
    order: Callable[[Prompt], int] = lambda p: (  # noqa: E731
        PURPOSES.index(p.purpose) if p.purpose in PURPOSES else len(PURPOSES)
    )
    return sorted(found, key=order)


def _prompt(one: Baked, shot: Shot) -> Prompt:
    return Prompt(shot.prompt_id, one.generic(shot.prompt), shot.purpose)
