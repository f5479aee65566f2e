"""Choices: what a rule takes of a trial's epochs under given weights, and what is lost by it.

The trade-off is a sum of what the draws have, so any weights can be tried after the fact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from scipy.stats import spearmanr
from score_trials.design import Design
from score_trials.doubts import Doubts

from bakery.report import recommendation
from bakery.report.recommendation import EpochScore
from bakery.scoring import bootstrap
from bakery.scoring.metrics import BALANCED, COSTS, DECISIVE, TRADEOFF, tradeoff
from bakery.settings.score import Score

Key = tuple[str, int]
"""Label of a bake, and number of an epoch."""
Weights = Mapping[str, float]
"""Metric that costs something -> its weight in the trade-off."""
SHIPPED: Weights = {metric.name: getattr(Score(), metric.cost) for metric in COSTS}
GRID: dict[str, tuple[float, ...]] = {
    "leak": (0.1, 0.2, 0.5, 1.0),
    "bleed": (0.1, 0.2, 0.5),
    "clarity": (0.0, 0.1, 0.2, 0.5, 1.0),
}
"""Weights that are tried. Truth is blind to leak and bleed, and would do without both; they matter to
whoever loads the LoRA, so neither is tried without any weight."""
SHIPPED_RATE = 2e-3
NEAR = 0.05
"""A choice is good within this share of the truly best."""


@dataclass(frozen=True)
class Evidence:
    """What a finished trial shows."""

    design: Design
    bakes: Sequence[Sequence[EpochScore]]
    """The epochs of each bake, the base (0) among them."""
    truth: Mapping[Key, float]
    rates: Mapping[str, float]
    """Label of a bake -> its learning rate."""
    doubts: Doubts = field(default_factory=lambda: Doubts(np.empty(0), np.empty(0, bool)))

    @property
    def epochs(self) -> list[EpochScore]:
        """Of all bakes, without the base."""
        return [epoch for bake in self.bakes for epoch in bake if epoch.number]

    @property
    def has_verdict(self) -> bool:
        """Whether an epoch has a trade-off; none has if pruning found no trait."""
        return any(not math.isnan(epoch.rank) for epoch in self.epochs)

    def loss(self, chosen: EpochScore) -> float:
        """What an epoch lacks of the truly best, as a share of it."""
        best = max(self.truth.values())
        return 1 - self.truth[chosen.bake, chosen.number] / best if best else 0.0

    def rank_correlation(self) -> float:
        """Spearman's, of score and truth over the epochs; NaN where one of them never differs."""
        pairs = [(e.rank, self.truth[e.bake, e.number]) for e in self.epochs]
        pairs = [pair for pair in pairs if not math.isnan(pair[0])]
        if min(len(set(column)) for column in zip(*pairs, strict=True)) < 2:
            return math.nan
        return float(spearmanr(*zip(*pairs, strict=True)).statistic)


Rule = Callable[[Evidence], EpochScore]


def recommended(trial: Evidence) -> EpochScore:
    """What the page recommends: the highest trade-off."""
    best = recommendation.recommend(trial.bakes).best
    if best is None:
        raise SystemExit(f"{trial.design.name}: the scores allow no verdict; see its pictures")
    return best


def surest(trial: Evidence) -> EpochScore:
    """The highest lower end of the interval, whatever the trade-off."""
    return max(_ranked(trial), key=lambda e: (at_least(e), -e.number))


def surest_within_noise(trial: Evidence) -> EpochScore:
    """Of those within the noise of the highest trade-off the one with the highest lower end."""
    top = recommended(trial)
    near = [e for e in _ranked(trial) if _close(top, e)]
    return max(near, key=lambda e: (at_least(e), -e.number))


def at_least(epoch: EpochScore) -> float:
    """The lower end of the rank's interval; the rank itself without draws."""
    low, _ = bootstrap.interval(epoch.values("rank"))
    return epoch.rank if math.isnan(low) else low


def earliest_of_its_bake(trial: Evidence) -> EpochScore:
    """Of the bake with the highest trade-off, the earliest epoch within its noise."""
    top = recommended(trial)
    near = [e for e in _ranked(trial) if e.bake == top.bake and _close(top, e)]
    return min(near, key=lambda e: e.number)


def last_of_its_bake(trial: Evidence) -> EpochScore:
    """The last epoch of the bake with the highest trade-off."""
    top = recommended(trial)
    return max((e for e in trial.epochs if e.bake == top.bake), key=lambda e: e.number)


def second_epoch(trial: Evidence) -> EpochScore:
    """Without any score: the second epoch at the rate nearest to the shipped one."""
    near = min(trial.rates, key=lambda label: abs(math.log(trial.rates[label] / SHIPPED_RATE)))
    mine = sorted((e for e in trial.epochs if e.bake == near), key=lambda e: e.number)
    return mine[min(1, len(mine) - 1)]


RULES: dict[str, Rule] = {
    "the page's recommendation": recommended,
    "the surest within noise": surest_within_noise,
    "the surest": surest,
    "its bake's earliest epoch within noise": earliest_of_its_bake,
    "its bake's last epoch": last_of_its_bake,
    "the second epoch at the shipped rate": second_epoch,
}


def _ranked(trial: Evidence) -> list[EpochScore]:
    return [epoch for epoch in trial.epochs if not math.isnan(epoch.rank)]


def _close(top: EpochScore, other: EpochScore) -> bool:
    return recommendation.close(top.values("rank"), other.values("rank"))


def weighed(trial: Evidence, weights: Weights, without: str = "") -> Evidence:
    """The trial as it would be with these weights, and without one of the metrics if named.

    A trade-off without fidelity starts from flexibility alone, and the other way round.
    """
    bakes = [[_weighed(epoch, weights, without) for epoch in bake] for bake in trial.bakes]
    return replace(trial, bakes=bakes)


def _weighed(epoch: EpochScore, weights: Weights, without: str) -> EpochScore:
    numbers = {metric.name: epoch.values(metric.name) for metric in DECISIVE}
    lengths = {len(values) for values in numbers.values()}
    numbers = {name: values[: min(lengths)] for name, values in numbers.items()}
    weights = {**weights, **({without: 0.0} if without in weights else {})}
    one, other = (metric.name for metric in BALANCED)
    if without in (one, other):
        # the harmonic mean of a number with itself is that number
        numbers[without] = numbers[other if without == one else one]
    values = tradeoff(numbers, weights)
    scores = {**epoch.scores, TRADEOFF.name: float(values[0])}
    draws = {**epoch.draws, TRADEOFF.name: values[1:]}
    if without:
        scores = {name: value for name, value in scores.items() if name != without}
        draws = {name: value for name, value in draws.items() if name != without}
    return replace(epoch, scores=scores, draws=draws)


@dataclass(frozen=True)
class Tried:
    """How well a rule with weights chooses, over several trials; a number a trial."""

    rule: str
    weights: Weights
    losses: Sequence[float]
    correlations: Sequence[float]

    @property
    def good(self) -> int:
        """Trials in which the choice is within `NEAR` of the truly best."""
        return sum(loss <= NEAR + 1e-12 for loss in self.losses)

    @property
    def order(self) -> tuple[float, float, float]:
        """Sorts the better first: less lost, more often near; among equals nearest to the shipped.

        Less than a hundredth is no difference: a dozen trials cannot tell it.
        """
        away = sum(abs(self.weights[name] - SHIPPED[name]) for name in SHIPPED)
        return (round(float(np.mean(self.losses)), 2), -self.good, round(away, 6))


def attempt(
    trials: Iterable[Evidence], rule: str, weights: Weights = SHIPPED, without: str = ""
) -> Tried:
    """What `rule` loses in each of the trials."""
    changed = [weighed(trial, weights, without) for trial in trials]
    return _tried(changed, rule, weights, [trial.rank_correlation() for trial in changed])


def _tried(
    changed: Sequence[Evidence], rule: str, weights: Weights, correlations: Sequence[float]
) -> Tried:
    return Tried(rule, weights, [trial.loss(RULES[rule](trial)) for trial in changed], correlations)


def all_weights(grid: Mapping[str, Sequence[float]] = GRID) -> list[Weights]:
    """Every combination of the grid, the shipped weights first."""
    found: list[Weights] = [
        dict(zip(grid, values, strict=True)) for values in product(*grid.values())
    ]
    return [SHIPPED, *(one for one in found if one != SHIPPED)]


def settle(trials: Sequence[Evidence], rules: Iterable[str] = ()) -> list[Tried]:
    """All rules with all weights on these trials, the best first."""
    rules = list(rules) or [
        name for name in RULES if name != "the second epoch at the shipped rate"
    ]
    tried = []
    for weights in all_weights():
        changed = [weighed(trial, weights) for trial in trials]
        correlations = [trial.rank_correlation() for trial in changed]
        tried += [_tried(changed, rule, weights, correlations) for rule in rules]
    return sorted(tried, key=lambda one: one.order)


def noise_band(trial: Evidence) -> float:
    """Standard error of the difference between the two highest trade-offs; NaN without two."""
    top = sorted(_ranked(trial), key=lambda e: -e.rank)[:2]
    if len(top) < 2:
        return math.nan
    _, band = bootstrap.lag(top[0].values("rank"), top[1].values("rank"))
    return band
