"""The score stage's tables: a row for each picture, cell, epoch, weight and bootstrap draw.

docs/scores.md says what their columns mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bakery.io import tables
from bakery.scoring import bootstrap, metrics, observations
from bakery.scoring.measures import Numbers
from bakery.scoring.observations import Sightings

READ = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
"""Columns of samples.csv that scores are made from."""
SCORES = (
    "epoch", "weight", "prompt_id", "purpose", "prompt", "seed", "image", "asked", "found", "score",
    "traits_seen", "leaked", "doubt", "drift", "nearest", "nearest_bits", "memorised", "broken",
    "likeness",
)  # fmt: skip
CELLS = (
    "epoch", "weight", "prompt_id", "purpose", "n", "score", "score_low", "score_high",
    "traits_seen", "leaked", "doubt", "drift", "memorised", "broken",
)  # fmt: skip
DRAWN = ("fidelity", "flexibility", "leak", "bleed", "clarity", "tradeoff")
"""Metrics whose draws are kept: what the recommendation compares epochs by."""
DRAWS = ("epoch", "draw", *DRAWN)
ANSWERS = ("fidelity", "flexibility", "tradeoff")
"""Metrics of weights.csv."""


def _bounded(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(column for m in names for column in (m, f"{m}_low", f"{m}_high"))


EPOCHS = ("epoch", "n", *_bounded(metrics.NAMES))
WEIGHTS = ("epoch", "weight", "n", *_bounded(ANSWERS))


def picture_rows(seen: Sightings, look: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """scores.csv"""
    for row, record in enumerate(seen.samples.to_dict("records")):
        asked, found = seen.asked[row], seen.found[row]
        shown = [seen.traits[i] for i in np.flatnonzero(seen.trait_seen[row])]
        facts = look.iloc[row].to_dict()
        whole = {name: _whole(facts[name]) for name in ("nearest_bits", "memorised", "broken")}
        yield {
            **record,
            **facts,
            **whole,
            "weight": f"{record['weight']:g}",
            "asked": tables.join(asked),
            "found": tables.join(found),
            "score": _short(len(found) / len(asked)) if asked else None,
            "traits_seen": tables.join(shown),
            "leaked": tables.join(seen.leaked[row]),
            "doubt": _short(_doubt(seen, [row])),
            "drift": _short(seen.drift[row]),
            "likeness": _short(facts["likeness"]),
        }


def cell_rows(seen: Sightings, look: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """cells.csv: means over the seeds of a prompt."""
    traits = len(seen.traits)
    for (epoch, weight, prompt), part in seen.samples.groupby(
        ["epoch", "weight", "prompt_id"], sort=False
    ):
        rows = part.index.to_numpy()
        draws = bootstrap.resample(list(part["purpose"]), [prompt] * len(rows), list(part["seed"]))
        score = metrics.recall(draws.times, seen.found_count[rows], seen.asked_count[rows])
        low, high = bootstrap.interval(score)
        judged = part["purpose"].iloc[0] in observations.JUDGED
        leaked = [len(seen.leaked[row]) for row in rows]
        yield {
            "epoch": epoch,
            "weight": f"{weight:g}",
            "prompt_id": prompt,
            "purpose": part["purpose"].iloc[0],
            "n": len(rows),
            "score": _short(score[0]),
            "score_low": _short(low),
            "score_high": _short(high),
            "traits_seen": _short(seen.trait_seen[rows].mean()) if traits else None,
            "leaked": _short(np.mean(leaked)) if judged else None,
            "doubt": _short(_doubt(seen, rows)),
            "drift": _short(seen.drift[rows].mean()),
            "memorised": _short(look["memorised"].to_numpy(float)[rows].mean()),
            "broken": _short(look["broken"].to_numpy(float)[rows].mean()),
        }


def row(key: Mapping[str, Any], count: int, numbers: Numbers) -> dict[str, Any]:
    row = {**key, "n": count}
    for name, values in numbers.items():
        low, high = bootstrap.interval(values)
        row |= {name: _short(values[0]), f"{name}_low": _short(low), f"{name}_high": _short(high)}
    return row


def draw_rows(epochs: Mapping[int, tuple[int, Numbers]]) -> Iterator[dict[str, Any]]:
    for epoch, (_, numbers) in epochs.items():
        for draw in range(len(numbers["tradeoff"]) - 1):
            values = {name: _short(numbers[name][1 + draw]) for name in DRAWN}
            yield {"epoch": epoch, "draw": draw, **values}


def _doubt(seen: Sightings, rows: Sequence[int]) -> float:
    """Bits a tag, over these pictures; NaN where no tag is expected."""
    tags = seen.expected[rows].sum()
    return seen.doubt[rows].sum() / tags if tags else math.nan


def _short(value: float) -> float:
    return round(float(value), 4)


def _whole(value: float) -> str:
    return "" if math.isnan(value) else str(int(value))
