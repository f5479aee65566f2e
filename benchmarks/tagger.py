"""How fast the tag stage's tagger is, against a plain loop over single pictures.

    python benchmarks/tagger.py [--model resources/world/tagger] [--images 64] [--threads 1]

Both read the same JPEG files with the same model and the same number of inference threads, in turns
in one run, so that the ratio holds even where the machine is busy. The plain loop opens a picture,
prepares it, runs the model on it, and goes on; ours decodes ahead in a thread and runs batches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bakery.io import images
from bakery.vision import tagger

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources/world/tagger")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(1000, 1400), metavar=("W", "H"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loaded = tagger.Tagger.load(options.model, options.threads)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(
        options.model / tagger.MODEL, settings, providers=[loaded.provider]
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.images, tuple(options.size))
        times: dict[str, list[float]] = {"one by one": [], "batches, read ahead": []}
        for _ in range(options.rounds):
            started = time.perf_counter()
            plain = np.concatenate([one_by_one(session, loaded.side, path) for path in paths])
            between = time.perf_counter()
            ours = loaded.tag(paths, options.batch_size, images.open_rgb)
            times["one by one"].append(between - started)
            times["batches, read ahead"].append(time.perf_counter() - between)
        difference = float(np.abs(plain - ours).max())
    report(options, loaded, times, difference)


def one_by_one(session: onnxruntime.InferenceSession, side: int, path: Path) -> np.ndarray:
    """Probabilities (1, tags) of one picture."""
    square = tagger.prepare(images.open_rgb(path), side)
    return session.run(None, {session.get_inputs()[0].name: square[None]})[0]


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs of coloured noise, soft enough to be as large as drawings are."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def report(
    options: argparse.Namespace,
    loaded: tagger.Tagger,
    times: dict[str, list[float]],
    difference: float,
) -> None:
    print(
        f"{options.images} JPEGs of {options.size[0]}x{options.size[1]}, {options.model.name} "
        f"({loaded.side} pixels, {len(loaded.names)} tags), {loaded.provider}, "
        f"{options.threads} inference threads, batches of {options.batch_size}, median of "
        f"{options.rounds} rounds.\n"
    )
    print("| | images/s | ratio |\n| --- | --- | --- |")
    plain = statistics.median(times["one by one"])
    for name, seconds in times.items():
        one = statistics.median(seconds)
        print(f"| {name} | {options.images / one:.1f} | {plain / one:.2f} |")
    ratios = sorted(a / b for a, b in zip(*times.values(), strict=True))
    print(f"\nRatio in single rounds: {ratios[0]:.2f} to {ratios[-1]:.2f}.")
    print(f"Largest difference of a probability: {difference:.1e}.")


if __name__ == "__main__":
    main()
