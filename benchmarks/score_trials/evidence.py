"""What a finished trial shows: the scores of every epoch, and what is true of it.

Scores are kept with their draws, so that other weights and rules can be tried without a new picture.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from score_trials import data_sets, setting_up, truth
from score_trials.choices import Evidence
from score_trials.design import Design
from score_trials.yardstick import Yardstick

from bakery.io import tables
from bakery.report.recommendation import EpochScore, read_draws
from bakery.report.results import Bake
from bakery.scoring.metrics import DECISIVE, TRADEOFF
from bakery.tags import captions


def read(design: Design, place: Path, yardstick: Yardstick) -> Evidence:
    """The evidence of the finished trial in the folder `place`."""
    own = json.loads((place / data_sets.FACTS).read_text("utf-8"))["own"]
    own = [captions.same(tag) for tag in own]
    vae, side = setting_up.drawn_by(place)
    yardstick = yardstick.of(np.load(place / data_sets.WHOLE), vae, side)
    known = {
        (bake.label, epoch): value
        for bake in setting_up.bakes(place, setting_up.UNSEEN)
        for epoch, value in truth.of_bake(bake, own, yardstick).items()
        if epoch
    }
    scored = setting_up.bakes(place, setting_up.SCORED)
    rates = {bake.label: float(bake.settings["train.unet_lr"]) for bake in scored}
    doubts = truth.doubts(scored, yardstick)
    return Evidence(design, [epochs_of(bake) for bake in scored], known, rates, doubts)


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
