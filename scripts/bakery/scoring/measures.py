"""Measures: every metric of a set of a bake's pictures, with its draws.

A set is what one LoRA drew at one weight; which of its pictures speak for which metric is decided
here, by their purpose. The formulas are `metrics`', the facts `sightings`'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bakery.scoring import bootstrap, metrics, observations
from bakery.scoring.observations import Sightings
from bakery.settings.score import Score

Numbers = dict[str, np.ndarray]
"""Metric -> (1 + draws,): as measured, then the draws."""


@dataclass(frozen=True)
class Material:
    """What the measures are taken from."""

    seen: Sightings
    look: pd.DataFrame
    """nearest, nearest_bits, memorised, broken, likeness (cosine) of each picture."""
    ceiling: float
    """Mean share of the training pictures on which the tagger sees a trait."""
    likest: float
    """Mean cosine of a training picture to the character's centre."""


def measure(
    settings: Score, material: Material, chosen: pd.Series | np.ndarray
) -> tuple[int, Numbers]:
    """How many pictures are `chosen` (N,) bool, and every metric of them with its draws."""
    seen, look = material.seen, material.look
    rows = np.flatnonzero(chosen)
    part = seen.samples.iloc[rows]
    names = part["prompt_id"] + ": " + part["prompt"]
    draws = bootstrap.resample(list(part["purpose"]), list(names), list(part["seed"]))

    def of(*purposes: str, where: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(D, n) times and (n,) rows of the chosen pictures with one of the purposes."""
        mine = seen.of(*purposes) if where is None else seen.of(*purposes) & where
        local = np.flatnonzero(mine[rows])
        return draws.of(local).times, rows[local]

    has_base = seen.base >= 0
    numbers: Numbers = {}
    times, at = of("identity")
    numbers["fidelity"] = metrics.fidelity(
        times, seen.found_count[at], seen.asked_count[at], material.ceiling
    )
    times, at = of("flexibility", where=seen.reference >= 0)
    numbers["flexibility"] = metrics.flexibility(
        times, seen.found_count[at], seen.reference_count[at]
    )
    times, at = of(*observations.JUDGED, where=has_base)
    pull = np.array([s - b for s, b in seen.habits.values()])
    base = seen.habit_seen[seen.base[at]]
    numbers["leak"] = metrics.leak(times, seen.habit_seen[at], base, seen.habit_open[at], pull)
    times, at = of("bleed", where=has_base)
    base = seen.trait_seen[seen.base[at]]
    numbers["bleed"] = metrics.bleed(
        times, seen.trait_seen[at], base, seen.trait_open[at], material.ceiling
    )
    numbers["drift"] = metrics.mean(times, seen.drift[at])
    times, at = of(*observations.DRAWN, where=has_base)
    base = seen.base[at]
    numbers["clarity"] = metrics.clarity(
        times, seen.doubt[at], seen.expected[at], seen.doubt[base], seen.expected[base]
    )
    numbers["variety"] = _variety(seen, rows, draws, has_base)
    times, at = of(*observations.CALLED)
    numbers["memorised"] = metrics.mean(times, look["memorised"].to_numpy(float)[at])
    numbers["broken"] = metrics.mean(draws.times, look["broken"].to_numpy(float)[rows])
    times, at = of("identity")
    cosines = look["likeness"].to_numpy(float)[at]
    numbers["likeness"] = metrics.likeness(times, cosines, material.likest)
    numbers["tradeoff"] = _tradeoff(numbers, settings)
    return len(rows), numbers


def weight_response(
    settings: Score, material: Material
) -> dict[tuple[int, float], tuple[int, Numbers]]:
    """(epoch, weight) -> metrics of what is drawn at every weight: no bleed in the trade-off."""
    seen = material.seen
    mine = (seen.samples["epoch"] > 0).to_numpy() & seen.of(*observations.JUDGED)
    keys = sorted(set(zip(seen.samples["epoch"][mine], seen.samples["weight"][mine], strict=True)))
    answers = {}
    for epoch, weight in keys:
        here = (seen.samples["epoch"] == epoch) & (seen.samples["weight"] == weight) & mine
        answers[int(epoch), float(weight)] = measure(settings, material, here)
    return answers


def preferred_weight(
    answers: Mapping[tuple[int, float], tuple[int, Numbers]], samples: pd.DataFrame
) -> float | None:
    """The weight to prefer, of the epoch that was drawn at several; None without one.

    Of the weights within one standard error of the best trade-off, the one nearest to the nominal.
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


def _variety(
    seen: Sightings, rows: np.ndarray, draws: bootstrap.Resample, has_base: np.ndarray
) -> np.ndarray:
    features = seen.sight.features(without=seen.traits)
    local = np.flatnonzero((seen.of(*observations.CALLED) & has_base)[rows])
    at = rows[local]
    prompts = seen.samples["prompt_id"].to_numpy()[at]
    groups = [np.flatnonzero(prompts == prompt) for prompt in dict.fromkeys(prompts)]
    return metrics.variety(draws.of(local), groups, features[at], features[seen.base[at]])


def _tradeoff(numbers: Numbers, settings: Score) -> np.ndarray:
    return metrics.tradeoff(
        numbers["fidelity"],
        numbers["flexibility"],
        numbers["leak"],
        numbers["bleed"],
        numbers["clarity"],
        leak_weight=settings.leak_weight,
        bleed_weight=settings.bleed_weight,
        clarity_weight=settings.clarity_weight,
    )
