"""Observations: what is seen on each picture of a bake, for the scores.

Everything here is a fact about one picture or one pair of pictures: which tags the tagger sees,
which of the requested ones are there, how far the picture is from the base's. `metrics` combines
them for an epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from bakery.io import tables
from bakery.scoring import formulas
from bakery.settings.tag import LEAST
from bakery.tags import captions, vocabulary

TRIGGER_PURPOSES = ("identity", "flexibility", "recreate")
"""Purposes of pictures whose prompt has the trigger."""
LORA_PURPOSES = (*TRIGGER_PURPOSES, "bleed")
"""Purposes of pictures that are drawn with the LoRA."""
LEAK_PURPOSES = ("identity", "flexibility")
"""Purposes of pictures on which a leak counts."""


@dataclass(frozen=True)
class TagMatrix:
    """The tagger's output for N pictures, by its T tags."""

    names: Sequence[str]
    general: np.ndarray
    """(T,) bool: general tags, no characters and ratings."""
    probabilities: np.ndarray
    """(N, T)"""
    seen: np.ndarray
    """(N, T) bool: at or above the tag's threshold."""

    @cached_property
    def known(self) -> dict[str, int]:
        """Any spelling (`captions.same`) -> column."""
        return {captions.same(name): column for column, name in enumerate(self.names)}

    def columns(self, tags: Collection[str]) -> list[int]:
        """Columns of the tags that the tagger knows."""
        return [self.known[captions.same(t)] for t in tags if captions.same(t) in self.known]

    def features(self, without: Collection[str] = ()) -> np.ndarray:
        """Probabilities of the general tags but `without`, (N, F); those below `LEAST` are 0."""
        chosen = self.general.copy()
        chosen[self.columns(without)] = False
        part = self.probabilities[:, chosen]
        return np.where(part < LEAST, 0.0, part)


@dataclass(frozen=True)
class Observations:
    """Facts of N pictures, row by row of `samples`."""

    samples: pd.DataFrame
    """samples.csv with epoch (int), weight (float), nominal (bool)."""
    matrix: TagMatrix
    traits: Sequence[str]
    base: np.ndarray
    """(N,) row of the base's picture of the same cell, -1 without one."""
    reference: np.ndarray
    """(N,) row of the base's picture that flexibility is measured against, -1 without one."""
    asked: Sequence[Sequence[str]]
    found: Sequence[Sequence[str]]
    habits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Tags that can leak -> share of the training pictures, share of the base's."""

    @cached_property
    def asked_count(self) -> np.ndarray:
        return np.array([len(tags) for tags in self.asked], float)

    @cached_property
    def found_count(self) -> np.ndarray:
        return np.array([len(tags) for tags in self.found], float)

    @cached_property
    def reference_count(self) -> np.ndarray:
        """(N,) how many of the asked tags the reference shows; NaN without a reference."""
        counts = np.full(len(self.samples), np.nan)
        for row, (tags, other) in enumerate(zip(self.asked, self.reference, strict=True)):
            if other >= 0:
                counts[row] = self.matrix.seen[other, self.matrix.columns(tags)].sum()
        return counts

    @cached_property
    def trait_seen(self) -> np.ndarray:
        """(N, traits) bool"""
        return self.matrix.seen[:, self.matrix.columns(self.traits)]

    @cached_property
    def trait_open(self) -> np.ndarray:
        """(N, traits) bool: the prompt does not ask for it."""
        return _open(self.samples, self.traits)

    @cached_property
    def habit_seen(self) -> np.ndarray:
        """(N, habits) bool"""
        return self.matrix.seen[:, self.matrix.columns(self.habits)]

    @cached_property
    def habit_open(self) -> np.ndarray:
        """(N, habits) bool: the prompt does not ask for it."""
        return _open(self.samples, list(self.habits))

    @cached_property
    def leaked(self) -> list[list[str]]:
        """The habits that each picture shows unasked; [] where a leak does not count."""
        shown = self.habit_seen & self.habit_open
        names = list(self.habits)
        return [
            [names[i] for i in np.flatnonzero(row)] if purpose in LEAK_PURPOSES else []
            for row, purpose in zip(shown, self.samples["purpose"], strict=True)
        ]

    @cached_property
    def drift(self) -> np.ndarray:
        """(N,) distance to the base's picture of the same cell; NaN for all but bleed pictures."""
        features, apart = self.matrix.features(), np.full(len(self.samples), np.nan)
        for row in np.flatnonzero(self.of("bleed") & (self.base >= 0)):
            apart[row] = formulas.ruzicka(features[row], features[self.base[row]])
        return apart

    @cached_property
    def doubt(self) -> np.ndarray:
        """(N,) the tagger's bits of doubt about each picture, without the traits.

        A half-learned trait counts in fidelity.
        """
        return formulas.doubt(self.matrix.features(without=self.traits))

    @cached_property
    def expected(self) -> np.ndarray:
        """(N,) how many tags are expected on each picture, without the traits."""
        return self.matrix.features(without=self.traits).sum(axis=1)

    def of(self, *purposes: str) -> np.ndarray:
        """(N,) bool: pictures with one of these purposes."""
        return self.samples["purpose"].isin(purposes).to_numpy()


def gather(
    samples: pd.DataFrame,
    matrix: TagMatrix,
    traits: Sequence[str],
    training: Mapping[str, float],
    *,
    pruned: Collection[str],
    habit: float,
) -> Observations:
    """What is seen on the pictures of `samples`.

    `traits` are what identity pictures are asked for; `training` leads from tags to the share of
    the training pictures that show them; `pruned` belongs to the character and is no habit.
    """
    base, reference = _partners(samples)
    wanted = [_wanted(row["purpose"], row["asked"], traits) for row in tables.records(samples)]
    asked = [[matrix.names[i] for i in matrix.columns(tags)] for tags in wanted]
    found = [
        [matrix.names[i] for i in matrix.columns(tags) if matrix.seen[row, i]]
        for row, tags in enumerate(asked)
    ]
    traits = [matrix.names[i] for i in matrix.columns(traits)]
    plain = Observations(samples, matrix, traits, base, reference, asked, found)
    habits = _habits(plain, training, {captions.same(tag) for tag in pruned}, habit)
    return Observations(samples, matrix, traits, base, reference, asked, found, habits)


def _wanted(purpose: str, asked: str, traits: Sequence[str]) -> Sequence[str]:
    if purpose == "identity":
        return traits
    return tables.split(asked) if purpose in TRIGGER_PURPOSES else []


def _partners(samples: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the base's picture of the same cell, and of the reference; -1 without one."""
    of_cell, of_image = {}, {}
    for row, record in enumerate(tables.records(samples)):
        of_image[record["image"]] = row
        if record["epoch"] == 0:
            of_cell[record["prompt_id"], record["seed"]] = row
    cells = zip(samples["prompt_id"], samples["seed"], strict=True)
    base = np.array([of_cell.get(cell, -1) for cell in cells], int)
    reference = np.array([of_image.get(image, -1) for image in samples["reference"]], int)
    return base, np.where(reference >= 0, reference, base)


def _open(samples: pd.DataFrame, tags: Sequence[str]) -> np.ndarray:
    """(N, tags) bool: the prompt asks neither for the tag nor for a kind of it.

    A prompt for a red jacket also asks for a jacket.
    """
    rows = []
    for cell in samples["asked"]:
        asked = [captions.same(tag) for tag in tables.split(cell)]
        rows.append(
            [not any(f" {a}".endswith(f" {captions.same(t)}") for a in asked) for t in tags]
        )
    return np.array(rows, bool).reshape(len(samples), len(tags))


def _habits(
    plain: Observations, training: Mapping[str, float], pruned: Collection[str], least: float
) -> dict[str, tuple[float, float]]:
    """Outfit and scene tags of the training set that the base shows less often, by `least`."""
    mine = (plain.samples["epoch"] == 0).to_numpy() & plain.of(*LEAK_PURPOSES)
    names = [
        name
        for name in training
        if captions.same(name) in plain.matrix.known
        and captions.same(name) not in pruned
        and vocabulary.of(name).topic in ("outfit", "scene")
    ]
    seen = plain.matrix.seen[:, plain.matrix.columns(names)][mine]
    unasked = _open(plain.samples, names)[mine]
    count = unasked.sum(axis=0)
    shown = (seen & unasked).sum(axis=0) / np.where(count, count, 1)
    return {
        name: (training[name], float(b))
        for name, b, n in zip(names, shown, count, strict=True)
        if n and training[name] - b >= least
    }
