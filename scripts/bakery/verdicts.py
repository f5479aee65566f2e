"""Which epoch of which bake is the best, and the sentences that say why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bakery.page import fixed, percent


@dataclass(frozen=True)
class Epoch:
    """Scores and file of one epoch of one bake; number 0 is the base, without a file."""

    bake: str
    number: int
    fidelity: float
    flexibility: float
    fidelity_low: float = math.nan
    fidelity_high: float = math.nan
    flexibility_low: float = math.nan
    flexibility_high: float = math.nan
    loss: float = math.nan
    file: str = ""
    sshs_model_hash: str = ""

    @property
    def lora_name(self) -> str:
        """What a prompt calls the file: its name without extension."""
        return Path(self.file).stem

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


@dataclass(frozen=True)
class Verdict:
    """The best epoch (None without one), a headline, and the reasons, a sentence each."""

    best: Epoch | None
    title: str
    reasons: Sequence[str] = field(default=())


def judge(bakes: Sequence[Sequence[Epoch]]) -> Verdict:
    """The epoch with the highest balance; of equals the earlier one, then the earlier bake.

    Each entry of `bakes` holds the epochs of one bake, the base (number 0) among them.
    """
    epochs = [epoch for bake in bakes for epoch in bake if epoch.number]
    ranked = sorted(
        (epoch for epoch in epochs if not math.isnan(epoch.balance)),
        key=lambda epoch: (-epoch.balance, epoch.number),
    )
    if not ranked:
        return _no_verdict(epochs)
    best = ranked[0]
    own = next(bake for bake in bakes if any(epoch is best for epoch in bake))
    base = next((epoch for epoch in own if not epoch.number), None)
    title = f"{best.bake}, epoch {best.number}" if len(bakes) > 1 else f"Epoch {best.number}"
    reasons = [_numbers(best, base), _rank(best, len(ranked), len(bakes))]
    if base is not None and base.balance >= best.balance:
        title = "No epoch beats the base"
        reasons[1] = (
            f"The base without a LoRA reaches a balance of {fixed(base.balance)}; the best of "
            f"{_count(len(ranked), 'epoch')}, {_name(best, len(bakes))}, only "
            f"{fixed(best.balance)}."
        )
    if len(ranked) > 1:
        reasons.append(_next(best, ranked[1], len(bakes)))
    if best.number == max(epoch.number for epoch in own) > 1:
        reasons.append("The best is the last epoch baked: more epochs might be better still.")
    return Verdict(best, title, reasons)


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


def _numbers(best: Epoch, base: Epoch | None) -> str:
    def against(name: str) -> str:
        known = base is not None and not math.isnan(getattr(base, name))
        return f" (the base: {percent(getattr(base, name))})" if known else ""

    return (
        f"The trigger alone brings back {percent(best.fidelity)} of the character"
        f"{against('fidelity')}, and {percent(best.flexibility)} of what the prompts ask beyond it "
        f"is in the pictures{against('flexibility')}."
    )


def _rank(best: Epoch, epochs: int, bakes: int) -> str:
    if epochs == 1:
        return f"Their harmonic mean, the balance, is {fixed(best.balance)}."
    among = f" in {bakes} bakes" if bakes > 1 else ""
    return (
        f"Their harmonic mean, the balance, is {fixed(best.balance)}: the highest of "
        f"{_count(epochs, 'epoch')}{among}."
    )


def _next(best: Epoch, second: Epoch, bakes: int) -> str:
    said = f"Next is {_name(second, bakes)} with {fixed(second.balance)}"
    if best.balance == second.balance:
        return f"{said}, which is just as good; the earlier epoch wins."
    if _overlap(best, second, "fidelity") and _overlap(best, second, "flexibility"):
        return f"{said}, too close to tell apart with these seeds."
    return f"{said}."


def _overlap(one: Epoch, other: Epoch, name: str) -> bool:
    """Whether the seeds' intervals of two epochs meet; False where there are none."""
    return getattr(one, f"{name}_low") <= getattr(other, f"{name}_high") and getattr(
        other, f"{name}_low"
    ) <= getattr(one, f"{name}_high")


def _name(epoch: Epoch, bakes: int) -> str:
    return f"{epoch.bake}, epoch {epoch.number}," if bakes > 1 else f"epoch {epoch.number}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
