"""The score stage's tables: a row for each picture, cell, epoch, weight and bootstrap draw.

docs/scores.md explains their columns. Those of a metric are in its record (`metrics`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bakery.io import tables
from bakery.scoring import bootstrap, formulas
from bakery.scoring.diagnostics import DIAGNOSTICS
from bakery.scoring.metric import Numbers, PictureColumn, ScoreInputs
from bakery.scoring.metrics import DECISIVE, IN_TABLES, METRICS, TRADEOFF

READ = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
"""Columns of samples.csv that scores are made from."""
_OF_PICTURES = tuple(column for metric in METRICS for column in metric.columns)
SCORES = (
    "epoch", "weight", "prompt_id", "purpose", "prompt", "seed", "image", "asked", "found", "score",
    *(column.name for column in _OF_PICTURES),
)  # fmt: skip
CELLS = (
    "epoch", "weight", "prompt_id", "purpose", "n", "score", "score_low", "score_high",
    *(column.name for column in _OF_PICTURES if column.mean),
)  # fmt: skip
DRAWN = tuple(metric.name for metric in (*DECISIVE, TRADEOFF))
"""Metrics whose draws are kept: what the recommendation compares epochs by."""
DRAWS = ("epoch", "draw", *DRAWN)
EPOCHS = ("epoch", "n", *(name for metric in IN_TABLES for name in metric.bounds))
WEIGHTS = (
    "epoch", "weight", "n",
    *(name for metric in IN_TABLES if metric.by_weight for name in metric.bounds),
)  # fmt: skip


def scores(inputs: ScoreInputs) -> tuple[str, ...]:
    """Columns of scores.csv: `SCORES`, and those of the diagnostics that apply."""
    return (*SCORES, *(column.name for column in _further(inputs)))


def cells(inputs: ScoreInputs) -> tuple[str, ...]:
    """Columns of cells.csv: `CELLS`, and those of the diagnostics that apply."""
    return (*CELLS, *(column.name for column in _further(inputs) if column.mean))


def epochs(inputs: ScoreInputs) -> tuple[str, ...]:
    """Columns of epochs.csv: `EPOCHS`, and those of the diagnostics that apply."""
    return (*EPOCHS, *(name for m in DIAGNOSTICS if m.applies(inputs) for name in m.bounds))


def _further(inputs: ScoreInputs) -> list[PictureColumn]:
    return [column for m in DIAGNOSTICS if m.applies(inputs) for column in m.columns]


def picture_rows(inputs: ScoreInputs) -> Iterator[dict[str, Any]]:
    """scores.csv"""
    seen = inputs.seen
    columns = {
        column.name: _written(column, inputs) for column in (*_OF_PICTURES, *_further(inputs))
    }
    for row, record in enumerate(tables.records(seen.samples)):
        asked, found = seen.asked[row], seen.found[row]
        yield {
            **record,
            "weight": f"{record['weight']:g}",
            "asked": tables.join(asked),
            "found": tables.join(found),
            "score": _short(len(found) / len(asked)) if asked else None,
            **{name: column[row] for name, column in columns.items()},
        }


def cell_rows(inputs: ScoreInputs) -> Iterator[dict[str, Any]]:
    """cells.csv: means over the seeds of a prompt."""
    seen = inputs.seen
    of_cells = [column for column in (*_OF_PICTURES, *_further(inputs)) if column.mean]
    for (epoch, weight, prompt), part in seen.samples.groupby(
        ["epoch", "weight", "prompt_id"], sort=False
    ):
        rows = part.index.to_numpy()
        draws = bootstrap.resample(
            list(part["purpose"]), [str(prompt)] * len(rows), list(part["seed"])
        )
        score = formulas.recall(draws.times, seen.found_count[rows], seen.asked_count[rows])
        low, high = bootstrap.interval(score)
        yield {
            "epoch": epoch,
            "weight": f"{weight:g}",
            "prompt_id": prompt,
            "purpose": part["purpose"].iloc[0],
            "n": len(rows),
            "score": _short(score[0]),
            "score_low": _short(low),
            "score_high": _short(high),
            **{one.name: _short(one.mean(inputs, rows)) for one in of_cells if one.mean},
        }


def row(key: Mapping[str, Any], count: int, numbers: Numbers) -> dict[str, Any]:
    """A row of epochs.csv or weights.csv: what was measured, and its interval."""
    row = {**key, "n": count}
    for name, values in numbers.items():
        low, high = bootstrap.interval(values)
        row |= {name: _short(values[0]), f"{name}_low": _short(low), f"{name}_high": _short(high)}
    return row


def draw_rows(epochs: Mapping[int, tuple[int, Numbers]]) -> Iterator[dict[str, Any]]:
    for epoch, (_, numbers) in epochs.items():
        for draw in range(len(numbers[TRADEOFF.name]) - 1):
            values = {name: _short(numbers[name][1 + draw]) for name in DRAWN}
            yield {"epoch": epoch, "draw": draw, **values}


def _written(column: PictureColumn, inputs: ScoreInputs) -> list[str | float]:
    """The cells of a column, numbers as short as they are written."""
    number = _whole if column.whole else _short
    return [v if isinstance(v, str) else number(v) for v in column.values(inputs)]


def _short(value: float) -> float:
    return round(float(value), 4)


def _whole(value: float) -> str:
    return "" if math.isnan(value) else str(int(value))
