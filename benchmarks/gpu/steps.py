"""Steps of training: K bakes side by side, what a change to the usual way of training brings, and
kohya's script beside."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Any
from unittest import mock

import models
import side_by_side
import torch
from gpu.workshop import LeftOut, Workshop
from side_by_side import Bench

from bakery.io import devices
from bakery.training import compiling
from bakery.training.run import Run

MODEL = "sd15"
"""On which changes are measured."""


def together(shop: Workshop, model: str, count: int) -> dict[str, Any]:
    """K = `count` bakes of `model` in one pass."""
    return _row(shop.bench(model), count)


def beside_kohya(shop: Workshop, model: str, count: int) -> dict[str, Any]:
    """The same with kohya's own script, which takes its steps in turns with ours."""
    if shop.kohya is None:
        raise LeftOut("kohya's scripts were not carried: give a checkout with --kohya")
    shop.make_room()
    bench = shop.made(shop.given(model, kohya=True))
    try:
        return _row(bench, count)
    finally:
        if bench.kohya is not None:
            bench.kohya.stop()


def _row(bench: Bench, count: int) -> dict[str, Any]:
    found = bench.measured(count)
    about = {"base": models.what(bench.job), "bakes": count, "fits": found is not None}
    if found is None:
        return about
    batch = bench.job["settings"]["train_batch_size"]
    return about | found | {
        "images_per_second": count * batch / found["seconds"],
        "operations_of_a_solo_step": bench.operations,
        "ceiling": bench.best.best,
    }  # fmt: skip


def changed(shop: Workshop, change: str, count: int) -> dict[str, Any]:
    """Steps as usual, with `change`, and as usual again: what the machine did meanwhile shows."""
    if change in GPU_ONLY and shop.device != "cuda":
        raise LeftOut(f"{change}: only a GPU has that, and there is none")
    bench = shop.bench(MODEL)
    runs = side_by_side.team(bench.job["settings"], count, bench.context, shop.scratch / change)
    before = _block(bench, runs)
    usual = side_by_side.pass_of(bench.context, runs)
    began = perf_counter()
    with CHANGES[change](bench, runs):
        first = perf_counter() - began
        differs = abs(side_by_side.pass_of(bench.context, runs) - usual) / abs(usual)
        during = _block(bench, runs)
    after = _block(bench, runs)
    seconds = statistics.median(before["seconds"] + after["seconds"])
    return {
        "base": models.what(bench.job),
        "bakes": count,
        "change": change,
        "seconds": seconds,
        "seconds_changed": _middle(during),
        "gain": seconds / _middle(during),
        "spread": abs(_middle(after) - _middle(before)) / seconds,
        "seconds_to_begin": first,
        "loss_differs": differs,
        "peak_gib": before["peak_gib"],
        "peak_gib_changed": during["peak_gib"],
    }


def _middle(block: dict[str, Any]) -> float:
    return statistics.median(block["seconds"])


def _block(bench: Bench, runs: list[Run]) -> dict[str, Any]:
    """Seconds of the steps that count, and the most memory in them, GiB."""
    on_gpu, seconds = bench.given.device == "cuda", []
    for turn in side_by_side.rounds(bench.given):
        if on_gpu and turn == bench.given.warm_up:
            torch.cuda.reset_peak_memory_stats()
        seconds.append(side_by_side.step(bench.context, runs))
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    return {"seconds": seconds[bench.given.warm_up :], "peak_gib": peak}


@contextmanager
def compiled(bench: Bench, runs: list[Run], backend: str) -> Iterator[None]:
    """The UNet compiled, as `train.torch_compile` does it."""
    said: list[str] = []
    with (
        mock.patch.object(compiling.log, "warning", lambda text, *of: said.append(text % of)),
        compiling.compiled(
            bench.context.base.core, backend, lambda: side_by_side.pass_of(bench.context, runs)
        ) as works,
    ):
        if not works:
            raise RuntimeError(*said)
        yield


def _with_inductor(bench: Bench, runs: list[Run]) -> AbstractContextManager[None]:
    return compiled(bench, runs, "inductor")


@contextmanager
def _with_graphs_of_inductor(bench: Bench, runs: list[Run]) -> Iterator[None]:
    from torch._inductor import config

    with config.patch({"triton.cudagraphs": True}), compiled(bench, runs, "inductor"):
        yield


def _with_graphs_alone(bench: Bench, runs: list[Run]) -> AbstractContextManager[None]:
    return compiled(bench, runs, "cudagraphs")


@contextmanager
def _with_pinned_batches(bench: Bench, runs: list[Run]) -> Iterator[None]:
    """What goes to the GPU is copied from memory that the operating system does not move."""
    usual = devices.moved

    def pinned(x: torch.Tensor, device: torch.device) -> torch.Tensor:
        return usual(x.pin_memory() if x.device.type == "cpu" else x, device)

    with mock.patch.object(devices, "moved", pinned):
        yield


@contextmanager
def _with_channels_last(bench: Bench, runs: list[Run]) -> Iterator[None]:
    """The weights of the UNet with channels innermost."""
    core = bench.context.base.core
    core.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        core.to(memory_format=torch.contiguous_format)


CHANGES: dict[str, Callable[[Bench, list[Run]], AbstractContextManager[None]]] = {
    "compiled": _with_inductor,
    "compiled with CUDA graphs": _with_graphs_of_inductor,
    "CUDA graphs alone": _with_graphs_alone,
    "pinned batches": _with_pinned_batches,
    "channels_last": _with_channels_last,
}
GPU_ONLY = {"compiled with CUDA graphs", "CUDA graphs alone", "pinned batches"}
