"""Tries cases of one kind one after another: a line of JSON before and after each.

Its parent sees from the lines which case hangs or kills the process, and goes on behind it. Started as
`python -m tests.fuzz.worker KIND FIRST LAST MEGABYTES`; a kind with a dot is a module from elsewhere.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import resource
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.outcome import Outcome

WARM_UP = -1
"""A seed that is tried first and not counted; it must end well."""


def main(kind: str, first: int, last: int, megabytes: int) -> None:
    """Try the cases `first` to `last` - 1 with at most `megabytes` of address space more than now."""
    module = importlib.import_module(kind if "." in kind else f"tests.fuzz.{kind}")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a case prints is no answer
    with tempfile.TemporaryDirectory() as folder:
        module.attack(WARM_UP, Path(folder))  # imports and models are not part of a case's cost
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for seed in range(first, last):
        print(json.dumps({"begins": seed}), file=answers, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = module.attack(seed, Path(folder))
            except BaseException:
                outcome = Outcome("failed", traceback.format_exc())
        answer = {"seed": seed, **dataclasses.asdict(outcome)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    main(kind, *map(int, numbers))
