"""K bakes side by side against K bakes one after another: steps taken in turns, in one process.

`python benchmarks/side_by_side.py` prints a markdown table for the embedded base. Throughput is the
median over rounds of K times a solo step's seconds, over those of a step of K bakes done next to it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

import torch  # noqa: E402
from hardware import describe  # noqa: E402
from train_step import base_of, job_of, picture  # noqa: E402

from bakery import base as bases  # noqa: E402
from bakery import dataset, passes, train  # noqa: E402
from bakery.config import Train  # noqa: E402
from bakery.variant import Variant  # noqa: E402

WARM_UP = 2


def orders(settings: dict, count: int, folder: Path) -> list[train.Order]:
    """`count` bakes that differ in their learning rate."""
    rates = [settings["unet_lr"] * (1 + i) for i in range(count)]
    return [
        train.Order(Train(**settings | {"unet_lr": rate}), folder / str(i), "mirael", {})
        for i, rate in enumerate(rates)
    ]


def step(kitchen: passes.Kitchen, variants: list[Variant]) -> float:
    """Seconds of one step of all `variants`, which share each pass."""
    variants[0].network.apply()
    start = time.perf_counter()
    showings = [passes.show(kitchen, variant, variant.next_batch()) for variant in variants]
    losses = passes.losses(kitchen, showings)
    torch.stack(losses).sum().backward()
    for variant, loss in zip(variants, losses, strict=True):
        variant.learn(loss)
    seconds = time.perf_counter() - start
    variants[0].network.remove()
    return seconds


def measure(model: str, counts: list[int], rounds: int, threads: int, folder: Path) -> list[str]:
    torch.set_num_threads(threads)
    job = job_of(model, base_of(model, folder / "base"), threads=threads)
    settings = job["settings"]
    picture(folder, settings["resolution"])
    base = bases.load(settings["base"])
    first = Train(**settings)
    kitchen = train.equip(first, dataset.read(folder / "layout"), base, threads, None)
    teams = {}
    for count in dict.fromkeys([1, *counts]):
        teams[count] = train.prepare_all(orders(settings, count, folder / f"k{count}"), kitchen)
        teams[count][0].network.remove()
        for variant in teams[count]:
            variant.begin_epoch(kitchen.data)
    kitchen.latents.prepare(kitchen.data.views(first) or [])
    times: dict[int, list[float]] = {count: [] for count in teams}
    for turn in range(WARM_UP + rounds):
        order = list(teams) if turn % 2 else list(teams)[::-1]
        for count in order:
            times[count].append(step(kitchen, teams[count]))
    rows = []
    for count in counts:
        pairs = list(zip(times[1], times[count], strict=True))[WARM_UP:]
        gain = statistics.median(count * solo / together for solo, together in pairs)
        seconds = statistics.median(together for _, together in pairs)
        what = f"{model}, {settings['resolution']} px, batch {settings['train_batch_size']}"
        rows.append(f"| {what} | {count} | {seconds:.3f} | {gain:.2f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", choices=("tiny", "embedded", "small", "sd15"), default="embedded"
    )
    parser.add_argument("--bakes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.model, args.bakes, args.rounds, args.threads, Path(folder))
    print(f"{describe()}, {args.threads} threads, medians of {args.rounds} rounds\n")
    print("| base | bakes | seconds a step | throughput over one after another |")
    print("| --- | --- | --- | --- |\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
