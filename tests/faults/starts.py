"""Many starts in one folder at the same time, and other numbers of cores."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults import chain

REFUSED = "another run is at work in this folder"


def start_together(bakery: chain.Bakery, count: int) -> list[str]:
    """What goes wrong where `count` runs are started in one folder at once: exactly one may work.

    Those that come when it is done find nothing to do; all others are refused.
    """
    bakery.write_config()
    runs = [bakery.start("--until", "layout") for _ in range(count)]
    for run in runs:
        run.wait()
    worked = [run for run in runs if "done scrape" in run.said]
    wrong = [] if len(worked) == 1 else [f"{len(worked)} of {count} runs worked"]
    for run in runs:
        if run not in worked and REFUSED not in run.said and "Nothing to do" not in run.said:
            wrong.append(f"neither refused nor done: {run.last_words}")
        if "Traceback" in run.said:
            wrong.append(f"a traceback: {run.last_words}")
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
