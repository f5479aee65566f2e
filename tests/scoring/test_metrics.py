"""Metrics: the records hold together, and docs/scores.md names each of them with its formula."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bakery.scoring import score_tables
from bakery.scoring.diagnostics import DIAGNOSTICS
from bakery.scoring.metric import Metric
from bakery.scoring.metrics import (
    BALANCED,
    COSTS,
    DECISIVE,
    IN_TABLES,
    METRICS,
    ON_PAGE,
    TRADEOFF,
    listed,
)
from bakery.settings.score import Score

DOCS = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")


def paragraph(start: str) -> str:
    """The paragraph or table of docs/scores.md that begins like this."""
    (found,) = [part for part in re.split(r"\n\n+", DOCS) if part.startswith(start)]
    return found


def code(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


@pytest.mark.parametrize("metric", [*IN_TABLES, *DIAGNOSTICS], ids=lambda metric: metric.name)
def test_the_docs_define_every_metric_as_its_record_does(metric: Metric) -> None:
    assert f"\n| {metric.name} | {metric.good} | {metric.formula} |\n" in DOCS


def test_the_docs_name_the_columns_of_every_table() -> None:
    assert code(paragraph("**`epochs.csv`**").partition("metric m of")[2])[:-3] == [
        metric.name for metric in IN_TABLES
    ]
    assert tuple(code(paragraph("**`draws.csv`**"))) == score_tables.DRAWS
    by_weight = [metric.name for metric in IN_TABLES if metric.by_weight]
    key = ["epoch", "weight", "n"]
    assert code(paragraph("**`weights.csv`**"))[: len(key + by_weight)] == key + by_weight
    rows = re.findall(r"^\| (.+?) \|", paragraph("| column | |"), re.M)
    assert tuple(name for row in rows for name in code(row)) == score_tables.SCORES
    assert tuple(code(paragraph("**`cells.csv`**"))) == score_tables.CELLS


def test_diagnostics_decide_nothing_and_the_docs_name_their_columns() -> None:
    assert all(metric.needs and metric.compute for metric in DIAGNOSTICS)
    for metric in DIAGNOSTICS:
        assert not any((metric.cost, metric.balanced, metric.by_weight, metric.remark))
        assert {metric.name, *(column.name for column in metric.columns)} <= set(code(DOCS))


def test_all_that_decides_is_in_the_trade_off() -> None:
    assert all(metric.name in TRADEOFF.formula for metric in DECISIVE)


def test_names_are_unique_and_both_orders_hold_every_metric() -> None:
    names = [metric.name for metric in (*IN_TABLES, *DIAGNOSTICS)]
    assert len(set(names)) == len(names)
    assert sorted(metric.name for metric in ON_PAGE) == sorted(names)
    for columns in (score_tables.SCORES, score_tables.CELLS, score_tables.EPOCHS):
        assert len(set(columns)) == len(columns)


def test_a_cost_is_a_setting_of_the_score_section() -> None:
    assert {metric.cost for metric in COSTS} <= set(Score.model_fields)
    weights = {name for name in Score.model_fields if name.endswith("_weight")}
    assert weights == {metric.cost for metric in COSTS}, "a weight that weighs nothing"


def test_the_trade_off_is_of_two_and_is_itself_no_part_of_it() -> None:
    assert len(BALANCED) == 2
    assert not set(BALANCED) & set(COSTS)
    assert TRADEOFF not in METRICS
    assert TRADEOFF.compute is None
    assert all(metric.compute for metric in METRICS)
    for metric in COSTS:
        assert metric.name in TRADEOFF.meaning
        assert metric.cost in TRADEOFF.formula


def test_loss_looks_to_the_good_end() -> None:
    values = np.array([0.2, np.nan])
    high, low = (Metric(name="m", heading="M", meaning="", formula="", good=g) for g in (1, 0))
    assert high.loss(values)[0] == 0.8
    assert low.loss(values)[0] == 0.2
    assert np.isnan(high.loss(values)[1])


def test_a_remark_begins_where_a_value_is_bad_enough() -> None:
    of = {metric.name: metric for metric in METRICS}
    assert of["leak"].remarkable(0.05)
    assert not of["leak"].remarkable(0.04)
    assert of["clarity"].remarkable(0.79)
    assert not of["clarity"].remarkable(0.8)
    assert not of["drift"].remarkable(1.0), "it has no remark"
    assert not any(metric.remarkable(float("nan")) for metric in METRICS)


def test_lists_are_read_as_sentences() -> None:
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
