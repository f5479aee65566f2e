"""Charts: points where they belong, round ticks, lines of equal balance."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.pages import charts
from bakery.pages.charts import Series


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+),([-\d.]+)", path)]


def test_a_line_goes_through_its_points_in_proportion() -> None:
    series = Series("a", [(0, 0.0, "x"), (1, 0.5, "y"), (3, 1.0, "z")])
    chart = charts.lines([series], y_range=(0, 1), reference=0.25, percent=True)
    (x0, y0), (x1, y1), (x3, y3) = points(chart.series[0].path)
    assert x1 - x0 == pytest.approx((x3 - x0) / 3, abs=0.02)
    assert y0 == charts.HEIGHT - charts.BOTTOM
    assert y3 == charts.TOP
    assert y1 == (y0 + y3) / 2
    assert chart.reference == pytest.approx(y0 + (y3 - y0) / 4)
    assert [text for _, text in chart.x_ticks] == ["0", "1", "3"]
    assert [text for _, text in chart.y_ticks] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert [mark.note for mark in chart.series[0].marks] == ["x", "y", "z"]


def test_the_band_runs_along_the_top_and_back_along_the_bottom() -> None:
    series = Series("a", [(0, 0.5, ""), (1, 0.5, "")], [(0, 0.4, 0.6), (1, 0.2, 0.8)])
    band = charts.lines([series], y_range=(0, 1)).series[0].band
    (_, a), (_, b), (_, c), (_, d) = points(band)
    assert b < a < d < c
    assert band.endswith("Z")


def test_missing_values_are_left_out() -> None:
    series = Series("a", [(0, math.nan, ""), (1, 0.5, "b")], [(0, math.nan, 1.0)])
    chart = charts.lines([series, Series("empty", [])], reference=math.nan)
    assert [mark.note for mark in chart.series[0].marks] == ["b"]
    assert chart.series[0].band == ""
    assert chart.series[1].path == ""
    assert chart.reference is None
    assert "nan" not in repr(charts.lines([])) + repr(charts.trade_off([]))


def test_many_epochs_get_few_labels() -> None:
    series = Series("a", [(n, 0.1 * n, "") for n in range(1, 101)])
    assert len(charts.lines([series]).x_ticks) <= 12


def test_parts_of_an_epoch_stay_inside() -> None:
    chart = charts.lines([Series("rate", [(0, 0.0, ""), (0.5, 1.0, ""), (1.9, 0.0, "")])])
    assert [text for _, text in chart.x_ticks] == ["0", "1", "2"]
    (x0, _), (x1, _), (x2, _) = points(chart.series[0].path)
    assert x0 == chart.x_ticks[0][0]
    assert x1 == pytest.approx((chart.x_ticks[0][0] + chart.x_ticks[1][0]) / 2, abs=0.02)
    assert x2 < chart.x_ticks[2][0] <= charts.WIDTH - charts.RIGHT


def test_curves_of_equal_balance_have_that_harmonic_mean() -> None:
    chart = charts.trade_off([Series("a", [(0.0, 0.0, ""), (1.0, 1.0, "")])])
    (left, bottom), (right, top) = points(chart.series[0].path)
    assert len(chart.contours) == 4
    for path, _, _, label in chart.contours:
        for x, y in points(path):
            flexibility, fidelity = (x - left) / (right - left), (y - bottom) / (top - bottom)
            mean = 2 * flexibility * fidelity / (flexibility + fidelity)
            assert mean == pytest.approx(float(label), abs=0.005)
            assert flexibility < 1.001
            assert fidelity < 1.001


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_span_the_values(low: float, span: float) -> None:
    high = low + span
    if span < 1e-6 * abs(low):  # beyond what ten decimals can tell apart
        return
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6
    slack = 1e-6 * span + 1e-9
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
    leading = float(f"{steps[0]:e}".split("e")[0])
    assert min(abs(leading - digit) for digit in (1, 2, 2.5, 5, 10)) < 1e-2


def test_equal_values_still_make_an_axis() -> None:
    assert charts.ticks(0.2, 0.2)[-1] > 0.2
    assert charts.ticks(0, 0) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_the_ring_is_around_its_point() -> None:
    series = Series("a", [(0, 0.2, ""), (1, 0.8, "")])
    chart = charts.lines([series], y_range=(0, 1), ring=(1, 0.8))
    assert chart.ring == points(chart.series[0].path)[1]
    assert charts.lines([series], ring=(1, math.nan)).ring is None
    assert charts.trade_off([series], (0.5, 0.5)).ring is not None
    assert charts.trade_off([series]).ring is None


def test_weights_that_are_no_whole_numbers_have_ticks() -> None:
    series = Series("a", [(0.4, 0.2, ""), (0.8, 0.5, ""), (1.2, 0.6, "")])
    chart = charts.lines([series], whole=False)
    assert [text for _, text in chart.x_ticks] == ["0.4", "0.8", "1.2"]
    left, middle, right = (x for x, _ in chart.x_ticks)
    assert middle - left == pytest.approx(right - middle, abs=0.02)


@given(st.permutations(range(20)))
def test_colours_go_to_the_best_and_never_twice(ranks: list[int]) -> None:
    styles = charts.styles(ranks)
    coloured = [i for i, style in enumerate(styles) if style != "rest"]
    assert {ranks[i] for i in coloured} == set(range(charts.COLOURS))
    assert len({styles[i] for i in coloured}) == charts.COLOURS
    assert charts.styles(ranks[:3]) == ["s0", "s1", "s2"]
    assert len({charts.shape(style) for style in styles}) == charts.COLOURS
