"""K bakes side by side against K bakes one after another: steps taken in turns, in one process.

    python benchmarks/side_by_side.py                            on the embedded base
    python benchmarks/side_by_side.py --model sdxl --mixed-precision bf16 --sd-scripts PATH

Throughput is the median over rounds of K times a solo step's seconds, over those of a step of K bakes
done next to it. What arithmetic allows is the same with one bake of K times the batch in its place: as
many rows go through the same layers, but through one adapter, with one optimizer and one loss. Each K
has rounds of its own, and only its adapters are in memory then; on a GPU, peak GiB is what torch had
allocated at most in a step of K bakes, a solo bake's adapters beside included.

`--cpu-time` counts the CPU seconds of this process instead of those that pass; its ratios hold on a
busy machine, and a matrix product's speed is still timed by the clock on the wall.

With `--sd-scripts`, K solo runs of kohya's script are the comparison as well, K times the seconds of
its step done next to ours. It works in a process of its own, measured alone first. Where the GPU does
not hold both, it is ended and its median from then counts, which the last column says. What does not
fit at all is left out, with a row that says so.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import models
import torch
import trainers
from ceiling import Ceiling, context_of, operations, sentence
from hardware import describe
from stepwise import Worker, rounds, wait_for

from bakery.settings.train import Train
from bakery.training import compiling, setup, train_step
from bakery.training.run import Run

COLUMNS = ("base", "bakes", "seconds a step", "throughput over one after another",
           "what arithmetic allows", "share reached", "share of a matrix product's speed",
           "peak GiB", "throughput over K solo kohya runs", "kohya measured")  # fmt: skip


def orders(settings: dict[str, Any], count: int, folder: Path) -> list[setup.TrainSpec]:
    """`count` bakes that differ in their learning rate."""
    rates = [settings["unet_lr"] * (1 + i) for i in range(count)]
    return [
        setup.TrainSpec(Train(**settings | {"unet_lr": rate}), folder / str(i), "mirael", {})
        for i, rate in enumerate(rates)
    ]


def team(
    settings: dict[str, Any], count: int, context: train_step.TrainContext, place: Path
) -> list:
    """`count` bakes with adapters of their own, switched off."""
    made = setup.prepare_all(orders(settings, count, place), context)
    made[0].network.remove()
    for run in made:
        run.begin_epoch(context.data)
    return made


def step(
    context: train_step.TrainContext,
    runs: list[Run],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds by `clock` of one step of all `runs`, which share each pass."""
    device = context.base.device.type
    runs[0].network.apply()
    wait_for(device)
    start = clock()
    train_step.step(context, runs)
    wait_for(device)
    seconds = clock() - start
    runs[0].network.remove()
    return seconds


def pass_of(context: train_step.TrainContext, runs: list[Run]) -> float:
    """Forward and backward of the first batch of all; returns the sum of the losses, the gradients
    are forgotten.
    """
    runs[0].network.apply()
    try:
        noisy_batches = [train_step.add_noise(context, v, v.batches[0]) for v in runs]
        loss = torch.stack(train_step.losses(context, noisy_batches)).sum()
        loss.backward()
        return loss.item()
    finally:
        runs[0].network.remove()
        for run in runs:
            run.optimizer.zero_grad()


class Bench:
    """One model: its training context, kohya's process where there is one, and the rows so far."""

    def __init__(
        self,
        given: argparse.Namespace,
        folder: Path,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.given, self.folder, self.clock = given, folder, clock
        self.job = models.put_down(given.model, folder, given)
        self.kohya: Worker | None = None
        self.alone: list[float] = []
        """Seconds of kohya's steps while nothing else was running."""
        if trainers.takes_part(given.model, given):
            self.kohya = trainers.start("kohya", folder, self.job, given)
            times = [self.kohya.step()["seconds"] for _ in range(given.warm_up + given.rounds)]
            self.alone = times[given.warm_up :]
        self.context = context_of(folder, self.job)
        self.best = Ceiling(given.device, given.mixed_precision)
        self.operations = self._operations()

    def _operations(self) -> int:
        """Of a solo step."""
        solo = team(self.job["settings"], 1, self.context, self.folder / "count")
        return operations(lambda: pass_of(self.context, solo))

    def row(self, count: int) -> str:
        """The table's row of K = `count`."""
        found, name = self.measured(count), models.what(self.job)
        if found is None:
            return f"| {name} | {count} | does not fit |" + " |" * (len(COLUMNS) - 3)
        peak = found["peak_gib"].get("bakes")
        cells = [name, f"{count}", f"{found['seconds']:.3f}", f"{found['gain']:.2f}"]
        cells += [f"{found['allowed']:.2f}", f"{found['gain'] / found['allowed']:.0%}"]
        cells += [f"{found['share']:.0%}", "-" if peak is None else f"{peak:.2f}"]
        cells += [f"{found['kohya']:.2f}", found["kohya_when"]] if "kohya" in found else ["-", "-"]
        return f"| {' | '.join(cells)} |"

    def measured(self, count: int) -> dict[str, Any] | None:
        """What K = `count` reaches; None if it does not fit.

        `seconds` of a step of all; `gain`, its throughput over one after another; `allowed`, what
        arithmetic allows; `share` of a matrix product's speed; `peak_gib` of a step by who did it,
        empty on a CPU; `rounds` that count; and with kohya's script beside, `kohya`, the throughput
        over K of its runs, and `kohya_when` that was measured.
        """
        for _ in range(2):
            try:
                return self._measured(count)
            except torch.OutOfMemoryError:
                pass
            self.context = None  # adapters may still be on its base
            gc.collect()
            torch.cuda.empty_cache()
            kohya, self.kohya = self.kohya, None
            if kohya is not None:
                kohya.stop()
            self.context = context_of(self.folder, self.job)
            if kohya is None:
                break
        return None

    def _measured(self, count: int) -> dict[str, Any]:
        settings = self.job["settings"]
        wide = settings | {"train_batch_size": count * settings["train_batch_size"]}
        place = self.folder / f"{count}"
        teams = {
            "solo": team(settings, 1, self.context, place / "solo"),
            "bakes": team(settings, count, self.context, place / "bakes"),
            "one bake": team(wide, 1, self.context, place / "wide"),
        }
        with self._compiled(teams["bakes"]):
            times, peaks = self._turns(teams)
        seconds = statistics.median(times["bakes"])
        found = {
            "seconds": seconds,
            "gain": _gain(times["solo"], times["bakes"], count),
            "allowed": _gain(times["solo"], times["one bake"], count),
            "share": count * self.operations / seconds / self.best.best,
            "peak_gib": peaks,
            "rounds": len(times["bakes"]),
        }
        if "kohya" in times:
            ratio = _gain(times["kohya"], times["bakes"], count)
            return found | {"kohya": ratio, "kohya_when": "in turns"}
        if self.alone:
            ratio = count * statistics.median(self.alone) / seconds
            return found | {"kohya": ratio, "kohya_when": "before"}
        return found

    def _turns(
        self, teams: dict[str, list[Run]]
    ) -> tuple[dict[str, list[float]], dict[str, float]]:
        """Seconds of each, and the most memory in a step of each, GiB."""
        on_gpu, most = self.given.device == "cuda", dict.fromkeys(teams, 0)
        doers: dict[str, Callable[[], float]] = {
            name: lambda bakes=bakes: step(self.context, bakes, self.clock)
            for name, bakes in teams.items()
        }
        if self.kohya is not None:
            doers["kohya"] = lambda: self.kohya.step()["seconds"]
        times: dict[str, list[float]] = {name: [] for name in doers}
        for turn in rounds(self.given):
            for name in list(doers)[:: 1 if turn % 2 else -1]:
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                times[name].append(doers[name]())
                if on_gpu and name in most:
                    most[name] = max(most[name], torch.cuda.max_memory_allocated())
            self.best.measure()
        kept = {name: seconds[self.given.warm_up :] for name, seconds in times.items()}
        return kept, {name: held / 2**30 for name, held in most.items()} if on_gpu else {}

    @contextmanager
    def _compiled(self, bakes: list[Run]) -> Iterator[None]:
        """The UNet compiled, if that is asked for."""
        first = bakes[0].settings
        asked = compiling.compiled(
            self.context.base.unet, first.dynamo_backend, lambda: pass_of(self.context, bakes)
        )
        with asked if first.torch_compile else nullcontext():
            yield


def _gain(solo: list[float], together: list[float], count: int) -> float:
    """Throughput over `count` steps one after another; medians of pairs."""
    pairs = zip(solo, together, strict=True)
    return statistics.median(count * one / all_of_them for one, all_of_them in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=models.MODELS, default="embedded")
    parser.add_argument("--bakes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=15, help="for each K")
    parser.add_argument("--cpu-time", action="store_true", help="for a CPU that others use, too")
    models.arguments(parser)
    given = models.settled(parser.parse_args())
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        clock = time.process_time if given.cpu_time else time.perf_counter
        bench = Bench(given, Path(folder), clock)
        rows = []
        for count in given.bakes:
            rows.append(bench.row(count))
            print(rows[-1], file=sys.stderr, flush=True)  # a long run may be cut short
        if bench.kohya is not None:
            bench.kohya.stop()
    print(
        f"{describe()}, {given.device}, {given.threads} threads, medians of {given.rounds} rounds\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n" + "| --- " * len(COLUMNS) + "|")
    print("\n".join([*rows, "", sentence(bench.best, bench.operations, bench.job)]))


if __name__ == "__main__":
    main()
