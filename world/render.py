"""Renders the training pictures of the embedded world into one array and a list of their tags.

`python -m world.render --count 30000 --seed 1 world/build/base` writes

- `base.npy`: uint8 (count, side, side, 3), RGB
- `base.jsonl`: a line of tags a picture

Each picture depends on (seed, index) alone, so that the work can be split over processes.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from world import avatar

SIDE = 64
DRAWN = 1.5
"""Times the side; then reduced, as the bakery reduces pictures: same softness, same edges."""
CHUNK = 250


def reduce(picture: Image.Image, side: int = SIDE) -> np.ndarray:
    """uint8 (side, side, 3), as the bakery's own resize would make it."""
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def reduced(pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, side, side, 3) of any side -> (N, SIDE, SIDE, 3)."""
    if pictures.shape[1] == SIDE:
        return pictures
    return np.stack([reduce(Image.fromarray(picture)) for picture in pictures])


def _render_chunk(task: tuple[int, int, int, bool, int]) -> tuple[np.ndarray, list[list[str]]]:
    seed, first, last, novel, side = task
    pictures = np.empty((last - first, side, side, 3), np.uint8)
    captions = []
    for index in range(first, last):
        look = avatar.random_look(np.random.default_rng([seed, index]), novel=novel)
        pictures[index - first] = reduce(avatar.render(look, round(DRAWN * side)), side)
        captions.append(avatar.tags(look))
    return pictures, captions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="written as OUT.npy and OUT.jsonl")
    parser.add_argument("--count", type=int, default=30_000, help="number of pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument(
        "--novel", action="store_true", help="draw what the base must not know, too"
    )
    args = parser.parse_args()

    args.out.parent.mkdir(parents=True, exist_ok=True)
    tasks = [
        (args.seed, first, min(first + CHUNK, args.count), args.novel, args.side)
        for first in range(0, args.count, CHUNK)
    ]
    shape = (args.count, args.side, args.side, 3)
    pictures = np.lib.format.open_memmap(args.out.with_suffix(".npy"), "w+", np.uint8, shape)
    with (
        ProcessPoolExecutor(os.cpu_count()) as pool,
        args.out.with_suffix(".jsonl").open("w", encoding="utf-8") as lines,
    ):
        for (_, first, last, *_), (chunk, captions) in zip(
            tasks, pool.map(_render_chunk, tasks), strict=True
        ):
            pictures[first:last] = chunk
            lines.writelines(json.dumps(tags) + "\n" for tags in captions)
    pictures.flush()


if __name__ == "__main__":
    main()
