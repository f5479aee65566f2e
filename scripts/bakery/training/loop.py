"""The training loop: check that all bakes fit, then epoch by epoch, step by step, to every bake's
end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakery.families.family import Model
from bakery.io import status
from bakery.training import compiling, memory, train_step
from bakery.training.run import Run
from bakery.training.train_step import TrainContext

AfterEpochs = Callable[[Sequence[tuple[Path, Mapping[str, Any]]], Model], None]
"""Called with the bakes that have just saved an epoch, each its folder and the row of its epochs.csv,
and with the base; the training goes on when it returns."""


def fit(
    context: TrainContext, runs: Sequence[Run], after_epochs: AfterEpochs | None = None
) -> None:
    """Train until every run has ended, well or not."""
    while live := [run for run in runs if run.live]:
        before = [len(run.rows) for run in live]
        _begin_epochs(context, live)
        train_step.step(context, live)
        _tell(live)
        if after_epochs is not None:
            new = [run for run, count in zip(live, before, strict=True) if len(run.rows) > count]
            if new:
                after_epochs([(run.out, run.rows[-1]) for run in new], context.base)


def check_memory(context: TrainContext, runs: Sequence[Run]) -> None:
    """Raise `OutOfMemory`, with how many would fit, if `runs` would not.

    A single one is always tried: there is nothing smaller, and this is an estimate.
    """
    if len(runs) == 1:
        return
    largest = max(runs, key=lambda one: one.settings.rows)  # the others need less
    each = memory_needed(context, largest)
    memory.check(len(runs), each, memory.free(context.base.device, context.threads))


def memory_needed(context: TrainContext, run: Run) -> int:
    """Bytes that a pass of this bake needs in addition to the base, for its largest pictures."""
    batches = context.data.epoch(run.settings, 1)
    largest = max(batches, key=context.data.pixels)
    context.latents.prepare(largest.views)
    base, weights = context.base, list(run.network.parameters())
    weights += [w for part in (base.core, *base.encoders) for w in part.parameters()]
    return memory.needed(lambda: train_step.loss(context, run, largest), weights, run.parameters)


@contextmanager
def compiled(context: TrainContext, runs: Sequence[Run]) -> Iterator[None]:
    """The model, compiled if the settings ask for it and it works."""
    settings, live = runs[0].settings, [run for run in runs if run.live]
    if not settings.torch_compile or not live:
        yield
        return

    def first_pass() -> None:
        """The first batch's, its gradients forgotten: random numbers have no state to spoil."""
        _begin_epochs(context, live)
        try:
            train_step.loss(context, live[0], live[0].batches[0]).backward()
        finally:
            live[0].optimizer.zero_grad()

    with compiling.compiled(context.base.core, settings.dynamo_backend, first_pass):
        yield


def _tell(live: Sequence[Run]) -> None:
    """How far the first of the bakes is: they go in step."""
    run = live[0]
    ending = [one.out.name for one in live if one.is_last_epoch]
    recent = run.progress.recent if run.progress is not None else ()
    status.tell(
        "training", run.step, run.counts.total, folders=[one.out.name for one in live],
        epoch=min(run.epoch + 1, run.counts.epochs), epochs=run.counts.epochs,
        loss=round(sum(recent) / len(recent), 6) if recent else None,
        **({"ending": ending} if ending else {}),
    )  # fmt: skip


def _begin_epochs(context: TrainContext, live: Sequence[Run]) -> None:
    """At the start of an epoch, prepare the latents that it will show."""
    begun = [run.begin_epoch(context.data) for run in live]
    if not any(begun):
        return
    fixed = [context.data.views(run.settings) for run in live]
    views = {
        view
        for run, always in zip(live, fixed, strict=True)
        for view in (always or [v for batch in run.batches for v in batch.views])
    }
    context.latents.prepare(views, forget=None in fixed)
