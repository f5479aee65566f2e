"""Does the doubt behind clarity tell broken pictures from whole ones?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu


@dataclass(frozen=True)
class Doubts:
    """The score's doubt about the pictures with a LoRA, beside which of them are broken."""

    doubt: np.ndarray
    """(N,) bits."""
    whole: np.ndarray
    """(N,) bool"""

    @property
    def broken(self) -> int:
        return int((~self.whole).sum())

    @property
    def area(self) -> float:
        """How often doubt is right about a pair of a broken and a whole picture: the broken one has
        more of it. The area under the ROC curve (Mann and Whitney's U over the number of pairs); NaN
        without a pair."""
        pairs = self.broken * (len(self.whole) - self.broken)
        if not pairs:
            return math.nan
        return float(
            mannwhitneyu(self.doubt[~self.whole], self.doubt[self.whole]).statistic / pairs
        )
