"""K bakes side by side against K bakes one after another: steps taken in turns, in one process.

`python benchmarks/side_by_side.py` prints a markdown table for the embedded base. Throughput is the
median over rounds of K times a solo step's seconds, over those of a step of K bakes done next to it.
What arithmetic allows is the same with one bake of K times the batch in its place: as many rows go
through the same layers, but through one adapter, with one optimizer and one loss.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

import torch  # noqa: E402
from hardware import describe  # noqa: E402
from train_step import base_of, job_of, picture  # noqa: E402

from bakery import base as bases  # noqa: E402
from bakery import dataset, passes, train  # noqa: E402
from bakery.config import Train  # noqa: E402
from bakery.variant import Variant  # noqa: E402


def orders(settings: dict[str, Any], count: int, folder: Path) -> list[train.Order]:
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


def measure(given: argparse.Namespace, folder: Path) -> list[str]:
    """The table's rows."""
    model, counts, rounds = given.model, given.bakes, given.rounds
    torch.set_num_threads(given.threads)
    settings = job_of(model, base_of(model, folder / "base"), threads=given.threads)["settings"]
    settings |= {} if given.batch is None else {"train_batch_size": given.batch}
    picture(folder, settings["resolution"])
    base = bases.load(settings["base"])
    first = Train(**settings)
    kitchen = train.equip(first, dataset.read(folder / "layout"), base, given.threads, None)
    teams = {}
    for count in dict.fromkeys([1, *counts]):
        wide = settings | {"train_batch_size": count * settings["train_batch_size"]}
        for what, job, many in (("bakes", settings, count), ("one bake", wide, 1)):
            made = train.prepare_all(orders(job, many, folder / f"{what} {count}"), kitchen)
            made[0].network.remove()
            for variant in made:
                variant.begin_epoch(kitchen.data)
            teams[what, count] = made
    kitchen.latents.prepare(kitchen.data.views(first) or [])
    times: dict[tuple[str, int], list[float]] = {team: [] for team in teams}
    for turn in range(given.warm_up + rounds):
        order = list(teams) if turn % 2 else list(teams)[::-1]
        for team in order:
            times[team].append(step(kitchen, teams[team]))
    measured = {team: seconds[given.warm_up :] for team, seconds in times.items()}

    def gain(team: tuple[str, int]) -> float:
        """Throughput over as many bakes one after another."""
        pairs = zip(measured["bakes", 1], measured[team], strict=True)
        return statistics.median(team[1] * solo / together for solo, together in pairs)

    rows = []
    for count in counts:
        seconds = statistics.median(measured["bakes", count])
        reached, allowed = gain(("bakes", count)), gain(("one bake", count))
        what = f"{model}, {settings['resolution']} px, batch {settings['train_batch_size']}"
        rows.append(
            f"| {what} | {count} | {seconds:.3f} | {reached:.2f} | {allowed:.2f} | "
            f"{reached / allowed:.0%} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", choices=("tiny", "embedded", "small", "sd15"), default="embedded"
    )
    parser.add_argument("--bakes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=2, help="rounds that do not count")
    parser.add_argument("--batch", type=int, help="of each bake, instead of the model's own")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    print(f"{describe()}, {args.threads} threads, medians of {args.rounds} rounds\n")
    print("| base | bakes | seconds a step | throughput over one after another | what arithmetic "
          "allows | share reached |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
