"""The long form of all attacks, or of those named: `python -m tests.fuzz [KIND ...] [--cases N]`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from tests import fuzz
from tests.fuzz import runner

PARTS = ("outcome", "runner", "worker", "__main__")


def kinds() -> list[str]:
    """The modules of this folder that are attacks."""
    names = (module.name for module in pkgutil.iter_modules(fuzz.__path__))
    return [name for name in names if name not in PARTS and not name.startswith(("test_", "made_"))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*kinds(), []], metavar="KIND", default=kinds())
    parser.add_argument("--cases", type=int, help="instead of each kind's own number")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    chosen = parser.parse_args()
    failed = 0
    for kind in chosen.kinds:
        count = chosen.cases or importlib.import_module(f"tests.fuzz.{kind}").LONG
        tally = runner.run(kind, chosen.first, count)
        ended = ", ".join(f"{number} {ending}" for ending, number in sorted(tally.endings.items()))
        slow = f"the slowest {tally.slowest:.1f} s, {len(tally.again)} had a second try"
        print(f"{kind}: {count} cases: {ended}; {slow} {tally.again or ''}".rstrip(), flush=True)
        for seed, said in tally.failed:
            print(f"  seed {seed}: {said.strip()}")
        failed += len(tally.failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
