"""The charts of a page: scores over epochs and over LoRA weights, and fidelity against flexibility."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakery.pages import charts
from bakery.pages.page import fixed, percent
from bakery.report.results import METRICS, Baked, Value

DRAWN = ("fidelity", "flexibility", "leak", "clarity")
"""Scores with a chart of their own, as far as they are known."""
_HEADINGS = {metric.name: metric.heading for metric in METRICS}


@dataclass(frozen=True)
class Figure:
    """A chart with its words; `x` and `y` name its axes."""

    chart: charts.Chart
    heading: str
    caption: str
    x: str
    y: str


CAPTIONS = {
    "fidelity": "How much of the character the trigger alone brings back.",
    "flexibility": "How much of what prompts ask beyond the character is there.",
    "leak": "Outfits and scenes of the training pictures that nobody asked for. Lower is better.",
    "clarity": "How sure the tagger is of what it sees. Burnt pictures fray and leave it in doubt.",
}


def figures(baked: Sequence[Baked], best: tuple[int, int] | None) -> list[Figure]:
    """Every chart that the scores allow; `best` is the recommended (bake, epoch)."""
    found = [_trade_off(baked, best)]
    for name in DRAWN:
        if any(epoch.score(name).known for one in baked for epoch in one.epochs):
            found.append(_by_epoch(baked, name, best))
    found.append(_loss(baked, best))
    if best and (weights := _weights(baked[best[0]], best[1])):
        found.append(weights)
    return found


def _by_epoch(baked: Sequence[Baked], name: str, best: tuple[int, int] | None) -> Figure:
    def series(one: Baked) -> charts.Series:
        values = [(epoch.number, epoch.score(name)) for epoch in one.epochs]
        said = f"{one.bake.label}, epoch"
        return charts.Series(
            one.bake.label,
            [(n, v.value, f"{said} {n}: {_HEADINGS[name].lower()} {_said(v)}") for n, v in values],
            [(n, v.low, v.high) for n, v in values],
        )

    levels = {one.base.score(name).value for one in baked}
    ring = (best[1], baked[best[0]].epoch(best[1]).score(name).value) if best else None
    top = max((e.score(name).value for one in baked for e in one.epochs if e.score(name).known),
              default=1.0)  # fmt: skip
    bands = [e.score(name).high for one in baked for e in one.epochs]
    top = max([top, *(high for high in bands if math.isfinite(high))])
    chart = charts.lines(
        [series(one) for one in baked],
        y_range=(0.0, 1.0) if name != "leak" or top > 0.5 else (0.0, 0.5),
        reference=levels.pop() if len(levels) == 1 else None,
        percent=True,
        ring=ring,
    )
    return Figure(chart, _HEADINGS[name], CAPTIONS[name], "epoch", name)


def _loss(baked: Sequence[Baked], best: tuple[int, int] | None) -> Figure:
    series = [
        charts.Series(
            one.bake.label,
            [
                (e.number, e.loss, f"{one.bake.label}, epoch {e.number}: loss {fixed(e.loss, 4)}")
                for e in one.epochs
            ],
        )
        for one in baked
    ]
    ring = (best[1], baked[best[0]].epoch(best[1]).loss) if best else None
    caption = "Mean training loss of each epoch. A lower loss is not a better picture."
    return Figure(charts.lines(series, ring=ring), "Loss", caption, "epoch", "loss")


def _trade_off(baked: Sequence[Baked], best: tuple[int, int] | None) -> Figure:
    def series(one: Baked) -> charts.Series:
        points = []
        for epoch in one.epochs:
            fidelity, flexibility = epoch.score("fidelity"), epoch.score("flexibility")
            note = (
                f"{one.bake.label}, epoch {epoch.number}: fidelity {percent(fidelity.value)}, "
                f"flexibility {percent(flexibility.value)}"
            )
            if epoch.score("tradeoff").known:
                note += f", score {fixed(epoch.score('tradeoff').value)}"
            points.append((flexibility.value, fidelity.value, note))
        return charts.Series(one.bake.label, points)

    ring = None
    if best:
        epoch = baked[best[0]].epoch(best[1])
        ring = (epoch.score("flexibility").value, epoch.score("fidelity").value)
    caption = (
        "Up is more of the character, right is more of what was asked. Dotted curves join equal "
        "harmonic means; a line follows a bake from the base through its epochs."
    )
    chart = charts.trade_off([series(one) for one in baked], ring)
    return Figure(chart, "Trade-off", caption, "flexibility", "fidelity")


def _weights(one: Baked, epoch: int) -> Figure | None:
    """Fidelity and flexibility by LoRA weight, of `epoch` or else the one that was drawn at several.

    None where no epoch was.
    """
    by_epoch: dict[int, list[tuple[float, Mapping[str, Value]]]] = {}
    for number, weight, scores in one.weights:
        by_epoch.setdefault(number, []).append((weight, scores))
    several = [number for number, rows in by_epoch.items() if number and len(rows) > 1]
    if not several:
        return None
    drawn = epoch if epoch in several else several[-1]
    rows = sorted(by_epoch[drawn], key=lambda row: row[0])

    def series(name: str) -> charts.Series:
        values: list[tuple[float, Value]] = [(w, scores.get(name, Value())) for w, scores in rows]
        return charts.Series(
            _HEADINGS[name],
            [
                (w, v.value, f"weight {w:g}: {_HEADINGS[name].lower()} {_said(v)}")
                for w, v in values
            ],
            [(w, v.low, v.high) for w, v in values],
        )

    preferred: Mapping[str, Value] = dict(rows).get(one.preferred_weight or math.nan, {})
    ring = (one.weight, preferred["fidelity"].value) if "fidelity" in preferred else None
    chart = charts.lines(
        [series("fidelity"), series("flexibility")],
        y_range=(0.0, 1.0),
        percent=True,
        ring=ring,
        whole=False,
    )
    caption = f"Epoch {drawn} at other LoRA weights; {one.weight:g} is the one to start from."
    return Figure(chart, "LoRA weight", caption, "weight", "share")


def _said(value: Value) -> str:
    if math.isfinite(value.low) and math.isfinite(value.high):
        return f"{percent(value.value)} ({percent(value.low)} to {percent(value.high)})"
    return percent(value.value)
