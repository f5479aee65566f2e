"""Successive halving: which bakes of a sweep continue, and why.

Formula: of n bakes still training the best ceil(keep * n) continue, as in Jamieson and Talwalkar,
Non-stochastic Best Arm Identification and Hyperparameter Optimization (2016).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakery.io import manifest, tables
from bakery.pages.page import fixed
from bakery.report.recommendation import EpochScore
from bakery.scoring.metrics import BALANCED, TRADEOFF
from bakery.settings.halve import Halving

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contender:
    """A bake that may continue."""

    bake: str
    """The name of the folder it is baked in."""
    label: str
    tradeoff: float
    """What it is ranked by (`recommendation.EpochScore.rank`); NaN if nothing was measured."""
    failure: str = ""
    """Why it cannot continue, if so."""


@dataclass(frozen=True)
class Standing:
    """A bake's rank after a rung."""

    bake: str
    label: str
    epoch: int
    rank: int
    """1 is the best."""
    of: int
    """Bakes that were ranked."""
    tradeoff: float | None
    """None where nothing was measured."""
    goes_on: bool
    reason: str


def decide(settings: Halving, bakes: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """The verdict on `bakes` (`halving.contenders`) after the epoch of `settings`.

    A bake that an earlier verdict stopped, or that failed in an earlier rung, is not ranked again.
    """
    (epoch,) = settings.after
    contenders = [contender for bake in bakes if (contender := _contender(bake, epoch)) is not None]
    standings = rank(contenders, settings.places(len(contenders)), epoch)
    for one in standings:
        log.info("%s: %s", one.label, one.reason)
    return {
        "epoch": epoch,
        "keep": settings.keep,
        "go_on": sum(one.goes_on for one in standings),
        "bakes": [asdict(one) for one in standings],
    }


def rank(contenders: Sequence[Contender], places: int, epoch: int) -> list[Standing]:
    """The standings after `epoch`, the best first; at most `places` bakes continue.

    Bakes without a score come after those with one, failed ones last; among equals, the smaller
    label is first. A failed bake never continues. If no bake has a score, none is stopped.
    """
    ranked = sorted(
        contenders,
        key=lambda one: (bool(one.failure), *_sort_key(one.tradeoff), one.label, one.bake),
    )
    blind = all(math.isnan(one.tradeoff) for one in contenders)
    standings = []
    for place, one in enumerate(ranked, start=1):
        goes_on = not one.failure and (blind or place <= places)
        standings.append(
            Standing(
                bake=one.bake,
                label=one.label,
                epoch=epoch,
                rank=place,
                of=len(ranked),
                tradeoff=None if math.isnan(one.tradeoff) else one.tradeoff,
                goes_on=goes_on,
                reason=_reason(one, place, len(ranked), epoch, goes_on, blind),
            )
        )
    return standings


def _sort_key(tradeoff: float) -> tuple[bool, float]:
    """Sort key: the highest first, unmeasured ones last."""
    return math.isnan(tradeoff), 0.0 if math.isnan(tradeoff) else -tradeoff


def _reason(one: Contender, place: int, of: int, epoch: int, goes_on: bool, blind: bool) -> str:
    if one.failure:
        return one.failure
    if blind:
        return f"goes on after epoch {epoch}: no bake has a trade-off to be ranked by"
    measured = "no trade-off was measured"
    if not math.isnan(one.tradeoff):
        measured = f"trade-off {fixed(one.tradeoff)}"
    what = "goes on after" if goes_on else "stopped after"
    by = "" if goes_on else " by halving"
    return f"{what} epoch {epoch}{by}: rank {place} of {of}, {measured}"


def _contender(bake: Mapping[str, str], epoch: int) -> Contender | None:
    stopped = manifest.read(Path(bake["train"]))["summary"].get("stopped")
    if stopped is None:
        return Contender(bake["bake"], bake["label"], _tradeoff(Path(bake["score"]), bake, epoch))
    if stopped["until"] < epoch:
        return None
    return Contender(bake["bake"], bake["label"], math.nan, stopped["sentence"])


def _tradeoff(score: Path, bake: Mapping[str, str], epoch: int) -> float:
    """The score of the bake's epoch, the same as in the recommendation."""
    path = score / "epochs.csv"
    names = [metric.name for metric in (*BALANCED, TRADEOFF)]
    table = tables.read(path, ("epoch", *names))
    for name in ("epoch", *names):
        table[name] = tables.numbers(table[name], path).astype(float)
    here = tables.records(table[table["epoch"] == epoch])
    if not here:
        return math.nan
    return EpochScore(bake["label"], epoch, {name: here[0][name] for name in names}).rank
