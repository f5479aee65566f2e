"""Recommendations: the best trade-off, and sentences that are true of the numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bakery.report.recommendation import EpochScore, recommend


def plain(label: str, number: int, f: float, x: float) -> EpochScore:
    """An epoch of which only fidelity and flexibility are known."""
    return EpochScore(label, number, {"fidelity": f, "flexibility": x})


def bake(label: str, *scores: tuple[float, float]) -> list[EpochScore]:
    return [plain(label, number, f, x) for number, (f, x) in enumerate(scores)]


def drawn(
    label: str,
    number: int,
    f: float,
    x: float,
    *,
    leak: float = 0.0,
    bleed: float = 0.0,
    clarity: float = 1.0,
    noise: float = 0.02,
    **more: Any,
) -> EpochScore:
    """An epoch with draws: the noise that epochs share is large, their own is `noise`."""
    shared = np.random.default_rng(99).normal(0, 0.2, 200)
    own = np.random.default_rng([*label.encode(), number])
    tradeoff = max(0.0, 2 * f * x / (f + x) - 0.5 * leak - 0.25 * bleed - 0.5 * (1 - clarity))
    side = {"leak": leak, "bleed": bleed, "clarity": clarity, "tradeoff": tradeoff}
    measured = {"fidelity": f, "flexibility": x, **side}
    draws = {name: v + shared + own.normal(0, noise, 200) for name, v in measured.items()}
    return EpochScore(label, number, measured, draws=draws, **more)


def test_balance_is_the_harmonic_mean() -> None:
    assert plain("a", 1, 0.5, 1.0).balance == pytest.approx(2 / 3)
    assert plain("a", 1, 1.0, 0.0).balance == 0
    assert plain("a", 1, 0.0, 0.0).balance == 0
    assert math.isnan(plain("a", 1, math.nan, 1.0).balance)


def test_the_best_epoch_of_all_bakes_wins_and_the_reason_names_its_numbers() -> None:
    choice = recommend(
        [
            bake("low", (0.2, 0.9), (0.3, 0.9), (0.4, 0.9)),
            bake("high", (0.2, 0.9), (0.8, 0.8), (1.0, 0.3)),
        ]
    )
    assert (choice.best.bake, choice.best.number) == ("high", 1)
    assert choice.title == "high, epoch 1"
    assert list(choice.reasons) == [
        "Epoch 1 of high: 0.80 of the traits (the base: 0.20), 0.80 of what was asked.",
        "Its trade-off, 0.80, is the highest of 4 epochs in 2 bakes.",
        "Epoch 2 loses flexibility and adds fidelity 0.20.",
        "Next is low, epoch 2, with 0.55.",
    ]


def test_the_next_epoch_is_named_with_what_it_brings() -> None:
    epochs = [
        drawn("a", 0, 0.2, 1.0),
        drawn("a", 1, 0.5, 0.9),
        drawn("a", 2, 0.91, 0.84),
        drawn("a", 4, 0.92, 0.85, leak=0.3, leaks={"red jacket": 7, "street": 2, "boots": 1}),
    ]
    choice = recommend([epochs])
    assert choice.best is epochs[2]
    assert choice.reasons[0] == (
        "Epoch 2: 0.91 of the traits (the base: 0.20), 0.84 of what was asked."
    )
    assert "Epoch 4 adds nothing beyond noise and leaks the red jacket and the street." in (
        choice.reasons
    )


def sure(label: str, number: int, tradeoff: float, spread: float) -> EpochScore:
    """An epoch whose draws spread evenly around its trade-off."""
    draws = tradeoff + spread * np.linspace(-1, 1, 201)
    scores = {"fidelity": 0.8, "flexibility": 0.8, "tradeoff": tradeoff}
    return EpochScore(label, number, scores, draws={"tradeoff": draws})


def test_the_highest_is_taken_however_sure_others_are() -> None:
    """A narrow interval may come from a number that cannot rise: it is no merit."""
    top, surer, worse = sure("a", 1, 0.86, 0.4), sure("b", 3, 0.84, 0.2), sure("c", 1, 0.6, 0.01)
    choice = recommend([[top], [surer], [worse]])
    assert choice.best is top
    assert choice.reasons[1] == "Its trade-off, 0.86, is the highest of 3 epochs in 3 bakes."
    assert choice.reasons[2] == (
        "Next is b, epoch 3, with 0.84, too close to tell apart with these prompts and seeds."
    )


def test_the_next_bake_is_named_at_its_own_best() -> None:
    winner = [sure("a", 1, 0.9, 0.05)]
    other = [sure("b", 1, 0.62, 0.05), sure("b", 2, 0.64, 0.2)]
    assert recommend([other]).best is other[1]
    assert "Next is b, epoch 2, with 0.64." in recommend([winner, other]).reasons


def test_of_equal_epochs_the_earliest_is_taken() -> None:
    epochs = [sure("a", number, 0.8, 0.1) for number in (3, 1, 2)]
    assert recommend([epochs]).best is epochs[1]


def test_without_draws_nothing_is_known_of_how_sure_an_epoch_is() -> None:
    epochs = bake("a", (0.2, 0.9), (0.8, 0.8), (0.81, 0.8))
    assert recommend([epochs]).best is epochs[2]


def test_a_later_best_beyond_noise_is_taken() -> None:
    epochs = [drawn("a", 1, 0.5, 0.9), drawn("a", 2, 0.9, 0.9)]
    choice = recommend([epochs])
    assert choice.best is epochs[1]
    assert choice.reasons[-1] == "It is the last epoch baked: more epochs might be better still."


def test_leaking_and_bleeding_cost_and_are_said() -> None:
    good, leaking = drawn("a", 1, 0.8, 0.8), drawn("b", 1, 0.85, 0.85, leak=0.5)
    assert recommend([[good], [leaking]]).best is good
    bleeding = drawn("c", 1, 0.85, 0.85, bleed=0.6)
    assert recommend([[good], [bleeding]]).best is good
    reasons = recommend(
        [[drawn("a", 1, 0.8, 0.8, leak=0.2, bleed=0.3, leaks={"red jacket": 3})]]
    ).reasons
    assert "It leaks the red jacket unasked (leak 0.20)." in reasons
    assert "Without the trigger, 30% of the character still appears." in reasons


def test_frayed_pictures_cost_and_are_said() -> None:
    good, frayed = drawn("a", 1, 0.8, 0.8), drawn("b", 1, 0.85, 0.85, clarity=0.5)
    assert recommend([[good], [frayed]]).best is good
    reasons = recommend([[drawn("a", 1, 0.9, 0.9, clarity=0.7)]]).reasons
    assert "Its pictures are less clear than the base's (clarity 0.70)." in reasons
    later = drawn("a", 2, 0.8, 0.8, clarity=0.3)
    assert "Epoch 2 adds nothing beyond noise and frays (clarity 0.30)." in (
        recommend([[good, later]]).reasons
    )


def test_epochs_that_noise_explains_are_said_to_be_close() -> None:
    one, other = drawn("a", 1, 0.80, 0.9, noise=0.1), drawn("b", 1, 0.79, 0.9, noise=0.1)
    assert recommend([[one], [other]]).reasons[-1] == (
        "Next is b, epoch 1, with 0.84, too close to tell apart with these prompts and seeds."
    )


def test_one_bake_is_not_named() -> None:
    choice = recommend([bake("only", (0.2, 0.9), (0.5, 0.9), (0.4, 0.9))])
    assert choice.title == "Epoch 1"
    assert "is the highest of 2 epochs." in choice.reasons[1]


def test_the_earlier_of_equal_epochs_wins() -> None:
    choice = recommend([bake("a", (0.1, 1), (0.5, 0.5), (0.5, 0.5))])
    assert choice.best.number == 1


def test_without_draws_what_is_measured_decides() -> None:
    choice = recommend([bake("a", (0.1, 1), (0.50, 0.5), (0.51, 0.5))])
    assert choice.best.number == 2


def test_no_epoch_beats_the_base() -> None:
    choice = recommend([bake("burnt", (0.5, 0.9), (0.1, 0.1), (0.2, 0.1))])
    assert choice.title == "No epoch beats the base"
    assert not choice.beats_base
    assert choice.best.number == 2
    assert "only 0.13" in choice.reasons[1]


def test_nothing_to_say_is_said() -> None:
    assert recommend([[plain("a", 0, 0.1, 0.9)]]).title == "Nothing to compare"
    choice = recommend([bake("a", (math.nan, 0.9), (math.nan, 0.8))])
    assert (choice.best, choice.title) == (None, "No verdict")
    assert "do not show fidelity." in choice.reasons[0]


# --- rules that hold for every table --------------------------------------------------------

shares = st.floats(0.05, 1.0)
epoch_numbers = st.tuples(shares, shares, st.floats(0, 1), st.floats(0, 1))
bakes_of = st.lists(
    st.lists(epoch_numbers, min_size=1, max_size=4), min_size=1, max_size=3
)  # bakes of epochs of (fidelity, flexibility, leak, bleed)


def made(table: list[list[tuple[float, ...]]], noise: float) -> list[list[EpochScore]]:
    return [
        [
            drawn(f"bake{b}", e, f, x, leak=leak, bleed=bleed, noise=noise)
            for e, (f, x, leak, bleed) in enumerate(epochs, start=1)
        ]
        for b, epochs in enumerate(table)
    ]


@settings(max_examples=60, deadline=None)
@given(bakes_of, st.floats(0, 0.1))
def test_no_epoch_ranks_higher_or_as_high_and_earlier(table, noise: float) -> None:
    bakes = made(table, noise)
    best = recommend(bakes).best
    others = [epoch for epochs in bakes for epoch in epochs]
    assert all((-best.rank, best.number) <= (-other.rank, other.number) for other in others)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(bakes_of, st.floats(0, 0.1), st.randoms(use_true_random=False))
def test_the_order_of_bakes_and_epochs_decides_nothing(table, noise: float, random) -> None:
    bakes = made(table, noise)
    before = recommend(bakes)
    shuffled = [random.sample(epochs, len(epochs)) for epochs in bakes]
    random.shuffle(shuffled)
    after = recommend(shuffled)
    assert (before.best.bake, before.best.number) == (after.best.bake, after.best.number)
    assert before.reasons == after.reasons


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(bakes_of, st.floats(0, 0.1))
def test_a_clearly_worse_bake_changes_nothing(table, noise: float) -> None:
    bakes = made(table, noise)
    before = recommend(bakes)
    assume(before.best.rank > 0.1)
    worse = [drawn("worse", e, 0.01, 0.01, leak=1.0, bleed=1.0, noise=0.001) for e in (1, 2)]
    after = recommend([*bakes, worse])
    assert (before.best.bake, before.best.number) == (after.best.bake, after.best.number)
