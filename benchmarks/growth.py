"""How each stage grows with the number of pictures: CPU seconds, peak memory, and the exponents.

    python benchmarks/growth.py [--sizes 100 1000 10000] [--stages filter tag] [--keep FOLDER]

With `--keep` a later call goes on where this one ended, for another size, say.

Each stage runs as its door calls it, on one thread, in a process of its own, so that the peak is that
stage's. Seconds are CPU seconds of all its threads, so that a busy machine does not change them; they
leave out imports and the loading of the base. The exponent is the slope of log seconds over log
pictures from the size before: 1 is linear. "KiB a picture" is what the peak grew by for each picture
more. Training is measured in parts, and its steps one by one; score and compare also by samples.

The pictures are 192 px JPEGs with tags beside them: embedded-world portraits, 6 of 10 of one character
in changing outfits and scenes, the rest of anybody; each is a random crop of 70 to 100% a side, since
one pose and place would make most of them near-duplicates. What the filter throws out is told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests/support")]

SIDE, NAME, EPOCHS, SEEDS, STEPS = 192, "mirael", 4, 4, 12
SAMPLES = 240
"""Samples of the score stage where the number of training pictures changes."""
PURPOSES = ("identity", "flexibility", "bleed")
ASKED = ("beach", "city", "smile", "angry", "glasses", "red dress", "blue jacket", "scarf")


class Clock:
    """CPU seconds and the peak memory so far, by part."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.note(name, time.process_time() - start)

    def note(self, name: str, seconds: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux
        self.parts[name] = (seconds, peak)


def pictures(place: Path, count: int, clock: Clock) -> None:
    """The source: `count` pictures, the same for the same number, whatever the size of the set."""
    import io

    import numpy as np
    from PIL import Image

    from world import avatar
    from world.planting import Gardener

    folder = place / "pictures"
    folder.mkdir(exist_ok=True)
    with clock.part("pictures"):
        for number in range(len(list(folder.glob("*.txt"))), count):
            rng = np.random.default_rng([11, number])
            mine = rng.random() < 0.6
            look = Gardener(rng, NAME).look() if mine else avatar.random_look(rng, novel=True)
            whole = avatar.render(look, 256)
            width, height = rng.uniform(0.7, 1, 2) * 256
            left, upper = rng.uniform(0, 1, 2) * (256 - width, 256 - height)
            box = (left, upper, left + width, upper + height)
            small = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
            data = io.BytesIO()
            small.save(data, "JPEG", quality=int(rng.integers(84, 96)))
            (folder / f"{number:06d}.jpg").write_bytes(data.getvalue())
            (folder / f"{number:06d}.txt").write_text(", ".join(avatar.tags(look)))


def scrape(place: Path, count: int, clock: Clock) -> None:
    from bakery.settings.scrape import Scrape
    from bakery.stages import scrape as stage

    source = place / "source"
    source.mkdir()
    for file in sorted((place.parent / "pictures").iterdir())[: 2 * count]:
        os.link(file, source / file.name)
    settings = Scrape(name=NAME, urls=[], folders=[str(source)])
    with clock.part("scrape"):
        stage.run(settings, booru=place, out=place / "scrape", store=place / "downloads")


def filter(place: Path, count: int, clock: Clock) -> None:
    from bakery.settings.filter import Filter
    from bakery.stages import filter as stage

    with clock.part("filter"):
        made = stage.run(
            Filter(min_side=96, min_score=0),
            scrape=place / "scrape", out=place / "filter", dataset=NAME,
        )  # fmt: skip
    (place / "filter" / "summary.json").write_text(json.dumps(made))


def tag(place: Path, count: int, clock: Clock) -> None:
    from bakery.settings.tag import Tag
    from bakery.stages import tag as stage

    with clock.part("tag"):
        stage.run(
            Tag(), scrape=place / "scrape", filter=place / "filter", out=place / "tag",
            model=ROOT / "resources/world/tagger", threads=1,
        )  # fmt: skip


def prune(place: Path, count: int, clock: Clock) -> None:
    from bakery.settings.prune import Prune
    from bakery.stages import prune as stage

    with clock.part("prune"):
        stage.run(
            Prune(trigger=NAME), dataset=NAME, out=place / "prune",
            **{above: place / above for above in ("scrape", "filter", "tag")},
        )  # fmt: skip


def layout(place: Path, count: int, clock: Clock) -> None:
    from bakery.settings.layout import Layout
    from bakery.stages import layout as stage

    with clock.part("layout"):
        stage.run(
            Layout(repeats=1), name=NAME, out=place / "layout",
            **{above: place / above for above in ("scrape", "tag", "prune")},
        )  # fmt: skip


def train(place: Path, count: int, clock: Clock) -> None:
    """The parts of `Trainer.fit` up to some steps; at the shipped config's settings."""
    import torch
    import yaml

    from bakery.dataset import repeat_folders
    from bakery.families import registry
    from bakery.settings.train import Train
    from bakery.training import setup, train_step

    chosen = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))["train"]
    settings = Train(**chosen | {"base": str(ROOT / chosen["base"])})
    torch.set_num_threads(1)
    base = registry.load(settings.base, **settings.model_dump(exclude={"base"}))
    order = setup.TrainSpec(settings, place / "train", NAME, {})
    with clock.part("train: dataset and buckets"):
        folders = repeat_folders.read_folders(place / "layout")
        context = setup.make_context(settings, folders, base, 1, place / "cache")
    views = context.data.views(settings) or []
    with clock.part("train: latents encoded"):
        context.latents.prepare(views)
    context = setup.make_context(settings, folders, base, 1, place / "cache")
    with clock.part("train: latents from the cache"):
        context.latents.prepare(views)
    (run,) = setup.prepare_all([order], context)
    with clock.part("train: an epoch's batches"):
        run.begin_epoch(context.data)
    taken = []
    for _ in range(STEPS):
        start = time.process_time()
        train_step.step(context, [run])
        taken.append(time.process_time() - start)
    clock.note("train: a step (median)", statistics.median(taken[2:]))


def samples(place: Path, count: int) -> Path:
    """A sample stage's folder with `count` pictures of the set as its samples."""
    from bakery.io import tables
    from bakery.scoring import score_tables

    folder = place / "sample"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    sources = sorted((place.parent / "pictures").glob("*.jpg"))
    rows = []
    for epoch in range(EPOCHS + 1):
        for prompt in range(count // (SEEDS * (EPOCHS + 1))):
            for seed in range(SEEDS):
                image = f"e{epoch}_{prompt}_s{seed}.jpg"
                os.link(sources[len(rows) % len(sources)], folder / "images" / image)
                rows.append(
                    {"epoch": epoch, "weight": min(epoch, 1), "nominal": 1, "prompt_id": prompt,
                     "purpose": PURPOSES[prompt % 3], "prompt": NAME, "reference": "",
                     "asked": ASKED[prompt % len(ASKED)], "seed": seed, "image": image}
                )  # fmt: skip
    tables.write(folder / "samples.csv", rows, score_tables.READ)
    return folder


def score(place: Path, count: int, clock: Clock, drawn: int = SAMPLES) -> None:
    from bakery.settings.score import Score
    from bakery.stages import score as stage

    folder = samples(place, drawn)
    name = f"score, {SAMPLES} samples" if drawn == SAMPLES else "score, by samples"
    with clock.part(name):
        stage.run(
            Score(),
            stage.InputFolders(folder, *(place / above for above in ("prune", "tag", "scrape"))),
            out=place / "score", threads=1, model=ROOT / "resources/world/tagger",
        )  # fmt: skip


def score_by_samples(place: Path, count: int, clock: Clock) -> None:
    """`count` samples against the pictures of the smallest set."""
    smallest = min(int(p.name) for p in place.parent.iterdir() if p.name.isdigit())
    score(place.parent / str(smallest), count, clock, drawn=count)


def compare_by_samples(place: Path, count: int, clock: Clock) -> None:
    """A page of two bakes with `count` samples in all."""
    from made_bakes import made_bake

    from bakery.settings.compare import Compare
    from bakery.stages import compare as stage

    prompts = {f"p{i}": f"{NAME}, {ASKED[i % len(ASKED)]}" for i in range(count // (2 * 4 * 5))}
    scores = [(0.2, 1.0), (0.5, 0.9), (0.7, 0.9), (0.9, 0.8), (0.9, 0.6)]
    bakes = [
        made_bake(place / "made", label, scores, prompts=prompts, seeds=(1, 2, 3, 4), size=(64, 64))
        for label in ("one", "other")
    ]
    with clock.part("compare, by samples"):
        stage.run(Compare(), bakes=bakes, out=place / "compare", sweep="growth")


STAGES: dict[str, Callable[[Path, int, Clock], None]] = {
    stage.__name__: stage
    for stage in (scrape, filter, tag, prune, layout, train, score, score_by_samples,
                  compare_by_samples)
}  # fmt: skip


def work(role: str, place: Path, count: int) -> None:
    """One stage at one size, in this process; prints what it took."""
    clock = Clock()
    if role == "pictures":
        pictures(place, count, clock)
    else:
        STAGES[role](place, count, clock)
    files = [file for file in (place / role).glob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size, default=None)
    file = f"{largest.name} {largest.stat().st_size / 1e6:.1f}" if largest else ""
    print(json.dumps({"parts": clock.parts, "file": file}))


def apart(role: str, place: Path, count: int) -> dict[str, Any]:
    """`work` in a process of its own, on one thread."""
    place.mkdir(parents=True, exist_ok=True)
    where = ["--place", str(place), "--count", str(count)]
    command = [sys.executable, __file__, "--role", role, *where]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env={**os.environ, **threads}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{role} at {count} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def once(role: str, place: Path, count: int) -> dict[str, Any]:
    """`apart`, or what an earlier call with the same folder has found."""
    record = place / f"{role}.json"
    if not record.is_file():
        shutil.rmtree(place / role, ignore_errors=True)
        made = apart(role, place, count)
        record.write_text(json.dumps(made))
    return json.loads(record.read_text())


def table(found: dict[str, dict[int, tuple[float, float, str]]]) -> Iterator[str]:
    """Markdown rows of part -> size -> (seconds, peak MiB, largest file)."""
    yield "| | pictures | CPU seconds | exponent | peak MiB | KiB a picture | largest file, MB |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, sizes in found.items():
        before: tuple[int, float, float] | None = None
        for size, (seconds, peak, file) in sizes.items():
            slope = grown = ""
            if before:
                slope = f"{math.log(max(seconds, 1e-6) / before[1], size / before[0]):.2f}"
                grown = f"{1024 * (peak - before[2]) / (size - before[0]):.1f}"
            time_ = f"{seconds:.3f}" if seconds < 1 else f"{seconds:.1f}"
            yield f"| {name} | {size:,} | {time_} | {slope} | {peak:.0f} | {grown} | {file} |"
            before = size, max(seconds, 1e-6), peak


def measure(place: Path, sizes: list[int], stages: list[str]) -> Iterator[str]:
    apart("pictures", place, max(sizes))
    found: dict[str, dict[int, tuple[float, float, str]]] = {}
    kept = {}
    for size in sizes:
        for role in stages:
            made = once(role, place / str(size), size)
            for name, (seconds, peak) in made["parts"].items():
                found.setdefault(name, {})[size] = (seconds, peak, made["file"])
                print(f"{name}, {size}: {seconds:.2f} s, {peak:.0f} MiB", file=sys.stderr)
        summary = place / str(size) / "filter" / "summary.json"
        if summary.is_file():
            kept[size] = json.loads(summary.read_text())
    yield from table(found)
    for size, made in kept.items():
        yield f"\nOf {size:,} pictures the filter keeps {made['kept']:,}: {made['reasons']}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--keep", type=Path, help="folder of pictures and results, for later calls")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        work(args.role, args.place, args.count)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(args.keep or Path(folder), sorted(args.sizes), args.stages))
    from hardware import describe  # at last: it imports torch, which children would seem to hold

    print(f"{describe()}, one thread\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
