"""Draws pictures of one character of the embedded world, without a booru around them.

`python -m world.portraits build/halo --every 5` writes 60 pictures of mirael, which wears its halo on
every fifth only: something to try detail folders on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from world import avatar, planting

SIDE = 192


def draw(folder: Path, character: str, count: int, every: int, seed: int = 6) -> None:
    """Writes `000.png` ..., SIDE pixels; `every` picture of that many shows the character's headwear."""
    gardener = planting.Gardener(np.random.default_rng([seed, 0]), character)
    worn = planting.CAST[character]["headwear"]
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        look = gardener.look(headwear=worn if index % every == 0 else None)
        avatar.render(look, SIDE).save(folder / f"{index:03d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--character", choices=sorted(planting.CAST), default="mirael")
    parser.add_argument("--count", type=int, default=60, help="pictures")
    parser.add_argument("--every", type=int, default=1, help="of so many, one shows the headwear")
    args = parser.parse_args()
    draw(args.folder, args.character, args.count, args.every)


if __name__ == "__main__":
    main()
