"""How the search for near-duplicates grows: seconds by number of hashes, as a Markdown table.

`python benchmarks/duplicates.py [--most 100000]`, from the repository's root. Three kinds of sets:

- random: hashes have nothing in common;
- clustered: ten variants each, up to 10 bits apart, as re-uploads and outfits of one pose;
- framed: as clustered, and 24 of the 64 bits are the same in all, as with one border or ground.

The exponent is the slope of log seconds over log hashes, from the row above: 1 is linear, 2 is
comparing all with all. Pairs are found exactly; those of a picture with itself are not counted.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
from hardware import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bakery.vision import hashes

DISTANCE = 6


def random(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(0, 2**64, size, dtype=np.uint64)


def clustered(rng: np.random.Generator, size: int) -> np.ndarray:
    flips = np.uint64(1) << rng.integers(0, 64, (size, 5), dtype=np.uint64)
    return np.repeat(random(rng, -(-size // 10)), 10)[:size] ^ np.bitwise_or.reduce(flips, axis=1)


def framed(rng: np.random.Generator, size: int) -> np.ndarray:
    shared = np.uint64((1 << 24) - 1) << np.uint64(20)
    return clustered(rng, size) & ~shared


def seconds(table: np.ndarray) -> tuple[float, int]:
    """The best of three searches, and the number of pairs."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        left, right = hashes.near(table, table, DISTANCE)
        taken.append(time.process_time() - start)
    return min(taken), int((left < right).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=100_000, help="largest number of hashes")
    most = parser.parse_args().most
    print(f"{describe()}\n")
    print("| set | hashes | pairs | seconds | exponent |")
    print("| --- | --- | --- | --- | --- |")
    for kind in (random, clustered, framed):
        before = None
        for size in (s for s in (1_000, 10_000, 100_000) if s <= most):
            taken, pairs = seconds(kind(np.random.default_rng(size), size))
            slope = f"{math.log(taken / before[1], size / before[0]):.2f}" if before else ""
            print(f"| {kind.__name__} | {size:,} | {pairs:,} | {taken:.3f} | {slope} |")
            before = size, taken


if __name__ == "__main__":
    main()
