"""What becomes of the learning rates: rates that the optimizer does not heed or that are of another
optimizer's size, a LoRA that is scaled down, and a warm-up that takes most of the bake.
"""

from __future__ import annotations

from bakery.settings import optimizers
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import Train
from bakery.training.schedules import StepCounts

LOW = 1e-5
"""Rates below this are for whole models; Lion's are smaller."""
DOWN = 1 / 32
"""Scales below this need higher rates than the usual ones."""
LONG = 0.5
"""A warm-up of this share of a bake leaves too little at the full rate."""
_FLAT = ("constant", "constant_with_warmup")


def told(train: Train, counts: StepCounts | None) -> list[str]:
    """All that is to be said of rates, a sentence each."""
    return of_optimizer(train) + of_scale(train) + of_warmup(train, counts)


def of_optimizer(train: Train) -> list[str]:
    """Rates and schedules that the optimizer makes something else of than they say."""
    kind, name, rate = train.optimizer_type, *_highest(train)
    record = OPTIMIZERS[kind]
    if optimizers.chooses_its_rate(kind, train.optimizer_args):
        schedule = f" and lr_scheduler {train.lr_scheduler}" * (train.lr_scheduler not in _FLAT)
        return [
            f"{name} {rate:g}{schedule} {'do' if schedule else 'does'} nothing: {kind} chooses its own "
            "rates unless optimizer_args has relative_step: false (and no warmup_init)."
        ]
    found = []
    if record.finds_rate and rate <= optimizers.SMALL:
        found.append(
            f"{name} {rate:g} is only a factor to {kind}, which finds its own rate: it learns next to "
            "nothing with that; set learning_rate to 1, and leave the other rates out."
        )
    if not record.finds_rate and rate >= optimizers.SMALL:
        found.append(
            f"{name} {rate:g} is a rate for optimizers that find their own, such as Prodigy: {kind} "
            "burns the LoRA within a few steps; 1e-4 is usual."
        )
    if not record.finds_rate and kind != "Lion" and rate < LOW:
        found.append(
            f"{name} {rate:g} is of the size for a whole model: a LoRA hardly learns with it; 1e-4 is "
            "usual."
        )
    if not record.scheduled and train.differs("lr_scheduler") and train.lr_scheduler not in _FLAT:
        found.append(f"lr_scheduler {train.lr_scheduler} does nothing: {kind} needs no schedule.")
    return found


def of_scale(train: Train) -> list[str]:
    """An alpha that is a small part of the rank; an optimizer that finds its rate evens it out."""
    if OPTIMIZERS[train.optimizer_type].finds_rate:
        return []
    conv_alpha = 1.0 if train.conv_alpha is None else train.conv_alpha
    pairs = [("network", train.network_dim, train.network_alpha)]
    pairs += [("conv", train.conv_dim, conv_alpha)] if train.conv_dim else []
    return [
        f"{part}_alpha {alpha:g} is small beside {part}_dim {dim}: what the LoRA adds is scaled by "
        f"{alpha / dim:.2g}, so it learns far more slowly than its rates say; {dim // 2} is usual."
        for part, dim, alpha in pairs
        if 0 < alpha / dim < DOWN
    ]


def of_warmup(train: Train, counts: StepCounts | None) -> list[str]:
    """A warm-up that takes most of the bake, which a number of steps easily does."""
    heeded = OPTIMIZERS[train.optimizer_type].scheduled and not optimizers.chooses_its_rate(
        train.optimizer_type, train.optimizer_args
    )
    if counts is None or not heeded or counts.warmup < max(2, LONG * counts.total):
        return []
    said = (
        f"lr_warmup_steps {train.lr_warmup_steps}"
        if train.lr_warmup_steps
        else f"lr_warmup_ratio {train.lr_warmup_ratio:.2g}"
    )
    return [
        f"{said}: the rates are still rising for {counts.warmup} of {counts.total} steps; some 5 to 10% "
        "are usual."
    ]


def _highest(train: Train) -> tuple[str, float]:
    """The highest rate, and the setting that it is from."""
    part, rate = max(train.rates.items(), key=lambda item: item[1])
    return (part if getattr(train, part) is not None else "learning_rate"), rate
