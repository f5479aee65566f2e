"""The truth about a finished bake, as the yardstick sees it on pictures that are not scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from score_trials.doubts import Doubts
from score_trials.yardstick import Yardstick

from bakery.io import tables
from bakery.report.results import Bake
from bakery.tags import captions


def of_bake(bake: Bake, own: Sequence[str], yardstick: Yardstick) -> dict[int, float]:
    """Epoch -> truth of a finished bake, the base (0) among them. `own` are the character's tags."""
    samples = tables.read(bake.folders["sample"] / "samples.csv", ("image", "reference"))
    seen = yardstick.look(bake.folders["sample"], list(samples["image"]))
    return by_epoch(samples.to_dict("records"), seen, own)


def by_epoch(
    samples: Iterable[Mapping[str, str]], seen: Mapping[str, set[str]], own: Sequence[str]
) -> dict[int, float]:
    """Epoch -> harmonic mean of two shares, by the yardstick, at the nominal weight.

    How many of the character's `own` tags are on identity pictures; how many of the tags asked by
    flexibility prompts are there, of those that the base shows on their references (at most 1).
    """
    shown: dict[int, list[int]] = {}
    for row in samples:
        if row["nominal"] != "1":
            continue
        own_found, own_asked, found, known = shown.setdefault(int(row["epoch"]), [0, 0, 0, 0])
        if row["purpose"] == "identity":
            own_found += sum(tag in seen[row["image"]] for tag in own)
            own_asked += len(own)
        elif row["purpose"] == "flexibility":
            asked = [captions.same(tag) for tag in tables.split(row["asked"])]
            found += sum(tag in seen[row["image"]] for tag in asked)
            known += sum(tag in seen[row["reference"]] for tag in asked)
        shown[int(row["epoch"])] = [own_found, own_asked, found, known]
    result = {}
    for epoch, (own_found, own_asked, found, known) in shown.items():
        identity = own_found / own_asked if own_asked else math.nan
        obedience = min(1.0, found / known) if known else math.nan
        total = identity + obedience
        result[epoch] = 2 * identity * obedience / total if total else 0.0
    return result


def doubts(bakes: Iterable[Bake], yardstick: Yardstick) -> Doubts:
    """Of all scored pictures of some bakes of one character."""
    told, whole = [np.empty(0)], [np.empty(0, bool)]
    for bake in bakes:
        rows = tables.read(bake.folders["score"] / "scores.csv", ("image", "epoch", "doubt"))
        rows = rows[(rows["epoch"] != "0") & (rows["doubt"] != "")]
        told.append(rows["doubt"].astype(float).to_numpy())
        whole.append(yardstick.whole(bake.folders["sample"], list(rows["image"])))
    return Doubts(np.concatenate(told), np.concatenate(whole))
