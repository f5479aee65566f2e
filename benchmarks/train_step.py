"""One step of our trainer at K = 1, a plain diffusers + peft loop, and kohya's train_network.py.

    python benchmarks/train_step.py                            on the embedded base, and on SD1.5's sizes
    python benchmarks/train_step.py --model tiny --rounds 3    does it run?
    python benchmarks/train_step.py --sd-scripts PATH [--packages DIR]    kohya's beside them
    python benchmarks/train_step.py --model sd15 --model sdxl --mixed-precision bf16 --sd-scripts PATH

The last is for a GPU, where SD1.5 is baked at 512 px in batches of 2, SDXL at 1024 px one by one.
All train the same parameters (kohya's full list of layers, UNet and text encoders) with the same
settings at the same precision on the same device, one process each, taking turns step by step; the
first rounds do not count. Where a GPU cannot hold them all, `--apart` runs one after the other. Prints
a table of medians, and of the medians of the ratios of steps done next to each other. sd-scripts
builds SD1.5's and SDXL's blocks and no others, so it cannot bake the embedded or the tiny bases: it
takes part with `sd15`, `sdxl`, and with `small` and `small-sdxl`, the same blocks with a tenth of the
channels.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import models
import torch
import trainers
from ceiling import Ceiling, of_step, sentence
from hardware import describe
from stepwise import MEMORY, obey, rounds

NEAR = {"no": {"cpu": 1e-5, "cuda": 5e-3}, "bf16": {}, "fp16": {}}
"""How far apart two first losses may be; in half precision 2% of them."""


def measure(model: str, folder: Path, given: argparse.Namespace) -> tuple[dict, dict, Ceiling]:
    """(the job, trainer -> its reports, what a matrix product reached meanwhile)."""
    job = models.put_down(model, folder, given)
    names = ["ours", "plain"] + ["kohya"] * trainers.takes_part(model, given)
    best = Ceiling(given.device, given.mixed_precision)
    reports: dict[str, list] = {name: [] for name in names}
    for group in [[name] for name in names] if given.apart else [names]:
        workers = {name: trainers.start(name, folder, job, given) for name in group}
        for turn in rounds(given):
            for name in group if turn % 2 else group[::-1]:
                reports[name].append(workers[name].step())
            best.measure()
        for worker in workers.values():
            worker.stop()
    check(folder, reports, job)
    return job, {name: rows[given.warm_up :] for name, rows in reports.items()}, best


def check(folder: Path, reports: dict[str, list], job: dict[str, Any]) -> None:
    """All learn as many parameters; where the VAE has no spread, the first losses are equal."""
    counts = {name: rows[0]["parameters"] for name, rows in reports.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the trainers do not learn the same: {counts} parameters")
    line = (folder / "out" / "progress.jsonl").read_text("utf-8").splitlines()[0]
    losses = json.loads(line)["loss"], float((folder / "plain_loss").read_text())
    print(f"first loss {losses[0]:.6f} and {losses[1]:.6f}, {counts['ours']} parameters")
    near = NEAR[job["settings"]["mixed_precision"]].get(job["device"], 0.02 * losses[1])
    if job["model"] != "embedded" and not abs(losses[0] - losses[1]) <= near:
        raise SystemExit(f"the first losses differ by more than {near:.1g}")


def table(job: dict[str, Any], reports: dict[str, list], operations: int, best: float) -> str:
    """Rows of the markdown table; a step has `operations`, `best` a second can be done."""
    seconds = {name: [row["seconds"] for row in rows] for name, rows in reports.items()}
    lines = []
    for name, times in seconds.items():
        ratios = [own / other for own, other in zip(times, seconds["ours"], strict=True)]
        most = [max(row[field] for row in reports[name]) for field in MEMORY[job["device"]]]
        median = statistics.median(times)
        cells = [models.what(job), name, f"{median:.3f}", f"{statistics.median(ratios):.3f}"]
        cells += [f"{operations / median / best:.0%}", *(f"{gib:.2f}" for gib in most)]
        lines.append(f"| {' | '.join(cells)} | {len(times)} |")
    return "\n".join(lines)


def heading(device: str) -> str:
    columns = ["base", "trainer", "seconds a step (median)", "time over ours (median)"]
    columns += ["share of a matrix product's speed", *MEMORY[device].values(), "steps"]
    return f"| {' | '.join(columns)} |\n" + "| --- " * len(columns) + "|"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=models.MODELS, action="append")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--apart", action="store_true", help="one trainer after the other")
    models.arguments(parser)
    parser.add_argument("--role", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?", help=argparse.SUPPRESS)
    return models.settled(parser.parse_args())


def main() -> None:
    given = parsed()
    if given.role:
        job = json.loads((given.folder / "job.json").read_text())
        obey(job["device"])
        {"ours": trainers.ours, "plain": trainers.plain}[given.role](given.folder, job)
        return
    torch.set_num_threads(given.threads)
    rows, sentences = [], []
    for model in given.model or ("embedded", "sd15"):
        with tempfile.TemporaryDirectory() as scratch:
            job, reports, best = measure(model, Path(scratch), given)
            count = of_step(Path(scratch), job)
            gc.collect()  # the next model's trainers need the memory
            torch.cuda.empty_cache()
        rows.append(table(job, reports, count, best.best))
        sentences.append(sentence(best, count, job))
    turns = "one trainer after the other" if given.apart else "in turns"
    print(f"\n{describe()}, {given.device}, {given.threads} threads, {turns}\n")
    print("\n".join([heading(given.device), *rows, "", *sentences]))


if __name__ == "__main__":
    main()
