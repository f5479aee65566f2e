"""Geometry of line charts and scatter plots for inline SVG.

This computes numbers and path strings in a box of `WIDTH` x `HEIGHT` user units, y
downwards; colours and text are up to the template that draws them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 38, 14, 40
"""Room around the plot for the labels of its axes."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """What is plotted of one bake: (x, y, note) of each point, and (x, low, high) of its band."""

    label: str
    points: Sequence[tuple[float, float, str]]
    band: Sequence[tuple[float, float, float]] = ()


SHAPES = (
    "M-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0Z",  # circle
    "M-3.3,-3.3H3.3V3.3H-3.3Z",  # square
    "M0,-4.7L4.7,0L0,4.7L-4.7,0Z",  # diamond
    "M0,-4.4L4.4,3.4H-4.4Z",  # triangle
    "M0,4.4L4.4,-3.4H-4.4Z",  # triangle on its tip
    "M-1.5,-4.4H1.5V-1.5H4.4V1.5H1.5V4.4H-1.5V1.5H-4.4V-1.5H-1.5Z",  # plus
    "M-4.4,-2.4H4.4V2.4H-4.4Z",  # bar
    "M-2.4,-4.4H2.4V4.4H-2.4Z",  # upright bar
)
"""Outlines of a point around its centre, for readers who cannot distinguish the colours."""
COLOURS = len(SHAPES)
"""Colours that the style sheet has, `s0` to `s7`; a line beyond them is drawn grey."""


@dataclass(frozen=True)
class Mark:
    """A point with the text that explains it."""

    x: float
    y: float
    note: str


@dataclass(frozen=True)
class Drawn:
    """One series as SVG: `path` of its line, `band` of its area, and its dots."""

    label: str
    path: str
    band: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Chart:
    """A whole chart: series, ticks as (position, text), and further lines."""

    series: Sequence[Drawn]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    reference: float | None = None
    """y of the dashed line that the series are compared with."""
    contours: Sequence[tuple[str, float, float, str]] = field(default=())
    """(path, x and y of its label, label) of each curve of equal harmonic mean."""
    ring: Point | None = None
    """The centre of the highlighted point."""


@dataclass(frozen=True)
class Scale:
    """A linear map from data to user units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def lines(
    series: Sequence[Series],
    *,
    y_range: tuple[float, float] | None = None,
    reference: float | None = None,
    percent: bool = False,
    ring: Point | None = None,
    whole: bool = True,
) -> Chart:
    """A chart of values by epoch (or parts of one), or by weight. Points that are NaN are left out.

    Without `y_range` the axis spans the values. `reference` is a level to compare with, `ring` the
    point (x, y) to highlight. The x axis is labelled at `whole` numbers, else at each value.
    """
    series = [_finite(one) for one in series]
    epochs = _places({x for one in series for x, _, _ in one.points}, whole)
    values = [y for one in series for _, y, _ in one.points]
    first, last = (epochs[0], epochs[-1]) if epochs else (0, 1)
    x = Scale(first, last if last > first else first + 1, LEFT + 8, WIDTH - RIGHT - 8)
    y_ticks = ticks(*(y_range or (min(values, default=0.0), max(values, default=1.0))))
    bottom, top = y_range or (y_ticks[0], y_ticks[-1])
    y = Scale(bottom, top, HEIGHT - BOTTOM, TOP)
    step = max(1, math.ceil(len(epochs) / 12))
    level = reference if reference is not None and math.isfinite(reference) else None
    return Chart(
        series=[_drawn(one, x, y) for one in series],
        x_ticks=[(x(epoch), f"{epoch:g}") for epoch in epochs[::step]],
        y_ticks=[(y(t), f"{100 * t:.0f}%" if percent else f"{t:g}") for t in y_ticks],
        reference=None if level is None else y(level),
        ring=_centre(ring, x, y),
    )


def trade_off(series: Sequence[Series], ring: Point | None = None) -> Chart:
    """Fidelity (y) against flexibility (x), both from 0 to 1, with curves of equal harmonic mean.

    Points with the harmonic mean b lie on y = b x / (2 x - b); the curve leaves the unit square at
    (b / (2 - b), 1) and (1, b / (2 - b)).
    """
    series = [_finite(one) for one in series]
    x = Scale(0, 1, LEFT + 8, WIDTH - RIGHT)
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    grid = ticks(0, 1)
    contours = []
    for mean in (0.2, 0.4, 0.6, 0.8):
        least = mean / (2 - mean)
        steps = [least ** (1 - i / 40) for i in range(41)]  # denser where the curve is steep
        curve = [(x(s), y(mean * s / (2 * s - mean))) for s in steps]
        contours.append((path(curve), x(1) + 4, y(least) + 4, f"{mean:g}"))
    return Chart(
        series=[_drawn(one, x, y) for one in series],
        x_ticks=[(x(t), f"{100 * t:.0f}%") for t in grid],
        y_ticks=[(y(t), f"{100 * t:.0f}%") for t in grid],
        contours=contours,
        ring=_centre(ring, x, y),
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most` of them."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / (most - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 2.5, 5, 10, 20):
        step = factor * unit
        start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if end - start < most:
            break
    return [round(i * step, 10) for i in range(start, end + 1)]


def path(points: Iterable[Point]) -> str:
    """An SVG path through `points`; "" for none."""
    joined = "L".join(f"{x:g},{y:g}" for x, y in points)
    return f"M{joined}" if joined else ""


def styles(ranks: Sequence[int]) -> list[str]:
    """The class of each line: colours for all if there are enough, else for the best ranked.

    `ranks[i]` is the place of line i, 0 the best. Lines keep their order, so that neighbours differ.
    """
    chosen = sorted(sorted(range(len(ranks)), key=ranks.__getitem__)[:COLOURS])
    return [f"s{chosen.index(i)}" if i in chosen else "rest" for i in range(len(ranks))]


def shape(style: str) -> str:
    """The outline of a point of a line of that class."""
    return SHAPES[int(style[1:])] if style[1:].isdigit() else SHAPES[0]


def _centre(ring: Point | None, x: Scale, y: Scale) -> Point | None:
    known = ring is not None and math.isfinite(ring[0]) and math.isfinite(ring[1])
    return (x(ring[0]), y(ring[1])) if ring is not None and known else None


def _places(xs: set[float], whole: bool) -> list[float]:
    """Where the x axis is labelled: at each value, or at the whole ones around them."""
    if whole:
        xs = {float(end(x)) for x in xs for end in (math.floor, math.ceil)}
    return sorted(xs)


def _finite(series: Series) -> Series:
    return Series(
        series.label,
        [p for p in series.points if math.isfinite(p[0]) and math.isfinite(p[1])],
        [b for b in series.band if all(map(math.isfinite, b))],
    )


def _drawn(series: Series, x: Scale, y: Scale) -> Drawn:
    upper = [(x(at), y(high)) for at, _, high in series.band]
    lower = [(x(at), y(low)) for at, low, _ in reversed(series.band)]
    return Drawn(
        label=series.label,
        path=path((x(at), y(value)) for at, value, _ in series.points),
        band=path(upper + lower) + "Z" if upper else "",
        marks=[Mark(x(at), y(value), note) for at, value, note in series.points],
    )
