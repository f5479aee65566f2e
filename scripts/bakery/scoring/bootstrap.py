"""How much a score could differ by chance: the bootstrap over prompts and seeds.

A bake's pictures are a grid of prompts by seeds, and the pictures of one prompt, or of one seed,
are correlated. So both are resampled independently, and a picture counts as often
as its prompt times its seed was drawn. Source: Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1 (2007), 386-411, which shows that this errs on the side of caution.

This applies to prompts that are one choice of many: another outfit, another scene. The trigger
alone is not: it is the question itself, and stays in every draw.

A draw depends only on the names of prompts and seeds. So draw 17 means the same in every
epoch and every bake with the same prompts, and a difference can be taken draw by draw.

Numbers come as arrays (1 + draws,): the first is what was measured, the others are the draws.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, LEVEL = 1000, 0.95
"""Number of draws, and the share of them that an interval spans."""


MEANT = frozenset({"identity", "recreate"})
"""Purposes whose prompts are not a random choice."""


@dataclass(frozen=True)
class Resample:
    """How often each of N pictures' prompt and seed count, (1 + draws, N); the first row is 1."""

    prompts: np.ndarray
    seeds: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """How often each picture counts, (1 + draws, N)."""
        return self.prompts * self.seeds

    def of(self, chosen: np.ndarray) -> Resample:
        """The same draws for some of the pictures, by index or mask."""
        return Resample(self.prompts[:, chosen], self.seeds[:, chosen])


def resample(
    purposes: Sequence[str], prompts: Sequence[str], seeds: Sequence[str | int], draws: int = DRAWS
) -> Resample:
    """Draws for pictures with these purposes, prompts and seeds (a list each, of equal length).

    As many prompts of each purpose, and as many seeds, as there are, with replacement; a single
    prompt stays, and so do those of the purposes in `MEANT`. With a single seed chance cannot be
    estimated, and there are no draws.
    """
    count = len(prompts)
    if len(set(seeds)) < 2:
        return Resample(np.ones((1, count)), np.ones((1, count)))
    of_prompt = np.ones((1 + draws, count))
    for purpose in sorted(set(purposes) - MEANT):
        mine = [i for i, other in enumerate(purposes) if other == purpose]
        of_prompt[1:, mine] = _counts(purpose, [prompts[i] for i in mine], draws)
    of_seed = np.ones((1 + draws, count))
    of_seed[1:] = _counts("seeds", [str(seed) for seed in seeds], draws)
    return Resample(of_prompt, of_seed)


def resample_things(kind: str, names: Sequence[str], draws: int) -> np.ndarray:
    """How often each of `names`, which are different things of one kind, counts: (1 + draws, M)."""
    counts = np.ones((1 + draws, len(names)))
    counts[1:] = _counts(kind, names, draws)
    return counts


def interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the draws behind `values` (1 + draws,); NaNs without draws.

    Draws that took no picture that counts are NaN and left out.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    draws = values[1:]
    draws = draws[~np.isnan(draws)]
    if not len(draws) or math.isnan(values[0]):
        return math.nan, math.nan
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def lag(best: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How far `other` (1 + draws,) is below `best`, and the standard error of that.

    The error is the standard deviation of the paired differences; NaN without draws.
    """
    apart = best - other
    draws = apart[1:][~np.isnan(apart[1:])]
    return float(apart[0]), float(draws.std()) if len(draws) else math.nan


def close(best: np.ndarray, other: np.ndarray) -> bool:
    """Whether `other` is within one standard error of `best`, so not measurably worse.

    Without draws only if it is not worse as measured. Source of the rule: Breiman, Friedman, Olshen
    and Stone, Classification and Regression Trees (1984), section 3.4.3.
    """
    behind, error = lag(best, other)
    return behind <= (0.0 if math.isnan(error) else error) + 1e-12


def _counts(purpose: str, names: Sequence[str], draws: int) -> np.ndarray:
    """How often each of `names` was drawn, (draws, N); equal names are drawn as one."""
    things = sorted(set(names))
    if len(things) == 1:
        return np.ones((draws, len(names)))
    digest = hashlib.sha256(json.dumps([purpose, things]).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    picks = rng.integers(len(things), size=(draws, len(things)))
    counts = (picks[:, :, None] == np.arange(len(things))).sum(axis=1)
    return counts[:, [things.index(name) for name in names]].astype(float)
