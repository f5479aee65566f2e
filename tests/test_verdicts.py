"""Verdicts: the best by harmonic mean, and sentences that are true of the numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bakery.verdicts import Epoch, judge


def bake(label: str, *scores: tuple[float, float], **more: Any) -> list[Epoch]:
    return [Epoch(label, number, f, x, **more) for number, (f, x) in enumerate(scores)]


def test_balance_is_the_harmonic_mean() -> None:
    assert Epoch("a", 1, 0.5, 1.0).balance == pytest.approx(2 / 3)
    assert Epoch("a", 1, 1.0, 0.0).balance == 0
    assert Epoch("a", 1, 0.0, 0.0).balance == 0
    assert math.isnan(Epoch("a", 1, math.nan, 1.0).balance)


def test_the_best_epoch_of_all_bakes_wins_and_the_reason_names_its_numbers() -> None:
    verdict = judge(
        [
            bake("low", (0.2, 0.9), (0.3, 0.9), (0.4, 0.9)),
            bake("high", (0.2, 0.9), (0.8, 0.8), (1.0, 0.3)),
        ]
    )
    assert (verdict.best.bake, verdict.best.number) == ("high", 1)
    assert verdict.title == "high, epoch 1"
    assert list(verdict.reasons) == [
        "The trigger alone brings back 80% of the character (the base: 20%), and 80% of what the "
        "prompts ask beyond it is in the pictures (the base: 90%).",
        "Their harmonic mean, the balance, is 0.80: the highest of 4 epochs in 2 bakes.",
        "Next is low, epoch 2, with 0.55.",
    ]


def test_one_bake_is_not_named() -> None:
    verdict = judge([bake("only", (0.2, 0.9), (0.5, 0.9), (0.4, 0.9))])
    assert verdict.title == "Epoch 1"
    assert "the highest of 2 epochs." in verdict.reasons[1]
    assert verdict.reasons[2] == "Next is epoch 2 with 0.55."


def test_of_equals_the_earlier_epoch_wins_then_the_earlier_bake() -> None:
    late = bake("late", (0.1, 0.9), (0.2, 0.9), (0.8, 0.8))
    early = bake("early", (0.1, 0.9), (0.8, 0.8), (0.2, 0.9))
    verdict = judge([late, early])
    assert verdict.title == "early, epoch 1"
    assert "just as good; the earlier epoch wins" in verdict.reasons[2]
    assert judge([early, bake("twin", *[(e.fidelity, e.flexibility) for e in early])]).title == (
        "early, epoch 1"
    )


def test_a_bake_that_only_spoils_the_base_is_said_to() -> None:
    verdict = judge([bake("burnt", (0.5, 0.9), (1.0, 0.1), (1.0, 0.2))])
    assert verdict.title == "No epoch beats the base"
    assert "reaches a balance of 0.64" in verdict.reasons[1]
    assert "0.33" in verdict.reasons[1]


@pytest.mark.parametrize(("spread", "close"), [(0.1, True), (0.01, False)])
def test_a_rival_within_the_seeds_spread_is_called_close(spread: float, close: bool) -> None:
    def epoch(number: int, score: float) -> Epoch:
        ends = (score - spread, score + spread) * 2
        return Epoch("a", number, score, score, *ends)

    verdict = judge([[epoch(0, 0.1), epoch(1, 0.80), epoch(2, 0.75)]])
    assert ("too close to tell apart" in verdict.reasons[2]) == close


def test_a_best_last_epoch_suggests_to_bake_longer() -> None:
    rising = bake("a", (0.1, 0.9), (0.5, 0.9), (0.7, 0.9))
    assert any("more epochs" in reason for reason in judge([rising]).reasons)
    assert not any("more epochs" in r for r in judge([bake("a", (0.1, 0.9), (0.5, 0.9))]).reasons)


def test_without_numbers_there_is_no_verdict_but_a_reason() -> None:
    nan = math.nan
    verdict = judge([bake("a", (nan, 0.9), (nan, 0.8))])
    assert verdict.best is None
    assert verdict.title == "No verdict"
    assert verdict.reasons[0] == "The samples say nothing about fidelity."
    verdict = judge([bake("a", (nan, nan), (0.5, nan), (nan, 0.5))])
    assert "fidelity and flexibility together" in verdict.reasons[0]
    assert judge([bake("a", (0.1, 0.9))]).title == "Nothing to compare"
