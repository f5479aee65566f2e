"""Formulas: on made-up tables where the right number is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.scoring import bootstrap, formulas, metrics

ONE = np.ones((1, 4))
WEIGHTS = {"leak": 0.5, "bleed": 0.25, "clarity": 0.5}
WEIGHED = ("fidelity", "flexibility", "leak", "bleed", "clarity")


def test_fidelity_is_recall_over_the_ceiling() -> None:
    found, asked = np.array([0, 1, 2, 2]), np.array([2, 2, 2, 2])
    assert formulas.recall(ONE, found, asked) == 5 / 8
    assert formulas.fidelity(ONE, found, asked, 0.875) == pytest.approx(5 / 8 / 0.875)
    assert formulas.fidelity(ONE, asked, asked, 0.875) == 1  # capped
    assert math.isnan(formulas.fidelity(ONE, found, np.zeros(4), 0.875)[0])
    assert math.isnan(formulas.fidelity(ONE, found, asked, math.nan)[0])


def test_pictures_count_as_often_as_they_were_drawn() -> None:
    times = np.array([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 2, 2]], float)
    found, asked = np.array([0, 1, 2, 2]), np.full(4, 2)
    assert formulas.recall(times, found, asked).tolist() == [5 / 8, 0, 1]


def test_flexibility_is_relative_to_the_base_and_capped() -> None:
    base = np.array([2, 2, 1, 1])
    assert formulas.flexibility(ONE, np.array([1, 1, 1, 0]), base) == 0.5
    assert formulas.flexibility(ONE, np.array([2, 2, 2, 2]), base) == 1
    assert math.isnan(formulas.flexibility(ONE, np.array([1, 1, 1, 1]), np.zeros(4))[0])


def test_leak_is_what_the_training_set_adds_unasked() -> None:
    """Two habits that the training set always shows and the base never: jacket and street."""
    base, open_ = np.zeros((4, 2)), np.ones((4, 2))
    pull = np.array([1.0, 1.0])
    all_of_it = np.ones((4, 2))
    assert formulas.leak(ONE, all_of_it, base, open_, pull) == 1
    jacket = np.array([[1, 0]] * 4)
    assert formulas.leak(ONE, jacket, base, open_, pull) == 0.5
    assert formulas.leak(ONE, base, base, open_, pull) == 0
    # the jacket was asked for on the first two pictures, where it is no leak
    asked = open_.copy()
    asked[:2, 0] = 0
    only_asked = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    assert formulas.leak(ONE, only_asked, base, asked, pull) == 0
    assert formulas.leak(ONE, jacket, base, asked, pull) == 0.5


def test_leak_forgives_what_the_base_does_by_itself() -> None:
    seen = np.array([[1], [1], [1], [0]])
    base = np.array([[1], [1], [0], [0]])
    open_, pull = np.ones((4, 1)), np.array([0.4])
    # a quarter more often than the base; a small pull is not blown up to a whole
    assert formulas.leak(ONE, seen, base, open_, pull) == 0.25
    assert formulas.leak(ONE, base, seen, open_, pull) == 0  # less often is no leak
    nothing = np.zeros((4, 0))
    assert formulas.leak(ONE, nothing, nothing, nothing, np.zeros(0)) == 0
    none = np.zeros((0, 1))
    assert math.isnan(formulas.leak(np.ones((1, 0)), none, none, none, pull)[0])


def test_bleed_goes_from_the_base_to_the_ceiling() -> None:
    open_ = np.ones((4, 2))
    base = np.array([[1, 0], [0, 0], [0, 0], [1, 0]])  # 2 of 8
    assert formulas.bleed(ONE, base, base, open_, 0.75) == 0
    half = np.array([[1, 0], [1, 0], [1, 0], [1, 0]])  # 4 of 8: half the way to 6 of 8
    assert formulas.bleed(ONE, half, base, open_, 0.75) == 0.5
    assert formulas.bleed(ONE, np.ones((4, 2)), base, open_, 0.75) == 1
    assert formulas.bleed(ONE, np.zeros((4, 2)), base, open_, 0.75) == 0
    assert math.isnan(formulas.bleed(ONE, base, base, open_, 0.28)[0])  # no room
    # the first trait is asked for everywhere: only the second speaks
    open_[:, 0] = 0
    assert formulas.bleed(ONE, half, base, open_, 0.75) == 0


def test_clarity_is_the_base_s_doubt_over_the_pictures_doubt() -> None:
    coin, sure = np.array([[0.5, 0.5, 0.0]]), np.array([[1.0, 1.0, 0.0]])
    assert formulas.doubt(coin) == pytest.approx(2), "two tosses of a coin"
    assert formulas.doubt(sure) == pytest.approx(0, abs=0.002)
    assert formulas.doubt(np.zeros((1, 3))) == 0, "what is not believed at all is no doubt"
    tags, once, twice = np.full(4, 3.0), np.full(4, 1.5), np.full(4, 3.0)
    assert formulas.clarity(ONE, twice, tags, once, tags) == 0.5
    assert formulas.clarity(ONE, once, tags, once, tags) == 1
    assert formulas.clarity(ONE, once, tags, twice, tags) == 1, "clearer than the base is no merit"
    # as much doubt a tag: who draws half of the tags with half of the doubt is as clear
    assert formulas.clarity(ONE, once, tags / 2, twice, tags) == 1
    assert math.isnan(formulas.clarity(ONE, np.zeros(4), np.zeros(4), once, tags)[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=5), st.floats(0, 1))
def test_whatever_moves_towards_a_coin_s_toss_is_in_more_doubt(
    tags: list[float], by: float
) -> None:
    clear = np.array([tags])
    assert formulas.doubt(clear + by * (0.5 - clear)) >= formulas.doubt(clear) - 1e-9


def test_drift_and_shares_are_means() -> None:
    times = np.array([[1, 1, 1, 1], [2, 0, 0, 0]], float)
    assert formulas.mean(times, np.array([0.2, 0.4, 0.0, 0.0])).tolist() == pytest.approx(
        [0.15, 0.2]
    )
    assert math.isnan(formulas.mean(np.ones((1, 0)), np.zeros(0))[0])


def test_variety_is_relative_to_the_base() -> None:
    base = np.eye(4)  # four pictures with nothing in common
    draws = bootstrap.Resample(np.ones((1, 4)), np.ones((1, 4)))
    groups = [np.array([0, 1]), np.array([2, 3])]
    assert formulas.variety(draws, groups, base, base) == 1
    same = np.tile([1.0, 0, 0, 0], (4, 1))
    assert formulas.variety(draws, groups, same, base) == 0
    one_group = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], float)
    assert formulas.variety(draws, groups, one_group, base) == 0.5
    # pictures of different prompts are not compared
    assert math.isnan(formulas.variety(draws, [np.array([0])], base, base)[0])
    assert math.isnan(formulas.variety(draws, groups, base, same)[0])


def test_tradeoff_is_the_harmonic_mean_less_what_leaks_and_frays() -> None:
    def of(f: float, x: float, leak: float, bleed: float, clarity: float = 1.0) -> float:
        values = [np.array([value]) for value in (f, x, leak, bleed, clarity)]
        numbers = dict(zip(WEIGHED, values, strict=True))
        return float(metrics.tradeoff(numbers, WEIGHTS)[0])

    assert of(0.5, 1.0, 0, 0) == pytest.approx(2 / 3)
    assert of(0, 0, 0, 0) == 0
    assert of(1, 1, 0.4, 0.4) == pytest.approx(1 - 0.2 - 0.1)
    assert of(1, 1, 0, 0, 0.4) == pytest.approx(1 - 0.3)
    assert of(1, 1, 0, 0, math.nan) == 1
    assert of(0.1, 0.1, 1, 1) == 0  # at least 0
    assert of(0.5, 1.0, math.nan, math.nan) == pytest.approx(2 / 3)
    assert math.isnan(of(math.nan, 1.0, 0, 0))


def test_likeness_is_relative_to_the_training_pictures() -> None:
    assert formulas.likeness(ONE, np.array([0.4, 0.4, 0.2, 0.2]), 0.6) == pytest.approx(0.5)
    assert formulas.likeness(ONE, np.full(4, 0.9), 0.6) == 1
    assert formulas.likeness(ONE, np.full(4, -0.9), 0.6) == 0
    assert math.isnan(formulas.likeness(ONE, np.full(4, math.nan), math.nan)[0])


vectors = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array)


@settings(max_examples=60, deadline=None)
@given(vectors, vectors, vectors)
def test_ruzicka_is_a_distance(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> None:
    d = formulas.ruzicka
    assert d(p, p) == 0
    assert d(p, q) == d(q, p)
    assert 0 <= d(p, q) <= 1
    assert d(p, q) <= d(p, r) + d(r, q) + 1e-9


def test_ruzicka_of_sets_is_jaccard() -> None:
    assert formulas.ruzicka(np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0])) == pytest.approx(2 / 3)
    assert formulas.ruzicka(np.array([1.0, 0]), np.array([0, 1.0])) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_every_metric_lies_between_0_and_1(random: int) -> None:
    rng = np.random.default_rng(random)
    seen, base, open_ = (rng.integers(0, 2, (6, 3)) for _ in range(3))
    cells = [("a", f"p{i // 3}", i % 3) for i in range(6)]
    draws = bootstrap.resample(*zip(*cells, strict=True), draws=50)
    times, found = draws.times, rng.integers(0, 4, 6)
    features = rng.random((6, 4))
    numbers = [
        formulas.fidelity(times, found, np.full(6, 3), float(rng.uniform(0.1, 1))),
        formulas.flexibility(times, found, rng.integers(0, 4, 6)),
        formulas.leak(times, seen, base, open_, rng.random(3)),
        formulas.bleed(times, seen, base, open_, float(rng.random())),
        formulas.variety(draws, [np.arange(3), np.arange(3, 6)], features, features[::-1]),
    ]
    doubts = rng.random((2, 6)) + 0.1
    numbers.append(formulas.clarity(times, doubts[0], found + 0.1, doubts[1], found + 0.1))
    weighed = dict(zip(WEIGHED, [*numbers[:4], numbers[-1]], strict=True))
    numbers.append(metrics.tradeoff(weighed, WEIGHTS))
    for values in numbers:
        measured = values[~np.isnan(values)]
        assert (measured >= 0).all()
        assert (measured <= 1).all()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
)
def test_superiority_counts_pairs(own: list[int], others: list[int]) -> None:
    pairs = [1.0 if a < b else 0.5 * (a == b) for a in own for b in others]
    once = [np.ones((1, len(numbers))) for numbers in (own, others)]
    found = formulas.superiority(once[0], np.array(own), once[1], np.array(others))
    assert found == pytest.approx(sum(pairs) / len(pairs))
    back = formulas.superiority(once[1], np.array(others), once[0], np.array(own))
    assert found + back == pytest.approx(1)


def test_superiority_counts_each_as_often_as_it_was_drawn() -> None:
    own, others = np.array([1, 5]), np.array([3, 3])
    times = np.array([[1, 1], [2, 0], [0, 2]], float)
    found = formulas.superiority(times, own, np.ones((3, 2)), others)
    assert found.tolist() == [0.5, 1, 0]
