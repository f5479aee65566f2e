"""The charts of a page: scores over epochs and over LoRA weights, and fidelity against flexibility."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakery.pages import charts
from bakery.pages.page import fixed, percent
from bakery.report.results import BakeResult, Estimate
from bakery.scoring.diagnostics import DIAGNOSTICS
from bakery.scoring.metric import Metric
from bakery.scoring.metrics import METRICS, TRADEOFF


@dataclass(frozen=True)
class Figure:
    """A chart with its words; `x` and `y` name its axes."""

    chart: charts.Chart
    heading: str
    caption: str
    x: str
    y: str


def figures(baked: Sequence[BakeResult], best: tuple[int, int] | None) -> list[Figure]:
    """Every chart that the scores allow; `best` is the recommended (bake, epoch)."""
    found = [_trade_off(baked, best)]
    for metric in (*METRICS, *DIAGNOSTICS):
        known = any(epoch.score(metric.name).known for one in baked for epoch in one.epochs)
        if metric.chart and known:
            found.append(_by_epoch(baked, metric, best))
    found.append(_loss(baked, best))
    if any(one.held_out for one in baked):
        found.append(_held_out(baked, best))
    if best and (weights := _weights(baked[best[0]], best[1])):
        found.append(weights)
    return found


def _by_epoch(baked: Sequence[BakeResult], metric: Metric, best: tuple[int, int] | None) -> Figure:
    def series(one: BakeResult) -> charts.Series:
        values = [(epoch.number, epoch.score(metric.name)) for epoch in one.epochs]
        said = f"{one.bake.label}, epoch"
        return charts.Series(
            one.bake.label,
            [(n, v.value, f"{said} {n}: {_said(metric, v)}") for n, v in values],
            [(n, v.low, v.high) for n, v in values],
        )

    values = [epoch.score(metric.name) for one in baked for epoch in one.epochs]
    levels = {one.base.score(metric.name).value for one in baked}
    ring = (best[1], baked[best[0]].epoch(best[1]).score(metric.name).value) if best else None
    heights = [height for v in values for height in (v.value, v.high) if math.isfinite(height)]
    low = not metric.good and max(heights) <= 0.5
    chart = charts.lines(
        [series(one) for one in baked],
        y_range=(0.0, 0.5) if low else (0.0, 1.0),
        reference=levels.pop() if len(levels) == 1 else None,
        percent=True,
        ring=ring,
    )
    return Figure(chart, metric.heading, metric.chart, "epoch", metric.name)


def _loss(baked: Sequence[BakeResult], best: tuple[int, int] | None) -> Figure:
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


def _held_out(baked: Sequence[BakeResult], best: tuple[int, int] | None) -> Figure:
    series = [
        charts.Series(
            one.bake.label,
            [
                (n, loss, f"{one.bake.label}, epoch {n}: held-out loss {fixed(loss, 4)}")
                for n, loss in one.held_out
            ],
        )
        for one in baked
    ]
    found = dict(baked[best[0]].held_out) if best else {}
    ring = (best[1], found[best[1]]) if best and best[1] in found else None
    caption = (
        "Mean loss on the pictures that were not trained on, on the same noise each time. It counts for "
        "no score and is no judge of an epoch: where it rises while the loss beside it falls, the bake "
        "learns its pictures by heart."
    )
    return Figure(charts.lines(series, ring=ring), "Held-out loss", caption, "epoch", "loss")


def _trade_off(baked: Sequence[BakeResult], best: tuple[int, int] | None) -> Figure:
    def series(one: BakeResult) -> charts.Series:
        points = []
        for epoch in one.epochs:
            fidelity, flexibility = epoch.score("fidelity"), epoch.score("flexibility")
            note = (
                f"{one.bake.label}, epoch {epoch.number}: fidelity {percent(fidelity.value)}, "
                f"flexibility {percent(flexibility.value)}"
            )
            if (score := epoch.score(TRADEOFF.name)).known:
                note += f", {TRADEOFF.heading.lower()} {fixed(score.value)}"
            points.append((flexibility.value, fidelity.value, note))
        return charts.Series(one.bake.label, points)

    ring = None
    if best:
        epoch = baked[best[0]].epoch(best[1])
        ring = (epoch.score("flexibility").value, epoch.score("fidelity").value)
    caption = (
        "Higher: more of the character. Farther right: more of what was asked. Dotted curves join equal "
        "harmonic means; a line follows a bake from the base through its epochs."
    )
    chart = charts.trade_off([series(one) for one in baked], ring)
    return Figure(chart, "Trade-off", caption, "flexibility", "fidelity")


def _weights(one: BakeResult, epoch: int) -> Figure | None:
    """Scores by LoRA weight, of `epoch` or else the one that was drawn at several.

    None where no epoch was.
    """
    by_epoch: dict[int, list[tuple[float, Mapping[str, Estimate]]]] = {}
    for number, weight, scores in one.weights:
        by_epoch.setdefault(number, []).append((weight, scores))
    several = [number for number, rows in by_epoch.items() if number and len(rows) > 1]
    if not several:
        return None
    drawn = epoch if epoch in several else several[-1]
    rows = sorted(by_epoch[drawn], key=lambda row: row[0])

    def series(metric: Metric) -> charts.Series:
        values = [(weight, scores.get(metric.name, Estimate())) for weight, scores in rows]
        return charts.Series(
            metric.heading,
            [(w, v.value, f"weight {w:g}: {_said(metric, v)}") for w, v in values],
            [(w, v.low, v.high) for w, v in values],
        )

    preferred: Mapping[str, Estimate] = dict(rows).get(one.preferred_weight or math.nan, {})
    ring = (one.weight, preferred["fidelity"].value) if "fidelity" in preferred else None
    chart = charts.lines(
        [series(metric) for metric in METRICS if metric.by_weight],
        y_range=(0.0, 1.0),
        percent=True,
        ring=ring,
        whole=False,
    )
    caption = f"Epoch {drawn} at other LoRA weights; {one.weight:g} is the one to start from."
    return Figure(chart, "LoRA weight", caption, "weight", "share")


def _said(metric: Metric, value: Estimate) -> str:
    """`leak 12% (3% to 20%)`"""
    said = f"{metric.heading.lower()} {percent(value.value)}"
    if math.isfinite(value.low) and math.isfinite(value.high):
        said += f" ({percent(value.low)} to {percent(value.high)})"
    return said
