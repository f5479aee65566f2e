"""Which epoch of which bake to take, and the sentences that explain it.

The highest trade-off is recommended. Others may be as good: those within one standard error of it,
compared draw by draw, since all epochs start from the same noise. The reasons say so. Why it is not
the most certain of them, nor the earliest: docs/proof.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bakery.io import tables
from bakery.pages.page import fixed
from bakery.scoring import bootstrap
from bakery.scoring.metrics import BALANCED, DECISIVE, METRICS, TRADEOFF, listed

_FIDELITY, _FLEXIBILITY = (metric.name for metric in BALANCED)


@dataclass(frozen=True, eq=False)
class EpochScore:
    """Scores and file of one epoch of one bake; number 0 is the base, without a file."""

    bake: str
    number: int
    scores: Mapping[str, float]
    """Metric -> its value; NaN or missing if it was not measured."""
    file: str = ""
    draws: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Metric -> its bootstrap draws (D,), for the trade-off and what is `DECISIVE`."""
    leaks: Mapping[str, int] = field(default_factory=dict)
    """Tag that leaked -> on how many pictures."""

    def score(self, name: str) -> float:
        return self.scores.get(name, math.nan)

    @property
    def balance(self) -> float:
        """Harmonic mean of fidelity F and flexibility X: 2 F X / (F + X); 0 where both are 0.

        It is high only if both are: a LoRA that draws the character whatever the prompt, or follows
        prompts without ever showing the character, gets almost nothing.
        """
        fidelity, flexibility = self.score(_FIDELITY), self.score(_FLEXIBILITY)
        total = fidelity + flexibility
        if math.isnan(total):
            return math.nan
        return 2 * fidelity * flexibility / total if total else 0.0

    @property
    def rank(self) -> float:
        """The trade-off, or the balance if no trade-off was measured."""
        tradeoff = self.score(TRADEOFF.name)
        return self.balance if math.isnan(tradeoff) else tradeoff

    def values(self, name: str) -> np.ndarray:
        """A metric as measured and its draws, (1 + D,); `rank` is what epochs are ranked by."""
        ranked = name == "rank"
        measured = self.rank if ranked else self.score(name)
        draws = self.draws.get(TRADEOFF.name if ranked else name, np.empty(0))
        return np.concatenate([[measured], draws])


@dataclass(frozen=True)
class Recommendation:
    """The recommended epoch (None without one), a headline, and the reasons, a sentence each."""

    best: EpochScore | None
    """The recommended epoch."""
    title: str
    reasons: Sequence[str] = field(default=())
    beats_base: bool = True
    """False where the base without a LoRA ranks as high: then `best` is merely the best of them."""


def read_draws(path: Path) -> dict[int, dict[str, np.ndarray]]:
    """Epoch -> metric -> its draws (D,), from the score stage's draws.csv; {} where there is none.

    Metrics that an earlier version did not measure are missing.
    """
    if not path.is_file():
        return {}
    table = tables.read(path, ("epoch", "draw", TRADEOFF.name))
    names = [metric.name for metric in (TRADEOFF, *DECISIVE) if metric.name in table.columns]
    for name in ("epoch", "draw", *names):
        table[name] = tables.numbers(table[name], path).astype(float)
    table = table.sort_values(["epoch", "draw"])
    return {
        int(part["epoch"].iloc[0]): {name: part[name].to_numpy() for name in names}
        for _, part in table.groupby("epoch")
    }


def recommend(bakes: Sequence[Sequence[EpochScore]]) -> Recommendation:
    """The epoch to take.

    Each entry of `bakes` holds the epochs of one bake, the base (number 0) among them. Among epochs
    of equal rank the earlier comes first, then the bake with the smaller name, so the order of
    `bakes` does not matter.
    """
    epochs = [epoch for bake in bakes for epoch in bake if epoch.number]
    ranked = _ranked(epochs)
    if not ranked:
        return _no_recommendation(epochs)
    best = ranked[0]
    siblings = next(bake for bake in bakes if best in bake)
    base = next((epoch for epoch in siblings if not epoch.number), None)
    title = f"{best.bake}, epoch {best.number}" if len(bakes) > 1 else f"Epoch {best.number}"
    reasons = [_numbers(best, base, len(bakes))]
    beats_base = base is None or not base.rank >= best.rank
    if base is not None and not beats_base:
        title = "No epoch beats the base"
        reasons.append(
            f"The base without a LoRA has a trade-off of {fixed(base.rank)}; the best of "
            f"{_count(len(ranked), 'epoch')}, {_name(best, len(bakes))} only {fixed(best.rank)}."
        )
    else:
        reasons.append(_rank(best, len(ranked), len(bakes)))
    reasons += _side_effects(best)
    reasons += _later(best, siblings)
    reasons += _rival(best, bakes)
    if best.number == max(epoch.number for epoch in siblings) > 1:
        reasons.append("It is the last epoch baked: more epochs might be better still.")
    return Recommendation(best, title, reasons, beats_base)


def _ranked(epochs: Sequence[EpochScore]) -> list[EpochScore]:
    """The epochs of LoRAs that have a rank, the highest first."""
    return sorted(
        (epoch for epoch in epochs if epoch.number and not math.isnan(epoch.rank)),
        key=lambda epoch: (-epoch.rank, epoch.number, epoch.bake),
    )


def close(best: np.ndarray, other: np.ndarray) -> bool:
    """`bootstrap.close`, also where only one of the two, or neither, has draws."""
    draws = min(len(best), len(other))
    return bootstrap.close(best[:draws], other[:draws])


def _no_recommendation(epochs: Sequence[EpochScore]) -> Recommendation:
    if not epochs:
        return Recommendation(None, "Nothing to compare", ["No bake has saved an epoch."])
    lacking = [
        metric.name
        for metric in BALANCED
        if all(math.isnan(epoch.score(metric.name)) for epoch in epochs)
    ]
    what = " and ".join(lacking) or "fidelity and flexibility together"
    return Recommendation(
        None,
        "No verdict",
        [
            f"The samples do not show {what}.",
            "There must be identity prompts and flexibility prompts, and the character needs at "
            "least one trait that the tagger sees.",
        ],
    )


def _numbers(best: EpochScore, base: EpochScore | None, bakes: int) -> str:
    """`EpochScore 3 of unet_lr 0.00016: 0.91 of the traits (the base: 0.15), 0.84 of what was asked.`"""
    floor = math.nan if base is None else base.score(_FIDELITY)
    against = "" if math.isnan(floor) else f" (the base: {fixed(floor)})"
    of = f" of {best.bake}" if bakes > 1 else ""
    return (
        f"Epoch {best.number}{of}: {fixed(best.score(_FIDELITY))} of the traits{against}, "
        f"{fixed(best.score(_FLEXIBILITY))} of what was asked."
    )


def _rank(best: EpochScore, epochs: int, bakes: int) -> str:
    among = f"{_count(epochs, 'epoch')} in {bakes} bakes" if bakes > 1 else _count(epochs, "epoch")
    if epochs == 1:
        return f"Its trade-off is {fixed(best.rank)}."
    return f"Its trade-off, {fixed(best.rank)}, is the highest of {among}."


def _side_effects(best: EpochScore) -> Iterator[str]:
    for metric in METRICS:
        value = best.score(metric.name)
        if metric.remark and metric.remarkable(value):
            yield metric.remark.best(value, _tags(best.leaks))


def _later(best: EpochScore, siblings: Sequence[EpochScore]) -> Iterator[str]:
    """What the next epoch would have brought."""
    after = [e for e in siblings if e.number > best.number and not math.isnan(e.rank)]
    if not after:
        return
    later = min(after, key=lambda epoch: epoch.number)
    parts = []
    names = [metric.name for metric in BALANCED]
    gains = [
        f"{name} {fixed(later.score(name) - best.score(name))}"
        for name in names
        if _beyond(later, best, name)
    ]
    losses = [name for name in names if _beyond(best, later, name)]
    if losses:
        parts.append(f"loses {' and '.join(losses)}")
    if not gains and not losses:
        parts.append("adds nothing beyond noise")
    if gains:
        parts.append(f"adds {' and '.join(gains)}")
    for metric in METRICS:
        value = later.score(metric.name)
        worse = (best, later) if metric.good else (later, best)
        if metric.remark and metric.remarkable(value) and _beyond(*worse, metric.name):
            parts.append(metric.remark.later(value, _tags(later.leaks)))
    yield f"Epoch {later.number} {listed(parts)}."


def _rival(best: EpochScore, bakes: Sequence[Sequence[EpochScore]]) -> Iterator[str]:
    """The best of the other bakes."""
    others = _ranked([epoch for bake in bakes if best not in bake for epoch in bake])
    if not others:
        return
    rival = others[0]
    said = f"Next is {_name(rival, len(bakes))} with {fixed(rival.rank)}"
    if close(best.values("rank"), rival.values("rank")):
        yield f"{said}, too close to tell apart with these prompts and seeds."
    else:
        yield f"{said}."


def _beyond(more: EpochScore, less: EpochScore, name: str) -> bool:
    """Whether a metric of `more` is higher than that of `less` beyond noise."""
    here, there = more.values(name), less.values(name)
    if math.isnan(here[0]) or math.isnan(there[0]):
        return False
    return not close(here, there)


def _tags(leaks: Mapping[str, int]) -> str:
    """The tags that leak most: `the red jacket`."""
    often = sorted(leaks, key=lambda tag: (-leaks[tag], tag))[:2]
    return f"the {' and the '.join(often)}" if often else ""


def _name(epoch: EpochScore, bakes: int) -> str:
    return f"{epoch.bake}, epoch {epoch.number}," if bakes > 1 else f"epoch {epoch.number}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
