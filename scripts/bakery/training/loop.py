"""The loop of a bake: whether all fit, then epoch by epoch, step by step, to every bake's end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bakery.training import compiling, memory, train_step
from bakery.training.run import Variant
from bakery.training.train_step import Kitchen


def fit(kitchen: Kitchen, variants: Sequence[Variant]) -> None:
    """Train until every variant is at its end, be it good or bad."""
    while live := [variant for variant in variants if variant.live]:
        _begin_epochs(kitchen, live)
        train_step.step(kitchen, live)


def check_memory(kitchen: Kitchen, variants: Sequence[Variant]) -> None:
    """Raise `OutOfMemory`, which says how many would fit, where `variants` would not.

    One alone is tried in any case: there is nothing smaller, and this is an estimate.
    """
    if len(variants) == 1:
        return
    # those with smaller batches need less
    each = memory_needed(kitchen, max(variants, key=lambda one: one.settings.train_batch_size))
    memory.check(len(variants), each, memory.free(kitchen.base.device, kitchen.threads))


def memory_needed(kitchen: Kitchen, variant: Variant) -> int:
    """Bytes that a pass of this bake needs beside the base, for its largest pictures."""
    batches = kitchen.data.epoch(variant.settings, 1)
    largest = max(batches, key=kitchen.data.pixels)
    kitchen.latents.prepare(largest.views)
    base, weights = kitchen.base, list(variant.network.parameters())
    weights += [w for part in (base.core, *base.encoders) for w in part.parameters()]
    return memory.needed(
        lambda: train_step.loss(kitchen, variant, largest), weights, variant.parameters
    )


@contextmanager
def compiled(kitchen: Kitchen, variants: Sequence[Variant]) -> Iterator[None]:
    """The model compiled, where the settings ask for it and it works."""
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

    with compiling.compiled(kitchen.base.core, settings.dynamo_backend, first_pass):
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
