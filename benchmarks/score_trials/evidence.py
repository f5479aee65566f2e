"""What a finished trial shows: the scores of every epoch, and what is true of it.

Scores are kept with their draws, so that other weights and rules can be tried without a new picture.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import proof
from eigenpictures import Eigenpictures, shown_by_the_vae
from proof import Yardstick
from score_trials import data_sets, setting_up
from score_trials.choices import Evidence
from score_trials.design import Design

from bakery.io import tables
from bakery.report.recommendation import EpochScore, read_draws
from bakery.report.results import Bake
from bakery.scoring.metrics import DECISIVE, TRADEOFF
from bakery.tags import captions


def read(design: Design, place: Path, yardstick: Yardstick) -> Evidence:
    """The evidence of the finished trial in the folder `place`."""
    own = json.loads((place / data_sets.FACTS).read_text("utf-8"))["own"]
    own = [captions.same(tag) for tag in own]
    eye = _for_character(yardstick, np.load(place / data_sets.WHOLE))
    truth = {
        (bake.label, epoch): value
        for bake in setting_up.bakes(place, setting_up.UNSEEN)
        for epoch, value in proof.truth_of(bake, own, eye).items()
        if epoch
    }
    scored = setting_up.bakes(place, setting_up.SCORED)
    rates = {bake.label: float(bake.settings["train.unet_lr"]) for bake in scored}
    return Evidence(design, [epochs_of(bake) for bake in scored], truth, rates)


def _for_character(yardstick: Yardstick, pictures: np.ndarray) -> Yardstick:
    """The yardstick that takes nearly all of these pictures of the character for whole."""
    eye: Eigenpictures | None = yardstick.eye
    if eye is None:
        return yardstick
    return Yardstick(yardstick.tagger, eye, eye.limit(shown_by_the_vae(pictures)))


def epochs_of(bake: Bake) -> list[EpochScore]:
    """The epochs of a bake with their scores and draws, the base among them."""
    place = bake.folders["score"]
    names = [metric.name for metric in (*DECISIVE, TRADEOFF)]
    table = tables.read(place / "epochs.csv", ("epoch", *names))
    for name in ("epoch", *names):
        table[name] = tables.numbers(table[name], place / "epochs.csv").astype(float)
    draws = read_draws(place / "draws.csv")
    return [
        EpochScore(
            bake.label,
            int(row["epoch"]),
            {name: row[name] for name in names},
            draws=draws.get(int(row["epoch"]), {}),
        )
        for row in tables.records(table)
    ]
