"""Measures: every metric of a set of a bake's pictures, with its draws.

A set is all pictures of one LoRA at one weight, or those of them that are drawn at every weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bakery.scoring import bootstrap, metrics, observations
from bakery.scoring.diagnostics import DIAGNOSTICS
from bakery.scoring.metric import Numbers, PictureSet, ScoreInputs
from bakery.scoring.metrics import COSTS, METRICS, TRADEOFF
from bakery.settings.score import Score


def measure(
    settings: Score, inputs: ScoreInputs, chosen: pd.Series | np.ndarray
) -> tuple[int, Numbers]:
    """How many pictures are `chosen` (N,) bool, and every metric of them with its draws."""
    rows = np.flatnonzero(chosen)
    part = inputs.seen.samples.iloc[rows]
    names = part["prompt_id"] + ": " + part["prompt"]
    draws = bootstrap.resample(list(part["purpose"]), list(names), list(part["seed"]))
    pictures = PictureSet(inputs, rows, draws)
    numbers = {
        metric.name: metric.compute(pictures)
        for metric in (*METRICS, *DIAGNOSTICS)
        if metric.compute and metric.applies(inputs)
    }
    weights = {metric.name: getattr(settings, metric.cost) for metric in COSTS}
    numbers[TRADEOFF.name] = metrics.tradeoff(numbers, weights)
    return len(rows), numbers


def weight_response(
    settings: Score, inputs: ScoreInputs
) -> dict[tuple[int, float], tuple[int, Numbers]]:
    """(epoch, weight) -> metrics of what is drawn at every weight: no bleed in the trade-off."""
    seen = inputs.seen
    mine = (seen.samples["epoch"] > 0).to_numpy() & seen.of(*observations.LEAK_PURPOSES)
    keys = sorted(set(zip(seen.samples["epoch"][mine], seen.samples["weight"][mine], strict=True)))
    answers = {}
    for epoch, weight in keys:
        here = (seen.samples["epoch"] == epoch) & (seen.samples["weight"] == weight) & mine
        answers[int(epoch), float(weight)] = measure(settings, inputs, here)
    return answers


def preferred_weight(
    answers: Mapping[tuple[int, float], tuple[int, Numbers]], samples: pd.DataFrame
) -> float | None:
    """The weight to prefer, of the epoch that was drawn at several; None without one.

    It is the weight nearest to the nominal among those within one standard error of the best
    trade-off.
    """
    several = samples.loc[~samples["nominal"], "epoch"]
    if several.empty:
        return None
    epoch = int(several.iloc[0])
    nominal = samples.loc[(samples["epoch"] == epoch) & samples["nominal"], "weight"].iloc[0]
    offers = {
        weight: numbers["tradeoff"]
        for (number, weight), (_, numbers) in answers.items()
        if number == epoch and not math.isnan(numbers["tradeoff"][0])
    }
    if not offers:
        return None
    best = max(offers.values(), key=lambda values: values[0])
    near = [weight for weight, values in offers.items() if bootstrap.close(best, values)]
    return min(near, key=lambda weight: (abs(weight - nominal), weight))
