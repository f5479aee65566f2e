"""What a DAG of many bakes costs: time and memory of a dry run, and what each job of a cluster reads.

`python benchmarks/workflow/dag.py --bakes 300 1000 3000 10000` writes configs of characters with six
bakes each, and prints JSON: a row for each number, and the exponents of growth between the smallest and
the largest. Nothing is baked. Seconds are of a CPU, so that a busy machine says the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2]
sys.path[:0] = [str(HOME / "scripts"), str(HOME / "benchmarks")]

from hardware import describe  # noqa: E402

from bakery.graph import build, parts  # noqa: E402
from bakery.graph.nodes import Graph  # noqa: E402
from bakery.settings import config as cfg  # noqa: E402

RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
A_FILE = 300
"""Characters in one config file: the run is given several, as one may have 256 kB."""
GROWS = ("dry_run_seconds", "dry_run_mb", "graph_seconds", "job_seconds")


def sweep(number: int) -> dict[str, Any]:
    name = f"c{number:04}"
    posts = [f"embedded://posts?tags={name}"]
    grid = {"scrape.name": [name], "scrape.urls": [posts], "prune.trigger": [f"trig{name}x"]}
    return {"grid": grid | {"train.unet_lr": list(RATES)}}


def write_configs(place: Path, bakes: int) -> list[Path]:
    """The config files of as many bakes, which are a whole number of characters."""
    characters = math.ceil(bakes / len(RATES))
    files = []
    for first in range(0, characters, A_FILE):
        numbers = range(first, min(first + A_FILE, characters))
        sweeps = {f"c{number:04}": sweep(number) for number in numbers}
        files.append(place / f"characters-{first:04}.yaml")
        files[-1].write_text(json.dumps({"sweeps": sweeps}, indent=0))  # JSON is YAML
    return files


def dry_run(place: Path, files: Sequence[Path]) -> tuple[float, float]:
    """Seconds of a CPU and the most MB that a dry run took."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", HOME / "Snakefile", "--directory", place,
        "--workflow-profile", HOME / "profiles/default", "--cores", "2", "--dry-run",
        "--configfile", *files,
    ]  # fmt: skip
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = run.stderr.read() if run.stderr else b""
    _, status, used = os.wait4(run.pid, 0)
    if status:
        sys.exit(said.decode(errors="replace")[-2000:])
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def merged(files: Sequence[Path]) -> dict[str, Any]:
    configs = [json.loads(path.read_text()) for path in files]
    return {"sweeps": {name: one for raw in configs for name, one in raw["sweeps"].items()}}


def whole_graph(raw: dict[str, Any], place: Path) -> tuple[Graph, float]:
    began = time.process_time()
    graph = build.build(cfg.load(raw), [place, HOME])
    return graph, time.process_time() - began


def job(graph: Graph, raw: dict[str, Any], place: Path) -> float:
    """Seconds until a job of a cluster has the part of the graph that it needs."""
    folder = place / "parts"
    parts.write(graph, raw, 100, folder)
    name = graph.of("train")[-1].name
    began = time.process_time()
    part = build.build(cfg.load(parts.read(folder, [name]).config), [place, HOME])
    assert part.node("train", name).about() == graph.node("train", name).about()
    return time.process_time() - began


def measure(bakes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = write_configs(place, bakes)
        seconds, memory = dry_run(place, files)
        raw = merged(files)
        graph, building = whole_graph(raw, place)
        return {
            "bakes": len(graph.of("train")),
            "jobs": sum(len(nodes) for nodes in graph.nodes.values()),
            "dry_run_seconds": round(seconds, 1),
            "dry_run_mb": round(memory),
            "graph_seconds": round(building, 2),
            "job_seconds": round(job(graph, raw, place), 3),
        }


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """By how much the logarithm of each figure grows with that of the number of bakes."""
    first, last = rows[0], rows[-1]
    larger = math.log(last["bakes"] / first["bakes"])
    return {name: round(math.log(last[name] / first[name]) / larger, 2) for name in GROWS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bakes", type=int, nargs="+", default=[300, 1000, 3000, 10000])
    given = parser.parse_args()
    rows = []
    for bakes in sorted(given.bakes):
        rows.append(measure(bakes))
        print(json.dumps(rows[-1]), file=sys.stderr)
    growth = exponents(rows) if len(rows) > 1 else {}
    print(json.dumps({"machine": describe(), "rows": rows, "exponents": growth}, indent=2))


if __name__ == "__main__":
    main()
