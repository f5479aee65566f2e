"""Many starts in one folder at the same time, and other numbers of cores."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults import chain

REFUSED = "another run is at work in this folder"


def start_together(bakery: chain.Bakery, count: int) -> list[str]:
    """What goes wrong where `count` runs are started in one folder at once: exactly one may run."""
    bakery.write_config()
    runs = [bakery.start() for _ in range(count)]
    for run in runs:
        run.wait()
    worked = [run for run in runs if run.process.returncode == 0]
    wrong = [] if len(worked) == 1 else [f"{len(worked)} of {count} runs ended well"]
    for run in runs:
        if run not in worked and REFUSED not in run.said:
            wrong.append(f"refused without the reason: {run.said}")
        if "Traceback" in run.said:
            wrong.append(f"a traceback: {run.said}")
    return wrong


def bake_with(cores: int, folder: Path) -> tuple[dict[str, str], float]:
    """What is made with so many declared cores, and in how many seconds."""
    bakery = chain.Bakery(folder, arguments=("--resources", "gpu=1"), cores=cores)
    bakery.write_config()
    began = time.monotonic()
    run = bakery.bake()
    if run.process.returncode != 0:
        raise RuntimeError(run.said)
    return chain.results(folder), time.monotonic() - began
