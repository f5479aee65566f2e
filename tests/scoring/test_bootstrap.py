"""Bootstrap: exact where it can be counted, the same for all who share prompts and seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from bakery.scoring import bootstrap


def grid(prompts: int, seeds: int, draws: int = bootstrap.DRAWS) -> bootstrap.Resample:
    cells = [("flexibility", f"p{p}", s) for p in range(prompts) for s in range(seeds)]
    return bootstrap.resample(*zip(*cells, strict=True), draws=draws)


def mean(draws: bootstrap.Resample, values: list[float]) -> np.ndarray:
    return draws.times @ np.array(values, float) / draws.times.sum(axis=1)


def test_the_first_row_is_the_measurement() -> None:
    draws = grid(3, 4)
    assert draws.times.shape == (1 + bootstrap.DRAWS, 12)
    assert (draws.times[0] == 1).all()


def test_one_prompt_gives_the_exact_distribution_over_seeds() -> None:
    """8 seeds, half of them hit: draws are binomial(8, 1/2) / 8."""
    values = mean(grid(1, 8, 20_000), [seed % 2 for seed in range(8)])
    assert values[0] == 0.5
    low, high = bootstrap.interval(values)
    assert low == binom.ppf(0.025, 8, 0.5) / 8
    assert high == binom.ppf(0.975, 8, 0.5) / 8


def test_prompts_are_chance_too() -> None:
    """8 prompts, half of them always hit: seeds decide nothing, prompts are binomial."""
    values = mean(grid(8, 3, 20_000), [float(p % 2) for p in range(8) for _ in range(3)])
    low, high = bootstrap.interval(values)
    assert low == binom.ppf(0.025, 8, 0.5) / 8
    assert high == binom.ppf(0.975, 8, 0.5) / 8


def test_a_seed_that_is_drawn_twice_counts_twice_in_every_prompt() -> None:
    draws = grid(2, 4)
    seeds = draws.seeds.reshape(-1, 2, 4)
    assert (seeds[:, 0] == seeds[:, 1]).all()
    assert (seeds[1:, 0].sum(axis=1) == 4).all()


def test_draws_are_shared_by_all_with_the_same_prompts_and_seeds() -> None:
    """Whatever else is drawn: epoch 0 has pictures of another purpose besides."""
    alone = grid(3, 4)
    cells = [("flexibility", f"p{p}", s) for p in range(3) for s in range(4)]
    cells += [("base", f"b{p}", s) for p in range(2) for s in range(4)]
    both = bootstrap.resample(*zip(*cells, strict=True))
    assert (both.times[:, :12] == alone.times).all()
    other = [("flexibility", f"q{p}", s) for p in range(3) for s in range(4)]
    assert (bootstrap.resample(*zip(*other, strict=True)).prompts != alone.prompts).any()


def test_one_seed_says_nothing_about_chance() -> None:
    draws = grid(5, 1)
    assert draws.times.shape == (1, 5)
    assert all(math.isnan(end) for end in bootstrap.interval(mean(draws, [0, 1, 0, 1, 1])))


def test_draws_without_a_picture_that_counts_are_left_out() -> None:
    values = np.array([0.5, math.nan, 0.2, 0.4])
    low, high = bootstrap.interval(values)
    assert 0.2 <= low <= high <= 0.4
    assert all(math.isnan(end) for end in bootstrap.interval(np.array([math.nan, 0.2])))


def test_close_is_one_standard_error_of_the_paired_difference() -> None:
    noise = np.array([-0.1, 0.1] * 50)  # standard deviation 0.1
    level = np.linspace(0.3, 0.9, 100)  # shared by both, so it is no noise
    best = np.concatenate([[0.6], level])
    near = np.concatenate([[0.51], level - 0.09 + noise])
    far = np.concatenate([[0.49], level - 0.11 + noise])
    assert bootstrap.close(best, near)
    assert not bootstrap.close(best, far)
    assert bootstrap.lag(best, far) == (pytest.approx(0.11), pytest.approx(0.1))
    assert not bootstrap.close(np.array([0.6]), np.array([0.59]))  # no draws: as measured
    assert bootstrap.close(np.array([0.6]), np.array([0.6]))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 2**31))
def test_the_interval_holds_a_mean_and_stays_within_the_values(
    prompts: int, seeds: int, random: int
) -> None:
    values = np.random.default_rng(random).random(prompts * seeds)
    numbers = mean(grid(prompts, seeds), list(values))
    low, high = bootstrap.interval(numbers)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    """Crossed effects of 12 prompts and 12 seeds: the truth lies inside in about 95 of 100 cases.

    Owen shows that the pigeonhole bootstrap errs on the side of caution.
    """
    draws, rng, hits = grid(12, 12), np.random.default_rng(3), 0
    for _ in range(200):
        table = rng.normal(size=(12, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(12, 12))
        low, high = bootstrap.interval(mean(draws, list(table.ravel())))
        hits += low <= 0 <= high
    assert 180 <= hits <= 200


def test_the_trigger_alone_is_no_chance() -> None:
    """Its prompts stay in every draw; seeds are drawn for them as for all others."""
    kinds = ("identity", "recreate", "flexibility", "bleed")
    cells = [(kind, f"{kind}{p}", s) for kind in kinds for p in range(2) for s in range(3)]
    draws = bootstrap.resample(*zip(*cells, strict=True))
    stays = [bool((draws.prompts[:, i] == 1).all()) for i in range(len(cells))]
    assert stays == [kind in ("identity", "recreate") for kind, _, _ in cells]
    assert (draws.seeds[1:].std(axis=0) > 0).all()
