"""Score against truth of every epoch, a panel a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from score_trials.choices import RULES, Evidence

COLUMNS = 4


def plot(found: Sequence[Evidence], path: Path, rule: str) -> None:
    """Writes the picture: a colour a rate, and a ring around what `rule` chooses."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(3.2 * columns, 3 * rows), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    rates = sorted({rate for trial in found for rate in trial.rates.values()})
    colours = dict(zip(rates, pyplot.cm.viridis(np.linspace(0, 0.92, len(rates))), strict=True))
    for panel in panels.flat[len(found) :]:
        panel.axis("off")
    for trial, panel in zip(found, panels.flat, strict=False):
        for rate in rates:
            mine = [e for e in trial.epochs if trial.rates[e.bake] == rate]
            panel.scatter(
                [trial.truth[e.bake, e.number] for e in mine], [e.rank for e in mine],
                color=colours[rate], s=20, label=f"{rate:g}",
            )  # fmt: skip
        chosen = RULES[rule](trial)
        panel.scatter(
            trial.truth[chosen.bake, chosen.number], chosen.rank, s=120, facecolors="none",
            edgecolors="black",
        )  # fmt: skip
        panel.set_title(f"{trial.design.character}, {trial.design.data.name}", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("truth")
    for panel in panels[:, 0]:
        panel.set_ylabel("score")
    panels[0][0].legend(title="unet_lr", frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
