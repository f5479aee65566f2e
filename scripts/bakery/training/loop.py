"""The loop of a bake: epoch by epoch, step by step, from where the variants stand to their ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bakery.training import checkpoint, compiling, train_step
from bakery.training.run import Variant
from bakery.training.train_step import Kitchen

log = logging.getLogger(__name__)


def fit(kitchen: Kitchen, variants: Sequence[Variant]) -> None:
    """Train until every variant is at its end, be it good or bad."""
    while live := [variant for variant in variants if variant.live]:
        _begin_epochs(kitchen, live)
        train_step.step(kitchen, live)


def restore(variants: Sequence[Variant]) -> None:
    """Have each go on where it stood.

    They save one after another, and a kill in between leaves some an epoch ahead. These go back, so
    that the epoch is done again in the same company: then all ends in the same bytes.
    """
    stands = [variant.stands() for variant in variants]
    paired = list(zip(variants, stands, strict=True))
    last = min((newest for v, (newest, *_) in paired if newest < v.plan.total), default=None)
    for variant, (newest, *before) in paired:
        if last in before:
            log.info("%s stood behind step %d, back to %d", variant.out.name, newest, last)
            checkpoint.go_back(variant.out)
        variant.restore()


@contextmanager
def compiled(kitchen: Kitchen, variants: Sequence[Variant]) -> Iterator[None]:
    """The UNet compiled, where the settings ask for it and it works."""
    settings, live = variants[0].settings, [variant for variant in variants if variant.live]
    if not settings.torch_compile or not live:
        yield
        return

    def first_pass() -> None:
        """The first batch's, its gradients forgotten: random numbers have no state to spoil."""
        _begin_epochs(kitchen, live)
        try:
            train_step.loss(kitchen, live[0], live[0].batches[0]).backward()
        finally:
            live[0].optimizer.zero_grad()

    with compiling.compiled(kitchen.base.unet, settings.dynamo_backend, first_pass):
        yield


def _begin_epochs(kitchen: Kitchen, live: Sequence[Variant]) -> None:
    """Where an epoch begins, have the latents ready that it will show."""
    begun = [variant.begin_epoch(kitchen.data) for variant in live]
    if not any(begun):
        return
    fixed = [kitchen.data.views(variant.settings) for variant in live]
    views = {
        view
        for variant, always in zip(live, fixed, strict=True)
        for view in (always or [v for batch in variant.batches for v in batch.views])
    }
    kitchen.latents.prepare(views, forget=None in fixed)
