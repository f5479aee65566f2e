"""Which epoch of which bake to take, and the sentences that say why.

Several epochs are the best as far as one can tell: those within one standard error of the highest
trade-off, taken draw by draw, since all epochs start from the same noise. Recommended is the surest of
them, whose interval reaches down least. docs/scores.md says what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bakery.io import tables
from bakery.pages.page import fixed, percent
from bakery.scoring import bootstrap

RANKED = {"fidelity": 1, "flexibility": 1, "leak": -1, "bleed": -1, "clarity": 1}
"""Metrics that decide -> 1 where more is better, -1 where less is."""
NOTED = 0.05
"""A leak or bleed from which a sentence is worth its room."""
FRAYED = 0.8
"""A clarity below which a sentence is."""


@dataclass(frozen=True, eq=False)
class Epoch:
    """Scores and file of one epoch of one bake; number 0 is the base, without a file."""

    bake: str
    number: int
    fidelity: float
    flexibility: float
    leak: float = math.nan
    bleed: float = math.nan
    clarity: float = math.nan
    tradeoff: float = math.nan
    file: str = ""
    draws: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Metric -> its bootstrap draws (D,), for `tradeoff` and those of `RANKED`."""
    leaks: Mapping[str, int] = field(default_factory=dict)
    """Tag that leaked -> on how many pictures."""

    @property
    def balance(self) -> float:
        """Harmonic mean of fidelity F and flexibility X: 2 F X / (F + X); 0 where both are 0.

        It is high only if both are: a LoRA that paints the character whatever is asked, or obeys
        without ever showing the character, gets next to nothing.
        """
        total = self.fidelity + self.flexibility
        if math.isnan(total):
            return math.nan
        return 2 * self.fidelity * self.flexibility / total if total else 0.0

    @property
    def rank(self) -> float:
        """The trade-off, or the balance where no trade-off was measured."""
        return self.balance if math.isnan(self.tradeoff) else self.tradeoff

    @property
    def at_least(self) -> float:
        """The lower end of the rank's interval; the rank itself without draws."""
        low, _ = bootstrap.interval(self.values("rank"))
        return self.rank if math.isnan(low) else low

    def values(self, name: str) -> np.ndarray:
        """A metric as measured and its draws, (1 + D,); `rank` is what epochs are ranked by."""
        ranked = name == "rank"
        measured = self.rank if ranked else getattr(self, name)
        draws = self.draws.get("tradeoff" if ranked else name, np.empty(0))
        return np.concatenate([[measured], draws])


@dataclass(frozen=True)
class Verdict:
    """The recommended epoch (None without one), a headline, and the reasons, a sentence each."""

    best: Epoch | None
    """The recommended epoch."""
    title: str
    reasons: Sequence[str] = field(default=())
    top: Epoch | None = None
    """The epoch with the highest trade-off; the recommended one may be a surer equal of it."""
    beats_base: bool = True
    """False where the base without a LoRA ranks as high: then `best` is merely the best of them."""


def read_draws(path: Path) -> dict[int, dict[str, np.ndarray]]:
    """Epoch -> metric -> its draws (D,), from the score stage's draws.csv; {} where there is none.

    Metrics that an earlier version did not measure are simply not there.
    """
    if not path.is_file():
        return {}
    table = tables.read(path, ("epoch", "draw", "tradeoff"))
    names = [name for name in ("tradeoff", *RANKED) if name in table.columns]
    for name in ("epoch", "draw", *names):
        table[name] = tables.numbers(table[name], path).astype(float)
    table = table.sort_values(["epoch", "draw"])
    return {
        int(epoch): {name: part[name].to_numpy() for name in names}
        for epoch, part in table.groupby("epoch")
    }


def judge(bakes: Sequence[Sequence[Epoch]]) -> Verdict:
    """The epoch to take.

    Each entry of `bakes` holds the epochs of one bake, the base (number 0) among them. Of epochs
    that rank equal the earlier comes first, then the bake with the smaller name, so the order of
    `bakes` decides nothing.
    """
    epochs = [epoch for bake in bakes for epoch in bake if epoch.number]
    ranked = sorted(
        (epoch for epoch in epochs if not math.isnan(epoch.rank)),
        key=lambda epoch: (-epoch.rank, epoch.number, epoch.bake),
    )
    if not ranked:
        return _no_verdict(epochs)
    free = [one for one in ranked if not any(dominated(one, other) for other in ranked)]
    top = (free or ranked)[0]
    best = _surest(top, free or ranked)
    own = next(bake for bake in bakes if any(epoch is best for epoch in bake))
    base = next((epoch for epoch in own if not epoch.number), None)
    title = f"{best.bake}, epoch {best.number}" if len(bakes) > 1 else f"Epoch {best.number}"
    reasons = [_numbers(best, base, len(bakes))]
    beats_base = base is None or not base.rank >= best.rank
    if base is not None and not beats_base:
        title = "No epoch beats the base"
        reasons.append(
            f"The base without a LoRA reaches a trade-off of {fixed(base.rank)}; the best of "
            f"{_count(len(ranked), 'epoch')}, {_name(top, len(bakes))} only {fixed(top.rank)}."
        )
    else:
        reasons.append(_rank(best, top, len(ranked), len(bakes)))
    reasons += _side_effects(best)
    reasons += _later(best, own)
    reasons += _rival(best, top, ranked, len(bakes))
    if best.number == max(epoch.number for epoch in own) > 1:
        reasons.append("It is the last epoch baked: more epochs might be better still.")
    return Verdict(best, title, reasons, top, beats_base)


def dominated(one: Epoch, other: Epoch) -> bool:
    """Whether `other` beats `one` beyond noise in every metric of `RANKED` that both have.

    Beyond noise: by more than one standard error of the paired difference.
    """
    compared = 0
    for name, better in RANKED.items():
        here, there = one.values(name), other.values(name)
        if math.isnan(here[0]) or math.isnan(there[0]):
            continue
        compared += 1
        if close(better * there, better * here):
            return False
    return compared > 0


def close(best: np.ndarray, other: np.ndarray) -> bool:
    """`bootstrap.close`, also where only one of the two, or neither, has draws."""
    draws = min(len(best), len(other))
    return bootstrap.close(best[:draws], other[:draws])


def _surest(top: Epoch, ranked: Sequence[Epoch]) -> Epoch:
    """Of the epochs within the noise of `top` that with the highest lower end; of equals the earliest.

    Without draws `top` itself: nothing is known of how sure the others are.
    """
    level = top.values("rank")
    near = [epoch for epoch in ranked if close(level, epoch.values("rank"))]
    return min(near, key=lambda epoch: (-epoch.at_least, epoch.number, epoch.bake))


def _no_verdict(epochs: Sequence[Epoch]) -> Verdict:
    if not epochs:
        return Verdict(None, "Nothing to compare", ["No bake has saved an epoch."])
    lacking = [
        name
        for name in ("fidelity", "flexibility")
        if all(math.isnan(getattr(epoch, name)) for epoch in epochs)
    ]
    what = " and ".join(lacking) or "fidelity and flexibility together"
    return Verdict(
        None,
        "No verdict",
        [
            f"The samples say nothing about {what}.",
            "The grid needs prompts of both purposes, identity and flexibility, and the character "
            "at least one trait that the tagger sees.",
        ],
    )


def _numbers(best: Epoch, base: Epoch | None, bakes: int) -> str:
    """`Epoch 3 of unet_lr 0.00016: 0.91 of the traits (the base: 0.15), 0.84 of what was asked.`"""
    floor = base is not None and not math.isnan(base.fidelity)
    against = f" (the base: {fixed(base.fidelity)})" if floor else ""
    of = f" of {best.bake}" if bakes > 1 else ""
    return (
        f"Epoch {best.number}{of}: {fixed(best.fidelity)} of the traits{against}, "
        f"{fixed(best.flexibility)} of what was asked."
    )


def _rank(best: Epoch, top: Epoch, epochs: int, bakes: int) -> str:
    among = f"{_count(epochs, 'epoch')} in {bakes} bakes" if bakes > 1 else _count(epochs, "epoch")
    if epochs == 1:
        return f"Its trade-off is {fixed(best.rank)}."
    if best is top:
        return f"Its trade-off, {fixed(best.rank)}, is the highest of {among}."
    return (
        f"The highest trade-off of {among} is {fixed(top.rank)}, of {_name(top, bakes).rstrip(',')} (by "
        f"chance as low as {fixed(top.at_least)}); its own, {fixed(best.rank)}, is no worse beyond "
        f"noise, and surer (as low as {fixed(best.at_least)})."
    )


def _side_effects(best: Epoch) -> Iterator[str]:
    if best.leak >= NOTED:
        tags = _tags(best.leaks)
        yield f"It leaks{f' {tags}' if tags else ''} unasked (leak {fixed(best.leak)})."
    if best.bleed >= NOTED:
        yield f"Without the trigger, {percent(best.bleed)} of the character still comes."
    if best.clarity < FRAYED:
        yield f"Its pictures are less clear than the base's (clarity {fixed(best.clarity)})."


def _later(best: Epoch, own: Sequence[Epoch]) -> Iterator[str]:
    """What the next epoch would have brought."""
    after = [e for e in own if e.number > best.number and not math.isnan(e.rank)]
    if not after:
        return
    later = min(after, key=lambda epoch: epoch.number)
    parts = []
    gains = [
        f"{name} {fixed(getattr(later, name) - getattr(best, name))}"
        for name in ("fidelity", "flexibility")
        if _beyond(later, best, name)
    ]
    losses = [name for name in ("fidelity", "flexibility") if _beyond(best, later, name)]
    if losses:
        parts.append(f"loses {' and '.join(losses)}")
    if not gains and not losses:
        parts.append("adds nothing beyond noise")
    if gains:
        parts.append(f"adds {' and '.join(gains)}")
    if _beyond(later, best, "leak") and later.leak >= NOTED:
        parts.append(f"leaks {_tags(later.leaks) or 'more'}")
    if _beyond(later, best, "bleed") and later.bleed >= NOTED:
        parts.append("bleeds more")
    if _beyond(best, later, "clarity") and later.clarity < FRAYED:
        parts.append(f"frays (clarity {fixed(later.clarity)})")
    yield f"Epoch {later.number} {_listed(parts)}."


def _rival(best: Epoch, top: Epoch, ranked: Sequence[Epoch], bakes: int) -> Iterator[str]:
    """The best epoch of the other bakes."""
    others = [epoch for epoch in ranked if epoch.bake != best.bake]
    if not others:
        return
    rival = others[0]
    if rival is top:
        return
    said = f"Next is {_name(rival, bakes)} with {fixed(rival.rank)}"
    if close(top.values("rank"), rival.values("rank")):
        yield f"{said}, too close to tell apart with these prompts and seeds."
    else:
        yield f"{said}."


def _beyond(more: Epoch, less: Epoch, name: str) -> bool:
    """Whether a metric of `more` is higher than that of `less` beyond noise."""
    here, there = more.values(name), less.values(name)
    if math.isnan(here[0]) or math.isnan(there[0]):
        return False
    return not close(here, there)


def _tags(leaks: Mapping[str, int]) -> str:
    """The tags that leak most: `the red jacket`."""
    often = sorted(leaks, key=lambda tag: (-leaks[tag], tag))[:2]
    return f"the {' and the '.join(often)}" if often else ""


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _name(epoch: Epoch, bakes: int) -> str:
    return f"{epoch.bake}, epoch {epoch.number}," if bakes > 1 else f"epoch {epoch.number}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
