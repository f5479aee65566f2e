"""The long form: `python -m tests.faults [kills] [disks] [starts] [cores] --place EMPTY_FOLDER`.

Prints a line for each trial. The folder of one that broke a promise is kept.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults import chain, disks, kills, starts

IN_A_STORY = 25
"""Blows that one bake takes at most."""
STARTS = 20
CORES = (1, 2, 64)


def try_kills(chosen: argparse.Namespace) -> int:
    """Bakes that are hit at random moments."""
    teller = kills.Teller(chosen.place, tuple(chosen.kinds))
    seed, done, failed = chosen.first, Counter(), 0
    while done.total() < chosen.blows:
        began = time.monotonic()
        story = teller.tell(seed, min(IN_A_STORY, chosen.blows - done.total()))
        took = time.monotonic() - began
        done.update(blow.partition(" after ")[0] for blow in story.blows)
        tell(f"seed {seed}, {took:.0f} s: {'; '.join(story.blows)}", story.wrong)
        if story.damage:
            tell(", ".join(f"{n} {what}" for what, n in sorted(story.damage.items())), [])
        failed += bool(story.wrong)
        seed += 1
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(done.items()))
    print(
        f"{done.total()} blows in {seed - chosen.first} bakes ({told}): {failed} bakes went wrong"
    )
    return failed


def try_disks(chosen: argparse.Namespace) -> int:
    """Full and read-only disks in every stage; needs root."""
    failed = 0
    for trial, wrong in disks.trials(chosen.place, chosen.stages):
        tell(trial, wrong)
        failed += bool(wrong)
    return failed


def try_starts(chosen: argparse.Namespace) -> int:
    """Many starts at once in one folder."""
    wrong = starts.start_together(chain.Bakery(chosen.place / "starts"), STARTS)
    tell(f"{STARTS} starts at once", wrong)
    return bool(wrong)


def try_cores(chosen: argparse.Namespace) -> int:
    """The same bake with few and many declared cores: it ends. What differs is told, not judged."""
    made = {cores: starts.bake_with(cores, chosen.place / f"cores-{cores}") for cores in CORES}
    first, _ = made[CORES[0]]
    for cores, (results, took) in made.items():
        other = chain.differences(first, results)
        told = f"differs in {len(other)} files, first {other[0]}" if other else "the same bytes"
        tell(f"{cores} cores, {took:.0f} s: {told}", [])
    return 0


TRIALS: dict[str, Callable[[argparse.Namespace], int]] = {
    "kills": try_kills,
    "disks": try_disks,
    "starts": try_starts,
    "cores": try_cores,
}
"""Name -> tries it, and gives how many went wrong."""


def tell(trial: str, wrong: list[str]) -> None:
    """A line for a trial, and for each promise that it broke."""
    print(trial + (": as promised" if not wrong else ": WRONG"))
    for sentence in wrong:
        print(f"  {sentence}")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("trials", nargs="*", default=list(TRIALS), help=", ".join(TRIALS))
    parser.add_argument("--place", type=Path, required=True, help="an empty folder, for the bakes")
    parser.add_argument("--blows", type=int, default=100, help="how many kills in all (100)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first bake (0)")
    parser.add_argument("--kinds", nargs="*", choices=list(kills.KINDS), default=(), metavar="KIND")
    parser.add_argument("--stages", nargs="*", choices=disks.STAGES, default=disks.STAGES,
                        metavar="STAGE", help="of disks")  # fmt: skip
    chosen = parser.parse_args()
    if unknown := set(chosen.trials) - TRIALS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(TRIALS)}")
    chosen.place = chosen.place.resolve()
    chosen.place.mkdir(parents=True, exist_ok=True)
    return 1 if sum(TRIALS[trial](chosen) for trial in chosen.trials) else 0


if __name__ == "__main__":
    sys.exit(main())
