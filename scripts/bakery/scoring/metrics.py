"""The metrics of an epoch: a record each, with the pictures it is computed from.

A new metric is a record here and, if it should cost something in the trade-off, a weight in
`settings/score.py`: tables, page and recommendation follow. docs/scores.md has to define it.

`formulas` has everything beyond a mean; `compute` chooses the pictures by their purpose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bakery.io import tables
from bakery.scoring import formulas, observations
from bakery.scoring.diagnostics import DIAGNOSTICS
from bakery.scoring.metric import Metric, PictureColumn, PictureSet, Remark, ScoreInputs
from bakery.scoring.observations import Observations


def _fidelity(chosen: PictureSet) -> np.ndarray:
    inputs, seen = chosen.inputs, chosen.seen
    draws, at = chosen.select("identity")
    found, asked = seen.found_count[at], seen.asked_count[at]
    return formulas.fidelity(draws.times, found, asked, inputs.ceiling)


def _no_fidelity(inputs: ScoreInputs) -> str:
    if not inputs.seen.traits:
        return "fidelity is empty: no trait is seen on enough of the training pictures"
    if not inputs.seen.of("identity").any():
        return "fidelity is empty: no prompt has the purpose identity"
    return ""


def _traits_seen(inputs: ScoreInputs) -> list[str]:
    seen = inputs.seen
    return [
        tables.join(seen.traits[i] for i in np.flatnonzero(row).tolist()) for row in seen.trait_seen
    ]


def _trait_share(inputs: ScoreInputs, rows: np.ndarray) -> float:
    seen = inputs.seen
    return float(seen.trait_seen[rows].mean()) if len(seen.traits) else math.nan


def _flexibility(chosen: PictureSet) -> np.ndarray:
    seen = chosen.seen
    draws, at = chosen.select("flexibility", where=seen.reference >= 0)
    return formulas.flexibility(draws.times, seen.found_count[at], seen.reference_count[at])


def _no_flexibility(inputs: ScoreInputs) -> str:
    seen = inputs.seen
    if not seen.asked_count[seen.of("flexibility")].sum():
        return "flexibility is empty: no flexibility prompt asks for a tag the tagger knows"
    return "flexibility is empty: the base itself shows nothing of what is asked"


def _leak(chosen: PictureSet) -> np.ndarray:
    seen = chosen.seen
    draws, at = chosen.select(*observations.LEAK_PURPOSES, where=seen.base >= 0)
    pull = np.array([s - b for s, b in seen.habits.values()])
    base = seen.habit_seen[seen.base[at]]
    return formulas.leak(draws.times, seen.habit_seen[at], base, seen.habit_open[at], pull)


def _leaked_count(inputs: ScoreInputs, rows: np.ndarray) -> float:
    """Leaked tags a picture; NaN where a leak does not count."""
    seen = inputs.seen
    if seen.samples["purpose"].iloc[rows[0]] not in observations.LEAK_PURPOSES:
        return math.nan
    return float(np.mean([len(seen.leaked[row]) for row in rows]))


def _bleed(chosen: PictureSet) -> np.ndarray:
    inputs, seen = chosen.inputs, chosen.seen
    draws, at = chosen.select("bleed", where=seen.base >= 0)
    traits, base = seen.trait_seen[at], seen.trait_seen[seen.base[at]]
    return formulas.bleed(draws.times, traits, base, seen.trait_open[at], inputs.ceiling)


def _no_bleed(inputs: ScoreInputs) -> str:
    seen = inputs.seen
    if not seen.of("bleed").any():
        return "bleed and drift are empty: no prompt has the purpose bleed"
    if not (seen.of("bleed") & (seen.base >= 0)).any():
        return "bleed and drift are empty: the base has drawn no bleed prompt"
    if seen.traits:
        return "bleed is empty: the base shows the traits as often as the training pictures"
    return ""


def _clarity(chosen: PictureSet) -> np.ndarray:
    seen = chosen.seen
    draws, at = chosen.select(*observations.LORA_PURPOSES, where=seen.base >= 0)
    own = seen.doubt[at], seen.expected[at]
    base = seen.doubt[seen.base[at]], seen.expected[seen.base[at]]
    return formulas.clarity(draws.times, *own, *base)


def _doubt_per_tag(seen: Observations, rows: Sequence[int] | np.ndarray) -> float:
    """Bits a tag, over these pictures; NaN where no tag is expected."""
    tags = seen.expected[rows].sum()
    return float(seen.doubt[rows].sum() / tags) if tags else math.nan


def _drift(chosen: PictureSet) -> np.ndarray:
    seen = chosen.seen
    draws, at = chosen.select("bleed", where=seen.base >= 0)
    return formulas.mean(draws.times, seen.drift[at])


def _variety(chosen: PictureSet) -> np.ndarray:
    seen = chosen.seen
    features = seen.matrix.features(without=seen.traits)
    draws, at = chosen.select(*observations.TRIGGER_PURPOSES, where=seen.base >= 0)
    prompts = seen.samples["prompt_id"].to_numpy()[at]
    groups = [np.flatnonzero(prompts == prompt) for prompt in dict.fromkeys(prompts)]
    return formulas.variety(draws, groups, features[at], features[seen.base[at]])


def _memorised(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select(*observations.TRIGGER_PURPOSES)
    return formulas.mean(draws.times, chosen.inputs.fact("memorised")[at])


def _broken(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select()
    return formulas.mean(draws.times, chosen.inputs.fact("broken")[at])


def _likeness(chosen: PictureSet) -> np.ndarray:
    inputs = chosen.inputs
    draws, at = chosen.select("identity")
    return formulas.likeness(draws.times, inputs.fact("likeness")[at], inputs.likest)


METRICS = (
    Metric(
        name="fidelity",
        heading="Fidelity",
        meaning="traits of the character that the trigger alone brings back, relative to the"
        " training pictures",
        formula="traits found on identity pictures / traits asked, divided by the ceiling (mean s of"
        " the traits), at most 1",
        compute=_fidelity,
        balanced=True,
        by_weight=True,
        chart="How much of the character the trigger alone brings back.",
        headline=True,
        against=("training",),
        columns=(PictureColumn("traits_seen", _traits_seen, _trait_share),),
        why_empty=_no_fidelity,
    ),
    Metric(
        name="flexibility",
        heading="Flexibility",
        meaning="how much of what prompts ask for beyond the character is drawn, relative to the "
        "base",
        formula="tags found on flexibility pictures / tags found on their references, at most 1;"
        " empty when the base finds none",
        compute=_flexibility,
        balanced=True,
        by_weight=True,
        chart="How much of what prompts ask for beyond the character is drawn.",
        headline=True,
        against=("prompts",),
        why_empty=_no_flexibility,
    ),
    Metric(
        name="leak",
        heading="Leak",
        meaning="outfits and scenes of the training pictures that no prompt asked for",
        formula="sum over habits of max(0, r - b) / max(1, sum over habits of s - b), on identity and"
        " flexibility pictures that do not ask for the habit",
        good=0,
        compute=_leak,
        cost="leak_weight",
        chart="Outfits and scenes of the training pictures that no prompt asked for. Lower is "
        "better.",
        headline=True,
        against=("training", "prompts"),
        columns=(
            PictureColumn(
                "leaked",
                lambda inputs: [tables.join(tags) for tags in inputs.seen.leaked],
                _leaked_count,
            ),
        ),
        remark=Remark(
            0.05,
            lambda value, tags: f"It leaks{tags and f' {tags}'} unasked (leak {value:.2f}).",
            lambda value, tags: f"leaks {tags or 'more'}",
        ),
        why_empty=lambda inputs: (
            "leak is empty: the base has drawn no identity or flexibility prompt"
        ),
    ),
    Metric(
        name="bleed",
        heading="Bleed",
        meaning="the character's traits in pictures without the trigger",
        formula="(mean r - mean b) / (ceiling - mean b) of the traits on bleed pictures, between 0"
        " and 1",
        good=0,
        compute=_bleed,
        cost="bleed_weight",
        against=("training", "prompts"),
        remark=Remark(
            0.05,
            lambda value, tags: f"Without the trigger, {value:.0%} of the character still appears.",
            lambda value, tags: "bleeds more",
        ),
        why_empty=_no_bleed,
    ),
    Metric(
        name="clarity",
        heading="Clarity",
        meaning="how sure the tagger is of what it sees, relative to the base's pictures: it is "
        "unsure"
        " about frayed ones",
        formula="doubt per tag on the base's pictures of the same cells / doubt per tag on the"
        " pictures, at most 1; empty where no tag is expected",
        compute=_clarity,
        cost="clarity_weight",
        chart="How sure the tagger is of what it sees. It is unsure about burnt, frayed pictures.",
        columns=(
            PictureColumn(
                "doubt",
                lambda inputs: [
                    _doubt_per_tag(inputs.seen, [row]) for row in range(len(inputs.image_stats))
                ],
                lambda inputs, rows: _doubt_per_tag(inputs.seen, rows),
            ),
        ),
        remark=Remark(
            0.8,
            lambda value, tags: (
                f"Its pictures are less clear than the base's (clarity {value:.2f})."
            ),
            lambda value, tags: f"frays (clarity {value:.2f})",
        ),
    ),
    Metric(
        name="drift",
        heading="Drift",
        meaning="how far pictures without the trigger are from the base's own",
        formula="mean Ruzicka distance of the tagger's probabilities between a bleed picture and the"
        " base's of the same cell",
        good=0,
        compute=_drift,
        columns=(
            PictureColumn(
                "drift",
                lambda inputs: inputs.seen.drift,
                lambda inputs, rows: inputs.seen.drift[rows].mean(),
            ),
        ),
    ),
    Metric(
        name="variety",
        heading="Variety",
        meaning="how much pictures of one prompt differ, relative to the base's",
        formula="mean Ruzicka distance between pictures of one prompt, traits left out, relative to"
        " the base's, at most 1",
        compute=_variety,
    ),
    Metric(
        name="memorised",
        heading="Memorised",
        meaning="pictures that nearly repeat a training picture",
        formula="share of the pictures with the trigger that are near-duplicates of a training"
        " picture, by the filter's own test",
        good=0,
        compute=_memorised,
        columns=(
            PictureColumn("nearest", lambda inputs: inputs.image_stats["nearest"]),
            PictureColumn("nearest_bits", lambda inputs: inputs.fact("nearest_bits"), whole=True),
            PictureColumn.of_fact("memorised"),
        ),
    ),
    Metric(
        name="broken",
        heading="Broken",
        meaning="pictures without content",
        formula="share of pictures without content: no channel varies, as after an overflow",
        good=0,
        compute=_broken,
        columns=(PictureColumn.of_fact("broken"),),
    ),
    Metric(
        name="likeness",
        heading="Likeness",
        meaning="closeness to the character, by the embedding model",
        formula="mean cosine to the centre of the training pictures, relative to what these have"
        " themselves",
        compute=_likeness,
        columns=(PictureColumn("likeness", lambda inputs: inputs.fact("likeness")),),
    ),
)
"""The measured metrics, in the order of epochs.csv; the trade-off follows there."""

BALANCED = tuple(metric for metric in METRICS if metric.balanced)
"""The two whose harmonic mean the trade-off starts from."""
COSTS = tuple(metric for metric in METRICS if metric.cost)
"""The metrics that the trade-off subtracts."""
DECISIVE = (*BALANCED, *COSTS)
"""The metrics that the trade-off is made of, and by it the choice of an epoch."""


def tradeoff(numbers: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The score that the recommendation ranks by, at least 0.

    tradeoff = 2 F X / (F + X) - sum over `COSTS` of weight * distance from the good end

    F and X are `BALANCED`, fidelity and flexibility: the harmonic mean is high only if both are.
    Costs that were not measured are 0. `weights` has one for each, by its name.
    """
    cost = sum(weights[m.name] * np.nan_to_num(m.loss(numbers[m.name])) for m in COSTS)
    one, other = (numbers[metric.name] for metric in BALANCED)
    return np.maximum(0.0, formulas.harmonic(one, other) - cost)


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


TRADEOFF = Metric(
    name="tradeoff",
    heading="Score",
    meaning=f"what the recommendation is based on: the harmonic mean of"
    f" {listed([m.name for m in BALANCED])}, less"
    f" {listed([m.name if not m.good else f'what {m.name} lacks' for m in COSTS])}",
    formula=f"harmonic mean of {listed([m.name for m in BALANCED])}"
    + "".join(f" - `{m.cost}` x {f'(1 - {m.name})' if m.good else m.name}" for m in COSTS)
    + ", at least 0",
    by_weight=True,
    headline=True,
    percent=False,
)
"""Computed from the others."""

IN_TABLES = (*METRICS, TRADEOFF)
"""The scores of every epoch, in the order of the tables; `DIAGNOSTICS` follow where they apply."""
ON_PAGE = (TRADEOFF, *METRICS, *DIAGNOSTICS)
"""The same in the order of the page and of results.csv."""
