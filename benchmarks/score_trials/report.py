"""The report of the trials as Markdown tables, each number with how far it can be trusted."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from score_trials import choices, intervals
from score_trials.choices import RULES, SHIPPED, Evidence, Tried, Weights
from score_trials.replays import Replay

HEAD = (
    "| {} | rank correlation | within 5% of the best | lost on average |\n| --- | --- | --- | --- |"
)


def trials(found: Sequence[Evidence], minutes: Mapping[str, float], rule: str) -> list[str]:
    """A row a trial: what `rule` chooses, and what is lost by it."""
    rows = ["| trial | character | data set | epochs | rank correlation | chosen | truth | best | lost |"
            " band | CPU minutes |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for one in found:
        epoch, design = RULES[rule](one), one.design
        rows.append(
            f"| {design.name} | {design.character} | {design.data.name} | {len(one.epochs)} | "
            f"{_number(one.rank_correlation())} | {epoch.bake}, epoch {epoch.number} | "
            f"{one.truth[epoch.bake, epoch.number]:.2f} | {max(one.truth.values()):.2f} | "
            f"{one.loss(epoch):.0%} | {_number(choices.noise_band(one))} | "
            f"{minutes.get(design.name, math.nan):.0f} |"
        )
    return rows


def rules(found: Sequence[Evidence], weights: Weights = SHIPPED) -> list[str]:
    """A row a rule, all with the same weights."""
    rows = [HEAD.format("rule")]
    for rule in RULES:
        rows.append(line(rule, choices.attempt(found, rule, weights), found))
    return rows


def weights(tried: Sequence[Tried], found: Sequence[Evidence], best: int = 6) -> list[str]:
    """A row for each of the best weights and rules, and one for what is shipped."""
    rows = [HEAD.format("rule; leak, bleed, clarity")]
    first = next(iter(RULES))
    shipped = next(one for one in tried if one.rule == first and one.weights == SHIPPED)
    shown = [*tried[:best], *([shipped] if shipped not in tried[:best] else [])]
    for one in shown:
        place = f"{tried.index(one) + 1} of {len(tried)}"
        name = f"{place}: {one.rule}; {', '.join(f'{one.weights[w]:g}' for w in SHIPPED)}"
        rows.append(line(name + (" (shipped)" if one == shipped else ""), one, found))
    return rows


def without_each(found: Sequence[Evidence], rule: str, weighed: Weights = SHIPPED) -> list[str]:
    """A row for each metric of the trade-off: as if it were not there."""
    rows = [HEAD.format("without"), line("none", choices.attempt(found, rule, weighed), found)]
    for metric in choices.DECISIVE:
        tried = choices.attempt(found, rule, weighed, without=metric.name)
        rows.append(line(metric.name, tried, found))
    return rows


def line(name: str, tried: Tried, found: Sequence[Evidence]) -> str:
    """How well a rule does: three numbers, each with its 95% interval."""
    groups = [one.design.character for one in found]
    low, high = intervals.wilson(tried.good, len(found))
    correlation = _with_interval(tried.correlations, groups, "{:.2f}")
    lost = _with_interval(tried.losses, groups, "{:.1%}")
    share = f"{tried.good} of {len(found)} ({low:.0%} to {high:.0%})"
    return f"| {name} | {correlation} | {share} | {lost} |"


def best_epochs(found: Sequence[Evidence]) -> list[str]:
    """A row a rate: how often each epoch is truly its bake's best, and what the second lacks of it.

    Of equal epochs the earlier is the best.
    """
    by_rate: dict[float, list[dict[int, float]]] = {}
    for trial in found:
        for label, rate in trial.rates.items():
            mine = {epoch: value for (bake, epoch), value in trial.truth.items() if bake == label}
            by_rate.setdefault(rate, []).append(mine)
    every = [one for bakes in by_rate.values() for one in bakes]
    epochs = sorted({epoch for one in every for epoch in one})
    rows = [f"| rate | {' | '.join(f'epoch {n} is best' for n in epochs)} | the second lacks |",
            "| --- " * (len(epochs) + 2) + "|"]  # fmt: skip
    for name, bakes in [
        *((f"{rate:g}", by_rate[rate]) for rate in sorted(by_rate)),
        ("all", every),
    ]:
        wins = Counter(max(one, key=lambda epoch: (one[epoch], -epoch)) for one in bakes)
        lacks = [1 - one[2] / best for one in bakes if 2 in one and (best := max(one.values()))]
        shares = " | ".join(f"{wins[epoch]} of {len(bakes)}" for epoch in epochs)
        rows.append(f"| {name} | {shares} | {f'{_known_mean(lacks):.0%}' if lacks else ''} |")
    return rows


def doubts(found: Sequence[Evidence]) -> list[str]:
    """A row a trial: does the doubt behind clarity tell broken pictures from whole ones?"""
    rows = ["| trial | pictures | broken | more in doubt than a whole one |",
            "| --- | --- | --- | --- |"]  # fmt: skip
    for one in found:
        told = "" if math.isnan(one.doubts.area) else f"{one.doubts.area:.0%} of pairs"
        rows.append(
            f"| {one.design.name} | {len(one.doubts.whole)} | {one.doubts.broken} | {told} |"
        )
    return rows


def replays(first: str, cost: str, found: Iterable[Sequence[Replay]]) -> list[str]:
    """A row for each kind of replay; `found` has those of each trial.

    Each trial counts as one, however often its pictures were drawn anew.
    """
    by_name: dict[str, list[list[Replay]]] = {}
    for of_trial in found:
        mine: dict[str, list[Replay]] = {}
        for one in of_trial:
            mine.setdefault(one.name, []).append(one)
        for name, several in mine.items():
            by_name.setdefault(name, []).append(several)
    rows = [f"| {first} | {cost} | rank correlation | within 5% of the best | lost | same choice | "
            "trials |", "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, kind in by_name.items():
        near = _mean(kind, lambda one: one.loss <= choices.NEAR + 1e-12)
        rows.append(
            f"| {name} | {_mean(kind, lambda one: one.cost):.0%} | "
            f"{_number(_mean(kind, lambda one: one.correlation))} | {near:.0%} | "
            f"{_mean(kind, lambda one: one.loss):.1%} | {_mean(kind, lambda one: one.same):.0%} | "
            f"{len(kind)} |"
        )
    return rows


def _mean(kind: Sequence[Sequence[Replay]], value: Callable[[Replay], float]) -> float:
    """Mean over the trials of the mean over each trial's replays; NaN values are left out."""
    return _known_mean([_known_mean([float(value(one)) for one in several]) for several in kind])


def _known_mean(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN without one."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def _with_interval(values: Sequence[float], groups: Sequence[str], form: str) -> str:
    low, high = intervals.of_mean(values, groups)
    found = _known_mean(values)
    if math.isnan(found):
        return ""
    mean = form.format(found)
    return mean if math.isnan(low) else f"{mean} ({form.format(low)} to {form.format(high)})"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
