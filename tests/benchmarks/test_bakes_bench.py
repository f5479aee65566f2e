"""The benchmark of bakes side by side runs, counts operations, and says what does not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from benchmark_arguments import given
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ceiling
import models
import side_by_side

from bakery.training import train_step


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(ceiling, "SIDES", {"cpu": 256})

    def make(model: str, *words: str) -> side_by_side.Bench:
        asked = given("--warm-up", "1", *words)
        asked.model, asked.rounds = model, 2
        return side_by_side.Bench(asked, tmp_path / model)

    return make


def cells(row: str) -> dict[str, str]:
    found = [cell.strip() for cell in row.strip().strip("|").split("|")]
    return dict(zip(side_by_side.COLUMNS, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "precision"), [("tiny", "no"), ("tiny-sdxl", "bf16")])
def test_a_row_says_what_two_bakes_reach(bench, model, precision):
    made = bench(model, "--mixed-precision", precision, "--batch", "1")
    row = cells(made.row(2))
    assert row["base"] == models.what(made.job)
    assert row["bakes"] == "2"
    assert float(row["throughput over one after another"]) > 0
    assert float(row["what arithmetic allows"]) > 0
    assert row["kohya measured"] == "-"
    assert made.operations > 0
    assert f"({'float32' if precision == 'no' else 'bf16'}, 256 x 256)" in ceiling.sentence(
        made.best, made.operations, made.job
    )


@pytest.mark.slow
def test_what_does_not_fit_has_a_row_and_spoils_no_other(bench, monkeypatch):
    made = bench("tiny")
    real = train_step.step

    def small(context, bakes):
        if len(bakes) > 2:
            raise torch.OutOfMemoryError("out of memory")
        real(context, bakes)

    monkeypatch.setattr(train_step, "step", small)
    assert cells(made.row(3))["seconds a step"] == "does not fit"
    assert float(cells(made.row(2))["seconds a step"]) > 0


def test_operations_of_products_convolutions_and_attention():
    a, image = torch.ones(3, 5, requires_grad=True), torch.ones(1, 2, 8, 8)
    kernel, heads = torch.ones(4, 2, 3, 3), torch.ones(1, 2, 7, 16)
    assert ceiling.operations(lambda: a @ torch.ones(5, 7)) == 2 * 3 * 5 * 7
    assert ceiling.operations(lambda: (a @ torch.ones(5, 7)).sum().backward()) == 2 * 2 * 3 * 5 * 7
    assert ceiling.operations(lambda: F.conv2d(image, kernel)) == 2 * 4 * 2 * 9 * 36
    attention = lambda: F.scaled_dot_product_attention(heads, heads, heads)  # noqa: E731
    assert ceiling.operations(attention) == 2 * 2 * 2 * 7 * 7 * 16
