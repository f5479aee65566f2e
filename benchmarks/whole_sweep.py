"""The whole workflow: a sweep in one `snakemake --cores all` against as many single bakes.

    python benchmarks/whole_sweep.py [--bakes 6] [--epochs 2] [--seeds 2] [--cores all] [--bakers 2]
        [--config FILE]

The shipped config, or another, with learning rates of its own, and with fewer epochs and seeds so that
it ends within the hour. Each single bake is a workflow of its own in a folder of its own that shares
nothing, as whoever has no sweeps would bake. With `--bakers 2` each lets two jobs train or draw
at a time. All are whole processes, start to end. Half of the single bakes run before the sweep and half
behind it, so that a machine that slows down or speeds up does so for both sides.

Prints a Markdown table: seconds by the clock, and the jobs' seconds by stage as Snakemake has them on
record. `rest` is what Snakemake itself takes, less what ran at the same time: with two jobs at a time it
is below 0, and a job that waits for its sibling counts as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).absolute().parents[1]
STAGES = (
    "scrape", "filter", "tag", "prune", "layout", "train", "sample", "score", "compare", "best",
)  # fmt: skip
LOWEST, HIGHEST = 3e-4, 1e-2
"""The learning rates are spread between these, evenly in their logarithms."""


@dataclass
class Took:
    """Seconds by the clock, and by stage."""

    seconds: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)

    def add(self, other: Took) -> None:
        self.seconds += other.seconds
        self.stages.update(other.stages)


def rates(count: int) -> list[float]:
    step = (HIGHEST / LOWEST) ** (1 / max(1, count - 1))
    return [float(f"{LOWEST * step**place:.3g}") for place in range(count)]


def config(args: argparse.Namespace) -> dict[str, Any]:
    """The config, shorter and without its sweeps."""
    chosen = yaml.safe_load(args.config.read_text("utf-8"))
    chosen.pop("sweeps", None)
    chosen["train"]["num_epochs"] = args.epochs
    chosen["sample"] = chosen.get("sample", {}) | {"seeds": list(range(1, args.seeds + 1))}
    return chosen


def bake(folder: Path, chosen: dict[str, Any], args: argparse.Namespace) -> Took:
    """One `snakemake` from nothing to the page."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(chosen))
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
         "--cores", args.cores, "--resources", f"gpu={args.bakers}", "--configfile", "config.yaml",
         "--workflow-profile", str(ROOT / "profiles/default"), "--quiet", "all"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{folder.name} failed:\n{done.stdout}\n{done.stderr}")
    print(f"{folder.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return Took(seconds, by_stage(folder))


def by_stage(folder: Path) -> Counter[str]:
    """Seconds of the jobs of each stage, from Snakemake's records, of which a file has one each."""
    jobs: dict[tuple[str, ...], tuple[str, float]] = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text("utf-8"))
            lasted = record["endtime"] - record["starttime"]
            key = (record["rule"], *record["log"])
            jobs[key] = (record["rule"], max(lasted, jobs.get(key, ("", 0.0))[1]))
    total: Counter[str] = Counter()
    for rule, lasted in jobs.values():
        total[rule] += lasted
    return total


def row(name: str, took: Took) -> str:
    rest = took.seconds - sum(took.stages.values())
    cells = [
        f"{took.seconds:.0f}",
        *(f"{took.stages[stage]:.0f}" for stage in STAGES),
        f"{rest:.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bakes", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2, help="of the samples")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--bakers", type=int, default=2, help="train or sample jobs at a time")
    parser.add_argument("--config", type=Path, default=ROOT / "config/config.yaml")
    parser.add_argument("--keep", type=Path, help="an empty folder for what is baked")
    args = parser.parse_args()
    grid = {"unet_lr": {"grid": {"train.unet_lr": rates(args.bakes)}}}
    singles = Took()
    with tempfile.TemporaryDirectory() as scratch:
        place = args.keep or Path(scratch)
        place.mkdir(exist_ok=True)
        for number, rate in enumerate(rates(args.bakes)):
            if number == args.bakes // 2:
                sweep = bake(place / "sweep", config(args) | {"sweeps": grid}, args)
            chosen = config(args)
            chosen["train"]["unet_lr"] = rate
            singles.add(bake(place / f"single{number}", chosen, args))
    from hardware import describe

    print(
        f"{describe()}, --cores {args.cores}, {args.bakers} jobs at a time; "
        f"{args.bakes} bakes of {args.epochs} epochs, {args.seeds} seeds a prompt\n"
    )
    print(f"| | seconds | {' | '.join(STAGES)} | rest |\n| {' | '.join(['---'] * 13)} |")
    print(row(f"a sweep of {args.bakes}", sweep))
    print(row(f"{args.bakes} single bakes", singles))
    print(f"\nThe sweep is {singles.seconds / sweep.seconds:.2f} times as fast.")


if __name__ == "__main__":
    main()
