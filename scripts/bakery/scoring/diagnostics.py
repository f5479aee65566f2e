"""Metrics of what only some configs ask for: held-out pictures (`layout.holdout`), and a model that
tells characters apart (`score.likeness_model`).

They are diagnostics: tables and page have them where they were measured, and neither trade-off nor
recommendation knows of them. `metrics` holds those that every bake has.
"""

from __future__ import annotations

import numpy as np

from bakery.scoring import bootstrap, formulas, observations
from bakery.scoring.metric import Metric, PictureColumn, PictureSet, ScoreInputs


def _nearer(chosen: PictureSet) -> np.ndarray:
    held = chosen.inputs.held_out
    assert held is not None
    draws, at = chosen.select(*observations.TRIGGER_PURPOSES)
    drawn = len(draws.times) - 1
    counts = bootstrap.resample_things("held-out pictures", held.names, drawn)
    own = chosen.inputs.fact("nearest_bits")[at]
    share = formulas.superiority(draws.times, own, counts, held.bits)
    return np.maximum(0.0, 2 * share - 1)


def _same_character(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select("identity")
    return formulas.mean(draws.times, chosen.inputs.fact("same_character")[at])


def _difference(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select("identity")
    return formulas.mean(draws.times, chosen.inputs.fact("difference")[at])


def _mean_of(name: str, *, whole: bool = False) -> PictureColumn:
    def mean(inputs: ScoreInputs, rows: np.ndarray) -> float:
        return float(inputs.fact(name)[rows].mean())

    return PictureColumn(name, lambda inputs: inputs.fact(name), mean, whole=whole)


DIAGNOSTICS = (
    Metric(
        name="nearer",
        heading="Nearer to training",
        meaning="how much more often than chance a picture is nearer to a training picture than held-out"
        " pictures are",
        formula="2 p - 1, at least 0, where p is the share of pairs of a picture with the trigger and a"
        " held-out picture of which the former has fewer bits to its nearest training picture; ties"
        " count half",
        good=0,
        compute=_nearer,
        chart="How much more often than chance a picture is nearer to a training picture than held-out"
        " pictures are. At 0% it is no nearer than what was never trained on, at 100% it is learnt by"
        " heart. A diagnostic: it counts for no score.",
        columns=(
            PictureColumn("held_out_bits", lambda inputs: inputs.fact("held_out_bits"), whole=True),
        ),
        needs="held_out_bits",
    ),
    Metric(
        name="same_character",
        heading="Same character",
        meaning="pictures that the likeness model takes for the same character",
        formula="share of the identity pictures that the model takes for the same character as at least"
        " half of the held-out pictures (without any, of the training pictures), by its own threshold",
        compute=_same_character,
        chart="How many pictures the likeness model takes for the same character. A diagnostic: it"
        " counts for no score.",
        columns=(_mean_of("same_character", whole=True),),
        needs="same_character",
    ),
    Metric(
        name="difference",
        heading="Difference",
        meaning="how different the character is, by the likeness model",
        formula="mean difference, by the likeness model, between an identity picture and the held-out"
        " pictures (without any, the training pictures)",
        good=0,
        compute=_difference,
        columns=(_mean_of("difference"),),
        needs="difference",
    ),
)
"""In the order of the tables, where they follow all others."""
