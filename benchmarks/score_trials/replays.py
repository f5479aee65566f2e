"""Replays of finished trials, without a new picture: fewer prompts and seeds, and halving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from score_trials.choices import RULES, SHIPPED, Evidence
from score_trials.seen import Seen

from bakery.report.recommendation import EpochScore
from bakery.scoring import bootstrap
from bakery.scoring.metric import PictureSet, ScoreInputs
from bakery.scoring.metrics import DECISIVE, METRICS, TRADEOFF, tradeoff
from bakery.settings.halve import Halving
from bakery.stages import halve

DRAWS = 200
"""Of the bootstrap in a replay: enough for a standard error."""
PROMPTS, SEEDS = (1, 2, 3, 4), (1, 2, 3, 4)
HALVINGS = (
    Halving(after=(1,), keep=0.5),
    Halving(after=(2,), keep=0.5),
    Halving(after=(1, 2), keep=0.5),
    Halving(after=(1,), keep=1 / 3),
)


@dataclass(frozen=True)
class Replay:
    """What comes of a trial in a replay."""

    name: str
    loss: float
    """Of the choice, as a share of the truly best."""
    correlation: float
    same: bool
    """Whether the choice is that of the whole trial."""
    cost: float
    """Share of the pictures, or of the epochs, that it needs."""


def with_fewer(
    trial: Evidence, seen: Sequence[Seen], rule: str, repeats: int = 8
) -> Iterator[Replay]:
    """The trial as if fewer flexibility prompts, or fewer seeds, had been drawn.

    Each number of prompts and of seeds is drawn at random `repeats` times, once if it is all of them.
    Identity prompts are the question itself and bleed prompts are few: both stay, for the seeds drawn.
    """
    samples = seen[0].samples
    prompts = sorted(samples.loc[samples["purpose"] == "flexibility", "prompt_id"].unique())
    seeds = sorted(samples["seed"].unique())
    whole = RULES[rule](trial)
    rng = np.random.default_rng(int(trial.design.name.removeprefix("t")))
    for count, drawn in ((p, s) for p in PROMPTS for s in SEEDS):
        if count > len(prompts) or drawn > len(seeds):
            continue
        every = count == len(prompts) and drawn == len(seeds)
        for _ in range(1 if every else repeats):
            mine = set(rng.choice(prompts, count, replace=False).tolist())
            own = set(rng.choice(seeds, drawn, replace=False).tolist())
            rows = _chosen(seen[0], mine, own)
            part = replace(trial, bakes=[_scored(one, _chosen(one, mine, own)) for one in seen])
            choice = RULES[rule](part)
            yield Replay(
                f"{count} prompts, {drawn} seeds", trial.loss(choice), part.rank_correlation(),
                (choice.bake, choice.number) == (whole.bake, whole.number), float(rows.mean()),
            )  # fmt: skip


def _chosen(seen: Seen, prompts: set[str], seeds: set[str]) -> np.ndarray:
    """(N,) bool: pictures of these seeds, without the flexibility prompts that were not drawn."""
    samples = seen.samples
    asked = (samples["purpose"] != "flexibility") | samples["prompt_id"].isin(prompts)
    return (asked & samples["seed"].isin(seeds)).to_numpy()


def _scored(seen: Seen, rows: np.ndarray) -> list[EpochScore]:
    """The epochs of a bake, scored by these pictures alone."""
    inputs = seen.inputs(rows)
    number, nominal = inputs.seen.samples["epoch"], inputs.seen.samples["nominal"]
    return [
        _epoch(seen.label, int(epoch), inputs, ((number == epoch) & nominal).to_numpy())
        for epoch in sorted(number.unique())
    ]


def _epoch(label: str, epoch: int, inputs: ScoreInputs, rows: np.ndarray) -> EpochScore:
    at = np.flatnonzero(rows)
    part = inputs.seen.samples.iloc[at]
    names = part["prompt_id"] + ": " + part["prompt"]
    draws = bootstrap.resample(list(part["purpose"]), list(names), list(part["seed"]), DRAWS)
    pictures = PictureSet(inputs, at, draws)
    wanted = {metric.name for metric in DECISIVE}
    numbers = {m.name: m.compute(pictures) for m in METRICS if m.compute and m.name in wanted}
    numbers[TRADEOFF.name] = tradeoff(numbers, SHIPPED)
    return EpochScore(
        label,
        epoch,
        {name: float(values[0]) for name, values in numbers.items()},
        draws={name: values[1:] for name, values in numbers.items()},
    )


def halved(trial: Evidence, settings: Halving, rule: str) -> Replay:
    """The trial as if its worst bakes had been stopped early; each epoch is as it was.

    The schedule of a bake that goes on is that of the whole bake, so its epochs are the same.
    """
    left = {bake[0].bake: math.inf for bake in trial.bakes}
    for epoch in settings.after:
        racing = [label for label, until in left.items() if math.isinf(until)]
        ranks = {e.bake: e.rank for e in trial.epochs if e.number == epoch}
        contenders = [halve.Contender(one, one, ranks.get(one, math.nan)) for one in racing]
        for standing in halve.rank(contenders, settings.places(len(contenders)), epoch):
            if not standing.goes_on:
                left[standing.bake] = epoch
    bakes = [[e for e in bake if e.number <= left[e.bake]] for bake in trial.bakes]
    part = replace(trial, bakes=bakes)
    choice, whole = RULES[rule](part), RULES[rule](trial)
    return Replay(
        f"after {', '.join(map(str, settings.after))}, keep {settings.keep:.2g}",
        trial.loss(choice), part.rank_correlation(),
        (choice.bake, choice.number) == (whole.bake, whole.number),
        len(part.epochs) / len(trial.epochs),
    )  # fmt: skip
