"""A metric as one record, from which its columns, weight, chart and texts follow.

`metrics` holds the records. A metric is computed from the pictures that one LoRA drew at one weight
(`PictureSet`), and may also have columns for single pictures (`PictureColumn`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bakery.scoring.bootstrap import Resample
from bakery.scoring.observations import Observations

Numbers = dict[str, np.ndarray]
"""Metric -> (1 + draws,): as measured, then the draws."""


@dataclass(frozen=True)
class HeldOut:
    """The pictures that were kept from training."""

    names: tuple[str, ...]
    bits: np.ndarray
    """(M,) bits between the perceptual hashes of each and of its nearest training picture."""
    copies: int = 0
    """How many of them count as a copy of a training picture, by the test for samples."""


@dataclass(frozen=True)
class ScoreInputs:
    """The input of metrics: all pictures of a bake."""

    seen: Observations
    image_stats: pd.DataFrame
    """nearest, nearest_bits, memorised, broken, likeness (cosine) of each picture, and what only some
    configs ask for (`Metric.needs`)."""
    ceiling: float
    """Mean share of the training pictures on which the tagger sees a trait."""
    likest: float
    """Mean cosine of a training picture to the character's centre."""
    held_out: HeldOut | None = None
    """The pictures that were kept from training, if there are any."""

    def fact(self, name: str) -> np.ndarray:
        """A column of `image_stats` as numbers, (N,)."""
        return self.image_stats[name].to_numpy(float)


@dataclass(frozen=True)
class PictureSet:
    """The pictures that one LoRA drew at one weight, and their bootstrap draws."""

    inputs: ScoreInputs
    rows: np.ndarray
    """(n,) rows of the set's pictures."""
    draws: Resample

    @property
    def seen(self) -> Observations:
        """Of all pictures: rows of `select` lead into it."""
        return self.inputs.seen

    def select(
        self, *purposes: str, where: np.ndarray | None = None
    ) -> tuple[Resample, np.ndarray]:
        """The draws and rows of the set's pictures with one of the purposes; all without any.

        `where` (N,) bool limits them further.
        """
        mine = np.ones(len(self.seen.samples), bool)
        if purposes:
            mine = self.seen.of(*purposes)
        local = np.flatnonzero((mine if where is None else mine & where)[self.rows])
        return self.draws.of(local), self.rows[local]


@dataclass(frozen=True)
class PictureColumn:
    """A metric's value for single pictures: a column of scores.csv, and of cells.csv."""

    name: str
    values: Callable[[ScoreInputs], Iterable[Any]]
    """(N,) text or numbers; NaN where a picture has none."""
    mean: Callable[[ScoreInputs, np.ndarray], float] | None = None
    """Of the pictures in these rows, which are one cell; None keeps it out of cells.csv."""
    whole: bool = False
    """Whether its numbers are whole ones."""

    @classmethod
    def of_fact(cls, name: str) -> PictureColumn:
        """0 or 1 from `ScoreInputs.image_stats`, and the share of a cell's pictures where it is 1."""
        return cls(
            name,
            lambda inputs: inputs.fact(name),
            lambda inputs, rows: float(inputs.fact(name)[rows].mean()),
            whole=True,
        )


@dataclass(frozen=True)
class Remark:
    """Sentences of the recommendation about a metric, from a bad enough value on."""

    beyond: float
    """The value from which a remark is shown."""
    best: Callable[[float, str], str]
    """A sentence about the recommended epoch, by its value and the tags that leaked (may be "")."""
    later: Callable[[float, str], str]
    """The same about the next epoch: `frays (clarity 0.61)`, which continues `Epoch 4`."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of an epoch, from 0 to 1."""

    name: str
    """Its column in epochs.csv and results.csv."""
    heading: str
    meaning: str
    """For people, without a full stop."""
    formula: str
    """The definition, as in docs/scores.md."""
    good: int = 1
    """The good end, 0 or 1."""
    compute: Callable[[PictureSet], np.ndarray] | None = None
    """(1 + draws,): as measured, then the draws; None if it is computed from other metrics."""
    balanced: bool = False
    """Whether it is one of the two whose harmonic mean the trade-off starts from."""
    cost: str = ""
    """The setting of the score section that weighs it in the trade-off; "" if it costs nothing.

    The draws of metrics with a cost are kept, as the trade-off is made of them.
    """
    interval: bool = True
    """Whether the tables include its bootstrap interval."""
    by_weight: bool = False
    """Whether it is also in weights.csv, which has no bleed pictures, and in its chart."""
    chart: str = ""
    """The caption of its chart over the epochs; "" for none."""
    headline: bool = False
    """Whether the page shows it next to the recommendation."""
    percent: bool = True
    """Whether the page shows it as a percentage."""
    against: tuple[str, ...] = ()
    """`training`, `prompts`: what has to be equal to compare bakes by it."""
    columns: tuple[PictureColumn, ...] = ()
    remark: Remark | None = None
    needs: str = ""
    """The column of `ScoreInputs.image_stats` without which it is in no table; "" where it always is."""
    why_empty: Callable[[ScoreInputs], str] = lambda inputs: ""
    """A sentence for bakes without any value of it; "" for none."""

    @property
    def bounds(self) -> tuple[str, ...]:
        """Its columns in the tables of epochs: the value, and the ends of its interval."""
        return (
            (self.name, f"{self.name}_low", f"{self.name}_high") if self.interval else (self.name,)
        )

    def applies(self, inputs: ScoreInputs) -> bool:
        """Whether the tables have it."""
        return not self.needs or self.needs in inputs.image_stats

    def loss(self, values: np.ndarray) -> np.ndarray:
        """How far `values` are from the good end."""
        return 1 - values if self.good else values

    def remarkable(self, value: float) -> bool:
        """Whether `value` is bad enough for a sentence; NaN never is."""
        if self.remark is None:
            return False
        return value < self.remark.beyond if self.good else value >= self.remark.beyond
