"""How far a number of few trials can be trusted: intervals of a share and of a mean."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import binomtest

LEVEL, DRAWS = 0.95, 4000


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Interval of a share. Source: Wilson, Probable inference, JASA 22 (1927), 209-212."""
    if not of:
        return 0.0, 1.0
    found = binomtest(hits, of).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def of_mean(values: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, float]:
    """Percentile interval of the mean of `values`, drawing whole groups; NaN values are left out.

    Trials of one character resemble each other, so characters are drawn, not trials. Source: Davison
    and Hinkley, Bootstrap Methods and their Application (1997), section 3.8. NaNs without two groups.
    """
    known = [(v, g) for v, g in zip(values, groups, strict=True) if not np.isnan(v)]
    names = sorted({g for _, g in known}, key=str)
    if len(names) < 2:
        return float("nan"), float("nan")
    sums = np.array([sum(v for v, g in known if g == name) for name in names])
    counts = np.array([sum(g == name for _, g in known) for name in names])
    picks = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
